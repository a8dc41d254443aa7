"""What happens to notifications: events with their times, which the pipeline emits once per batch.

Observers turn the same event into log lines, metrics and spans (see `observers`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidings.domain.connection import Connection
from tidings.domain.notification import Notification, Status
from tidings.domain.stopwatch import Elapsed
from tidings.ports import Claims, Settlement
from tidings.ports.receipts import Applied


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A request that submits notifications was answered."""

    status: int
    elapsed: Elapsed


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The rows are committed."""

    notifications: Sequence[Notification]
    elapsed: Elapsed  # the insert


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """The broker confirmed the messages, published by intake, a replay or the sweep."""

    notifications: Sequence[Notification]
    elapsed: Elapsed


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A worker claimed a batch. Its stale messages are dropped."""

    claims: Claims
    elapsed: Elapsed


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """The settlements are recorded; their retries and dead letters are published, or owed."""

    settlements: Sequence[Settlement]  # of any number of claims
    lost: Sequence[Settlement]  # not recorded: the lease expired and another worker took over
    settling: Elapsed
    dead_letters: Elapsed | None = None  # publishing them; None: there were none
    retries: Elapsed | None = None  # publishing them; None: there were none


@dataclass(frozen=True, kw_only=True, slots=True)
class Canceled:
    """A caller or an operator canceled it."""

    notification: Notification


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """An operator set these back to pending, one generation later."""

    notifications: Sequence[Notification]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """An operator resolved an unknown notification."""

    notification: Notification
    outcome: str  # sent, replay


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptsRecorded:
    """What providers reported is recorded."""

    receipts: Sequence[Applied]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptRefused:
    """A report's signature was wrong. The log has it as `request_refused`, like any 401."""

    provider: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountRefused:
    """A provider refuses our account: several recipients were refused and none accepted."""

    connection: Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountRestored:
    """The provider accepted a notification again."""

    connection: Connection  # as it stood before
    at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """A sweep ended."""

    counts: Mapping[str, int]  # what it found, as `sweep.Swept`
    lost: int  # of the published ones, how many had lost their message


@dataclass(frozen=True, kw_only=True, slots=True)
class MailsReturned:
    """Mails came back to return paths; what they say is committed."""

    counts: Mapping[tuple[str, str], int]  # by verdict and sort; the verdict `failed`: not recorded
    elapsed: Elapsed | None  # the commit; None: it failed


Event = (
    Answered
    | Accepted
    | Queued
    | Claimed
    | Settled
    | Canceled
    | Replayed
    | Resolved
    | ReceiptsRecorded
    | ReceiptRefused
    | AccountRefused
    | AccountRestored
    | Swept
    | MailsReturned
)


# --- durations and identifiers ---------------------------------------------------------------------------------------


def waited(claimed: Notification, at: datetime) -> float | None:
    """Seconds from due to claimed, at `at`. None: it was replayed, and its row does not say when it was due."""
    if claimed.generation > 1 and claimed.next_attempt_at is None:
        return None
    return max((at - claimed.due_at).total_seconds(), 0.0)


def end_to_end(settlement: Settlement) -> float | None:
    """Seconds from the POST, or from `send_at`, to the provider's acceptance. None: it did not accept, or this is a
    replay, whose time depends on the operator."""
    row, at = settlement.notification, settlement.answered_at
    if settlement.status is not Status.SENT or at is None or row.generation != 1:
        return None
    begun = row.created_at if row.send_at is None else max(row.created_at, row.send_at)
    return max((at - begun).total_seconds(), 0.0)


def trace_id(traceparent: str | None) -> str | None:
    """32 hex digits of `00-<trace id>-<span id>-<flags>`. A message's is as its sender wrote it."""
    return traceparent[3:35] if traceparent is not None else None


def is_ambiguous(settlement: Settlement) -> bool:
    return settlement.error is not None and settlement.error.kind == "ambiguous"

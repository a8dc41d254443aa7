"""What happens to notifications, as facts with their times: what the pipeline tells, once a batch.

A line of the log, a metric and a span are made from the same fact, each by its own observer (see `observers`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidings.domain.connection import Connection
from tidings.domain.notification import Notification, Status
from tidings.domain.stopwatch import Elapsed
from tidings.ports import Claims, Settlement


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A request that hands in notifications was answered."""

    status: int
    elapsed: Elapsed


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The rows of these are committed."""

    notifications: Sequence[Notification]
    elapsed: Elapsed  # the insert


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """The broker has confirmed the messages of these: at the intake, after a replay, or by the sweep."""

    notifications: Sequence[Notification]
    elapsed: Elapsed


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A worker has these, and has learnt which of the batch are for nobody any more."""

    claims: Claims
    elapsed: Elapsed


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """The ends of these attempts are written, and their retries and dead letters are queued, or owed."""

    settlements: Sequence[Settlement]  # of any number of claims
    lost: Sequence[Settlement]  # of these nothing was written: another took over
    settling: Elapsed
    letters: Elapsed | None = None  # publishing of the dead letters, if there were any
    retries: Elapsed | None = None  # publishing of the retries, if there were any


@dataclass(frozen=True, kw_only=True, slots=True)
class Canceled:
    """A caller has canceled it."""

    notification: Notification


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """An operator has set these back to pending, one generation later."""

    notifications: Sequence[Notification]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """An operator has decided about one that was unknown."""

    notification: Notification
    outcome: str  # sent, replay


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountRefused:
    """A provider refuses our account, as the fate of several notifications shows."""

    connection: Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountRestored:
    """It has accepted one again."""

    connection: Connection  # as it stood before
    at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """A sweep is over."""

    counts: Mapping[str, int]  # by what it found
    lost: int  # of those it published, how many were not waiting for their time: their message was missing


Event = (
    Answered
    | Accepted
    | Queued
    | Claimed
    | Settled
    | Canceled
    | Replayed
    | Resolved
    | AccountRefused
    | AccountRestored
    | Swept
)


# --- what follows from them -------------------------------------------------------------------------------------------


def waited(claimed: Notification, at: datetime) -> float | None:
    """Seconds from when it was due until it was claimed, at `at`. None: its row does not tell; it was replayed."""
    if claimed.generation > 1 and claimed.next_attempt_at is None:
        return None
    return max((at - claimed.due_at).total_seconds(), 0.0)


def end_to_end(settlement: Settlement) -> float | None:
    """Seconds from the POST, or from `send_at`, until the provider accepted. None: it did not, or not in this
    generation of a replay, when the time says nothing of us."""
    row, at = settlement.notification, settlement.answered_at
    if settlement.status is not Status.SENT or at is None or row.generation != 1:
        return None
    begun = row.created_at if row.send_at is None else max(row.created_at, row.send_at)
    return max((at - begun).total_seconds(), 0.0)


def trace_id(traceparent: str | None) -> str | None:
    """32 hex digits of `00-<trace id>-<span id>-<flags>`. A message's is what its sender made of it."""
    return traceparent[3:35] if traceparent is not None else None


def is_ambiguous(settlement: Settlement) -> bool:
    return settlement.error is not None and settlement.error.kind == "ambiguous"

"""A notification, its state machine, and the entries of its timeline."""

import enum
import os
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from tidings.domain.errors import AmbiguousError
from tidings.domain.value import value

Word = TypeVar("Word", bound=enum.StrEnum)

_COUNTED = 256 * 1024  # bytes of a content that are looked at in one call


class Status(enum.StrEnum):
    """The state of a notification.

    ::

        pending --claim--> sending --accepted--> sent --receipt--> delivered | undelivered --replay--> pending
           ^                  |--transient--> retrying --claim--> sending ...
           |                  |--permanent, out of attempts--> failed --replay--> pending
           |                  '--ambiguous--> retrying (resend, reconcile) | unknown (hold; reconcile, out of attempts)
           |                                  unknown --an operator or a receipt decides--> sent | ...
           |-- canceled before a claim; expired past expires_at
           '-- suppressed: claimed, but its recipient takes no more --replay--> pending
    """

    PENDING = "pending"
    SENDING = "sending"
    RETRYING = "retrying"
    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELED = "canceled"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"


CLAIMABLE = frozenset({Status.PENDING, Status.RETRYING})
"""What a worker may claim, and what a caller may still cancel."""

DEAD = frozenset({Status.FAILED, Status.UNKNOWN})
"""Dead letters: what waits for an operator."""

REPLAYABLE = DEAD | {Status.UNDELIVERED, Status.SUPPRESSED}
"""What an operator may set back to pending, one generation later."""

OPERATOR = "operator"
"""The provider of a notification that an operator has marked as sent."""

PROVEN = frozenset({Status.SENT, Status.DELIVERED, Status.UNDELIVERED})
"""A provider has accepted it, or an operator says so."""

TERMINAL = frozenset(set(Status) - CLAIMABLE - {Status.SENDING, Status.UNKNOWN})
"""Ended: the retention deletes these. Unknown ones wait for an operator."""


class Priority(enum.StrEnum):
    """`high` has its own queue, which is drained first."""

    NORMAL = "normal"
    HIGH = "high"


class OnAmbiguous(enum.StrEnum):
    """What to do when the provider may or may not have accepted."""

    RESEND = "resend"  # at least once
    HOLD = "hold"  # at most once: an operator decides
    RECONCILE = "reconcile"  # ask the provider first; if it cannot tell, as `hold`


def read(words: type[Word], text: str) -> Word:
    """The enum member of a row's text. A value of a newer release is kept: it equals no member, so nothing is decided
    by it, and it is shown unchanged."""
    try:
        return words(text)
    except ValueError:
        foreign = str.__new__(words, text)
        foreign._name_ = foreign._value_ = text
        return foreign


@value
class Notification:
    """One row: the truth about one notification.

    Every time is UTC. Decisions (due, leased, expired) use the database's clock. Only `id` and `created_at`, which
    agree to the millisecond, come from the intake's clock.
    """

    id: str  # UUIDv7
    tenant: str
    channel: str
    recipient: str  # the stored form: an address, an E.164 number, "token:..." or "topic:..."
    content: str | bytes = ""  # JSON of the channel's content class, a large new one in UTF-8; left out of lists
    priority: Priority = Priority.NORMAL
    on_ambiguous: OnAmbiguous = OnAmbiguous.RESEND
    max_attempts: int = 10
    metadata: str | None = None  # JSON of the caller, returned unchanged
    ignore_suppression: bool | None = None  # true: it is sent although its recipients are suppressed
    category: str | None = None  # what it is about; recipients may opt out of it
    critical: bool | None = None  # true: it is sent although recipients opted out of its category
    send_at: datetime | None = None
    expires_at: datetime | None = None
    traceparent: str | None = None  # W3C Trace Context of the POST
    idempotency_hash: str | None = None  # sha256 hex of tenant and key; unique
    fingerprint: str | None = None  # sha256 hex of the payload under that key
    created_at: datetime
    updated_at: datetime
    status: Status = Status.PENDING
    generation: int = 1  # raised by a replay
    attempt: int = 0  # claims in this generation; raised by each
    uncounted_attempts: int = 0  # do not count against max_attempts: nothing about this notification failed
    next_attempt_at: datetime | None = None  # None: at once
    claimed_at: datetime | None = None
    lease_until: datetime | None = None
    refused_at: datetime | None = None  # since when it waits because the provider refuses our account
    queued_at: datetime | None = None  # when the broker confirmed its message
    provider: str | None = None
    provider_message_id: str | None = None
    error_class: str | None = None  # of the last attempt: transient, permanent, ambiguous, account
    error_code: str | None = None
    error_message: str | None = None
    receipt: str | None = None  # missing: sent, and its provider has not reported in time what became of it

    @property
    def is_for_now(self) -> bool:
        """True: submitted to be sent at once, by the intake's clock. The claim decides whether it is due."""
        return self.send_at is None or self.send_at <= self.created_at

    @property
    def came_expired(self) -> bool:
        """True: its `expires_at` had passed when it was submitted, by the intake's clock. The database's clock decides
        whether it has expired."""
        return self.expires_at is not None and self.expires_at <= self.created_at

    @property
    def due_at(self) -> datetime:
        """When it became or becomes due. Of one that was replayed to be sent at once and is claimed, the row only tells
        when it was claimed. `adapters.sql.backlog.DUE_AT` is the same in SQL."""
        if self.next_attempt_at is not None and self.next_attempt_at > self.created_at:
            return self.next_attempt_at
        return self.created_at if self.generation == 1 else self.updated_at

    @property
    def size_in_statement(self) -> int:
        """Bytes of the content as a literal of SQL, in which each quote and backslash is doubled."""
        content = self.content.encode() if isinstance(self.content, str) else self.content
        pieces = ((start, start + _COUNTED) for start in range(0, len(content), _COUNTED))
        return len(content) + sum(content.count(b"'", *piece) + content.count(b"\\", *piece) for piece in pieces)

    @property
    def is_last_attempt(self) -> bool:
        """True: the present attempt is the last one."""
        return self.attempt - self.uncounted_attempts >= self.max_attempts


@value
class TimelineEntry:
    """A change of state in the timeline. An attempt is one entry: one provider call."""

    generation: int
    attempt: int
    status: Status
    at: datetime
    started_at: datetime | None = None  # when the attempt was claimed
    provider: str | None = None
    provider_message_id: str | None = None
    provider_response: str | None = None  # its text with the acceptance, such as a mail server's queue id
    error_class: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    next_attempt_at: datetime | None = None
    note: str | None = None  # what suppression did, or would have done, to this attempt
    by: str | None = None  # who says so, see `receipt.By`; None: a release before 1.1 wrote it
    raw_sha256: str | None = None  # by a receipt: the hash of its report as it arrived, in hexadecimal

    @property
    def is_report(self) -> bool:
        """A provider said it after the attempt, by itself or when asked. It ended no claim."""
        return self.by in ("receipt", "lookup") and self.started_at is None


def open_attempts(timeline: Sequence[TimelineEntry]) -> set[tuple[int, int]]:
    """The generation and number of each attempt that was ambiguous, and whose failure no report has proven."""
    attempts: set[tuple[int, int]] = set()
    for entry in timeline:
        if entry.error_class == AmbiguousError.kind:
            attempts.add((entry.generation, entry.attempt))
        elif entry.is_report and entry.error_class is not None:
            attempts.discard((entry.generation, entry.attempt))
    return attempts


def new_id(at: datetime) -> str:
    """A UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then 72 random bits. (`uuid.uuid7` comes with Python 3.14.)"""
    return _uuid7(at, os.urandom(9).hex())


def first_id(at: datetime) -> str:
    """The lowest id of this millisecond: later ids are equal or higher."""
    return _uuid7(at, "0" * 18)


def _uuid7(at: datetime, random: str) -> str:
    """`random`: 72 bits in hexadecimal; two more are left 0, as those of the variant are 10."""
    milliseconds = f"{round(at.timestamp() * 1_000_000) // 1000:012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-7{random[:3]}-8{random[3:6]}-{random[6:]}"

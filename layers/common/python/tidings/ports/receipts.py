"""What the pipeline needs to know of receipts. Parsers are implemented in `providers`."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from tidings.domain.notification import Notification, Status, TimelineEntry
from tidings.domain.receipt import Receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class Callback:
    """A vendor's HTTP request, not yet verified."""

    connection: str
    mark: str | None  # the sealed id, generation and attempt, from its address
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    at: datetime  # when it arrived


class WrongSignature(Exception):
    """The vendor did not send this, or its secret is another one."""


class ReceiptParser(Protocol):
    """One vendor's receipts. Thread-safe."""

    provider: str

    def parse(self, callback: Callback) -> Sequence[Receipt]:
        """Verify the raw body, then read it. Empty: nothing that concerns us. Raise WrongSignature."""


class LookupFailed(Exception):
    """The vendor did not answer, or refuses our account (`refused`)."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class ReceiptLookup(Protocol):
    """A vendor that can be asked what became of a message."""

    provider: str

    def report(self, message_id: str, at: datetime) -> Receipt | None:
        """One call. None: it does not know, or the message is still on its way. `at`: now. Raise LookupFailed."""


class Result(enum.StrEnum):
    """What became of a receipt."""

    APPLIED = "applied"  # the notification's status, or what is known of its attempt, changed
    RECORDED = "recorded"  # in the timeline only
    NOTHING = "nothing"  # known before, or overtaken by a later state
    KEPT = "kept"  # a worker is sending it: applied when that attempt is settled
    UNMATCHED = "unmatched"  # no notification has it: tried again by the sweep
    DUPLICATE = "duplicate"
    DROPPED = "dropped"  # unmatched for too long


WITH_ENTRY = frozenset({Result.APPLIED, Result.RECORDED})
"""The timeline has an entry of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Consequence:
    """What follows from a receipt for its notification, decided by the pipeline. The Store writes it as it is."""

    result: Result
    status: Status | None = None  # the row's new status, or the present one again; None: the row is left alone
    entry: TimelineEntry | None = None  # None: the timeline stays as it is
    doubled: bool = False  # the provider has accepted this notification twice
    delay: timedelta | None = None  # from the provider's acceptance to this report; None: not known


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """A receipt, and what became of it. `notification`: as it is afterwards: whose it is, to whom, its state and its
    trace, and no more; None: no match."""

    receipt: Receipt
    consequence: Consequence
    notification: Notification | None = None


Decide = Callable[[Notification, Sequence[TimelineEntry], Receipt], Consequence]
"""What follows from a receipt, by the row and its timeline, oldest entry first."""

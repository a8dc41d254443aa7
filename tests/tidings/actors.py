"""The simulated provider, database and broker of test_state_machine.py, each with its faults.

The provider's vendor keeps its own books. What is promised is judged by those, never by what the rows say of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidings.adapters.sql.store import SqlStore
from tidings.domain.errors import (
    AccountError,
    AmbiguousError,
    BrokerUnavailable,
    DeliveryError,
    PermanentError,
    StoreUnavailable,
    TransientError,
)
from tidings.domain.notification import Notification, OnAmbiguous, Status
from tidings.domain.timing import LISTED_AFTER
from tidings.ports import Acceptance, Consumer, Outgoing, SendRequest, Settlement

from tests.clock import TestClock
from tests.tidings.conftest import FragileBroker

TENANT = "acme"

ERRORS: dict[str, Callable[[], DeliveryError]] = {
    "transient": lambda: TransientError("451", "later"),
    "permanent": lambda: PermanentError("550", "no such user"),
    "account": lambda: AccountError("535", "who are you"),
    "ambiguous, accepted": lambda: AmbiguousError("timeout", "no answer"),
    "ambiguous, not accepted": lambda: AmbiguousError("timeout", "no answer"),
}
ANSWERS = ("accept", *ERRORS)
ARRIVES = ("accept", "ambiguous, accepted")
LISTS = ("all", "late", "transient", "account", "ambiguous, not accepted")
"""What comes of asking for the list: all of it, all but the newest, or an error."""


class Crash(BaseException):
    """The process is gone: nothing below may catch it."""


@dataclass
class WeakBroker(FragileBroker):
    """It may be down, or deaf: it queues the wave, and the confirms are lost."""

    deaf: bool = False

    @property
    def state(self) -> str:
        return "down" if self.down else "deaf" if self.deaf else "up"

    @state.setter
    def state(self, state: str) -> None:
        self.down, self.deaf = state == "down", state == "deaf"

    def publish(self, wave: Sequence[Outgoing]) -> None:
        super().publish(wave)
        if self.deaf and wave:
            raise BrokerUnavailable("the confirms are lost")

    def depth(self, queue: str) -> int:
        self._answer()
        return super().depth(queue)

    def consume(self, queues: Sequence[str]) -> Consumer:
        self._answer()
        return super().consume(queues)

    def _answer(self) -> None:
        if self.down:
            raise BrokerUnavailable("down")


class WeakStore(SqlStore):
    """Its next settlement may fail before its COMMIT, or after it."""

    fault: str | None = None

    def settle(self, settlements: Sequence[Settlement], *, dead_letters_owed: bool = False) -> Sequence[Settlement]:
        fault, self.fault = self.fault, None
        if fault == "before":
            raise StoreUnavailable("down")
        lost = super().settle(settlements, dead_letters_owed=dead_letters_owed)
        if fault == "after":
            raise StoreUnavailable("the answer to COMMIT is lost")
        return lost


@dataclass
class Call:
    """One call of the provider, in the vendor's books."""

    id: str
    generation: int
    attempt: int
    at: datetime
    what: tuple[str, str]  # to whom, and the content
    receipt: str | None  # None: it did not arrive
    ambiguous: bool  # we cannot know

    @property
    def arrived(self) -> bool:
        return self.receipt is not None


@dataclass
class Vendor:
    """Provider and Reconciler. Answers and lists as planned, in that order; then accepts, and lists all.

    What the code may not do is kept as a complaint: an exception would be taken for a fault of the provider's.
    """

    store: SqlStore
    clock: TestClock
    reached: Callable[[str], None]
    name: str = "vendor"
    timeout: timedelta = timedelta(seconds=5)
    slow_by: timedelta = timedelta(0)  # its clock
    answers: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    asked: set[tuple[str, int, int]] = field(default_factory=set)  # id, generation, attempt; and the vendor told
    under_way: list[Call] = field(default_factory=list)  # of the deliveries whose ends are not written down yet
    complaints: list[str] = field(default_factory=list)

    def send(self, outbound: SendRequest) -> Acceptance:
        self.reached("alive")
        row = self._row(outbound)
        self.complaints += self._wrong(row, outbound)
        answer = self.answers.pop(0) if self.answers else "accept"
        receipt = self._booked(row, answer)
        self.reached("call")
        if answer in ERRORS:
            raise ERRORS[answer]()
        return Acceptance(provider_message_id=receipt)

    def accepted(self, outbound: SendRequest, since: datetime) -> Sequence[Acceptance]:
        self.reached("ask")
        told = self.lists.pop(0) if self.lists else "all"
        if told in ERRORS:
            raise ERRORS[told]()
        row = self._row(outbound)
        until = self.clock() - LISTED_AFTER if told == "late" else self.clock()
        found = [
            Acceptance(provider_message_id=call.receipt)
            for call in self.books()
            if call.receipt is not None and call.what == what(row) and since <= call.at - self.slow_by
            if call.at <= until
        ]
        self.asked.add((row.id, row.generation, outbound.attempt))
        self.reached("listed")
        return found[::-1]  # newest first

    def books(self) -> Iterator[Call]:
        return (call for calls in self.calls.values() for call in calls)

    def close(self) -> None:
        return

    def _row(self, outbound: SendRequest) -> Notification:
        row = self.store.get(TENANT, outbound.id)
        if row is None:
            raise LookupError(outbound.id)
        return row

    def _booked(self, row: Notification, answer: str) -> str:
        """The receipt that it has if it arrived."""
        made = self.calls.setdefault(row.id, [])
        receipt = f"{row.id}:{len(made)}"
        call = Call(
            id=row.id,
            generation=row.generation,
            attempt=row.attempt,
            at=self.clock(),
            what=what(row),
            receipt=receipt if answer in ARRIVES else None,
            ambiguous=answer.startswith("ambiguous"),
        )
        made.append(call)
        self.under_way.append(call)
        return receipt

    def _wrong(self, row: Notification, outbound: SendRequest) -> Iterator[str]:
        """Why it should not have been called now."""
        now = self.clock()
        if (row.status, row.attempt) != (Status.SENDING, outbound.attempt):
            yield "a call without a claim"
        if row.lease_until is not None and row.lease_until <= now:
            yield "a call after the lease"
        if row.next_attempt_at is not None and row.next_attempt_at > now:
            yield "sent before it was due"
        if row.expires_at is not None and row.expires_at <= now:
            yield "sent after its expiry"
        asked = (row.id, row.generation, row.attempt) in self.asked
        if row.on_ambiguous is OnAmbiguous.RECONCILE and self._is_open(row) and not asked:
            yield "reconcile: sent again, and nobody was asked"

    def _is_open(self, row: Notification) -> bool:
        return any(event.error_class == AmbiguousError.kind for event in self.store.events(row.id))


def what(row: Notification) -> tuple[str, str]:
    """What the recipient gets: two notifications that agree in it are rivals for one receipt."""
    assert isinstance(row.content, str)  # as it is read from the database
    return row.recipient, row.content

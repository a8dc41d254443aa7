"""What the core asks of the outside: small Protocols, implemented in `adapters` and in `functions/*/providers`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from tidings.content import Content
from tidings.envelope import Message
from tidings.errors import DeliveryError
from tidings.notification import Event, Notification, Priority, Status
from tidings.took import Took
from tidings.topology import Destination


class Clock(Protocol):
    """The time, in UTC and aware."""

    def __call__(self) -> datetime: ...


# --- Provider ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Outbound:
    """What a provider is given: one notification, one attempt."""

    id: str
    attempt: int
    recipient: str  # the stored form, see Notification.recipient
    content: Content
    expires_at: datetime | None = None
    time_to_live: timedelta | None = (
        None  # until expires_at, on the database's clock; None: as long as the vendor allows
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The provider accepted."""

    provider_message_id: str


class Provider(Protocol):
    """One vendor. `send` is called from several threads at once and makes exactly one call to the vendor."""

    name: str
    timeout: timedelta  # the longest one `send` may take

    def send(self, outbound: Outbound) -> Receipt:
        """Return once the vendor has accepted; else raise one of the four kinds of DeliveryError."""

    def close(self) -> None:
        """Give up connections. The next `send` opens them again."""


@runtime_checkable
class Reconciler(Protocol):
    """What a provider also is if its vendor can tell what it has accepted, for `on_ambiguous: reconcile`."""

    def accepted(self, outbound: Outbound, since: datetime) -> Sequence[Receipt]:
        """What the vendor has accepted since then that looks just like this one: same recipient, sender and content.
        One call, as `send`, and it sends nothing. Raise DeliveryError if the vendor cannot tell."""


@runtime_checkable
class Checkable(Protocol):
    """What a provider also is if it can tell whether its vendor would let it in, for the doctor."""

    def check(self) -> str:
        """Connect and log in as `send` does, and send nothing. One line tells what was seen. Raise DeliveryError."""


# --- Broker -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A message on its way to a queue. What could not be read goes to parking as it came: `raw`, without a message."""

    to: Destination
    message: Message | None = None
    headers: dict[str, str] = field(default_factory=dict)  # more headers: a dead letter's reason
    raw: bytes = b""

    @property
    def body(self) -> bytes:
        return self.message.body if self.message is not None else self.raw

    @property
    def message_id(self) -> str | None:
        return self.message.message_id if self.message is not None else None

    @property
    def all_headers(self) -> dict[str, str]:
        return {**(self.message.headers if self.message is not None else {}), **self.headers}


class Broker(Protocol):
    """The publishing side. Thread-safe."""

    def publish(self, wave: Sequence[Outgoing]) -> None:
        """Return when every message is confirmed. Raise BrokerUnavailable if one is refused, unroutable or unconfirmed
        at the deadline; any part of the wave may then be queued."""

    def consume(self, queues: Sequence[str]) -> "Consumer":
        """A consumer of these queues, on a connection of its own: an alarm blocks publishers only.
        Raise BrokerUnavailable."""

    def depth(self, queue: str) -> int:
        """How many messages are ready in this queue. Raise BrokerUnavailable."""

    def depths(self, queues: Sequence[str]) -> Mapping[str, "Depth"]:
        """The same of several, in one look. Raise BrokerUnavailable."""

    def declare(self) -> None:
        """Make the topology where it is missing. Idempotent. Raise BrokerUnavailable."""

    def check(self) -> None:
        """Raise BrokerUnavailable unless the broker answers."""

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Depth:
    """A queue, seen from outside."""

    ready: int  # messages; in a retry step those that wait for its end
    consumers: int | None = None  # None: the broker cannot tell


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A message as the broker delivered it. It stays the broker's until acknowledged."""

    receipt: int  # valid for this consumer's present connection only
    queue: str
    body: bytes
    message_id: str | None = None
    content_type: str | None = None
    headers: dict[str, object] = field(default_factory=dict)
    redelivered: bool = False
    deliveries: int = 1  # how often it has been given out, this time included


class Consumer(Protocol):
    """The consuming side of one or more queues, in order of preference. For one thread, but for `wake`.

    When a method raises BrokerUnavailable this consumer is over: close it and make another. What it had received and
    not acknowledged comes again.
    """

    def receive(self, limit: int, wait: timedelta, *, first: int | None = None) -> Sequence[Received]:
        """Up to `limit` messages of one queue: those that are there, or the first to come within `wait`; else none.
        The queues are asked in order, so the first is drained first; only the `first` so many of them, if that is
        given: with 0 it only keeps the connection alive. Raise BrokerUnavailable."""

    def wake(self) -> None:
        """Make a `receive` that waits return now. From any thread."""

    def acknowledge(self, received: Iterable[Received]) -> None:
        """These are done. Raise BrokerUnavailable."""

    def give_back(self, received: Iterable[Received]) -> None:
        """These are to come again, to any consumer. Raise BrokerUnavailable."""

    def close(self) -> None:
        """What was not acknowledged comes again."""


# --- Store ------------------------------------------------------------------------------------------------------------

LOOK_AHEAD = 5000
"""Rows that a look ahead reads, whatever the length of the backlog."""

PAGE = 500
"""Rows a transaction: enough to be fast, few enough that nobody waits for its locks."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """The row is committed: `existing` is None, or the earlier row that holds the same idempotency key."""

    notification: Notification
    existing: Notification | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Not now: another has the lease, or the next attempt is not due. Come again at `until`."""

    message: Message
    priority: Priority
    remaining: timedelta  # until then, on the database's clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """The answer to a claim. `token` fences everything that is settled under it."""

    token: str
    at: datetime  # the database's time at the claim
    acquired: Sequence[Notification] = ()
    held: Sequence[Held] = ()
    finished: Sequence[Message] = ()  # settled, stale generation, or unknown row: drop them
    alone: Sequence[Held] = ()  # due, but their last worker was lost: claim each by itself, after the others


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """The end of one attempt, decided."""

    notification: Notification  # as it was claimed
    status: Status
    provider: str | None = None
    provider_message_id: str | None = None
    error: DeliveryError | None = None
    delay: timedelta | None = None  # retrying: until the next attempt
    spared: bool = False  # the attempt does not count
    took: Took | None = None  # the provider's part of it; None: it was not called


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """What a sweep found, already moved out of the next sweep's way."""

    wake: Sequence[Notification] = ()  # publish these again
    abandoned: Claims | None = None  # their lease ran out; now leased to the sweep, which settles them as ambiguous
    unlettered: Sequence[Notification] = ()  # failed, and their dead letter is still owed
    expired: int = 0  # past expires_at, and now `expired`
    at: datetime  # the database's time
    more: bool = False  # the limit was reached


@dataclass(frozen=True, kw_only=True, slots=True)
class Purged:
    """What a page of the retention deleted."""

    rows: int
    last: str | None  # its highest id; None: there is no more


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """What waits, of every tenant, as far as a bounded look shows: the oldest LOOK_AHEAD a tenant and status."""

    oldest: Mapping[str, float]  # seconds since the longest waiting of the channel was due; a channel may be missing
    counts: Mapping[tuple[str, Status], int]  # failed and unknown by channel


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which rows. Every field that is not None narrows; `tenant` always does."""

    tenant: str
    ids: Sequence[str] | None = None
    statuses: Sequence[Status] | None = None
    channel: str | None = None
    recipient: str | None = None
    error_class: str | None = None  # of the last attempt
    error_code: str | None = None
    since: datetime | None = None  # created at or after
    until: datetime | None = None  # created before
    before_id: str | None = None  # cursor: ids below this one


class Store(Protocol):
    """The database: the truth. Thread-safe. Every method is one transaction, retried where that is safe, and raises
    StoreUnavailable when the database does not answer. Its statements do not grow in number with the batch."""

    def insert(self, batch: Sequence[Notification]) -> Sequence[Inserted]:
        """Commit the rows. Where an idempotency hash is taken, the earlier row is answered and nothing is written.

        What is for now is written as queued, which is one statement fewer: who cannot publish it then says so, and the
        sweep looks after some seconds, should nobody have lived to say it."""

    def mark_unqueued(self, ids: Sequence[str]) -> None:
        """Their messages were not confirmed: the sweep is to publish them, and soon."""

    def claim(self, messages: Sequence[Message], lease: timedelta) -> Claims:
        """Give each message's row to this caller, if it is due and nobody else has it. A row whose last attempt ended
        with LEASE_EXPIRED is given only where it is claimed by itself: it may take its worker with it."""

    def settle(
        self, claims: Claims, settlements: Sequence[Settlement], *, letters_owed: bool = False
    ) -> Sequence[Settlement]:
        """Write the ends and their events. Answer those that lost their lease: nothing was written of them.
        `letters_owed`: the dead letters could not be published; the sweep will find the failed rows and do it."""

    def overdue(self, limit: int, lease: timedelta) -> Overdue:
        """Take what should have moved by now and has not."""

    def mark_queued(self, ids: Sequence[str]) -> None:
        """Their messages are confirmed: the sweep may leave them alone for a while."""

    def mark_waiting(self, ids: Sequence[str], pause: timedelta) -> None:
        """Their messages wait in their queues: the sweep looks again after the pause."""

    def frontier(self, channel: str, priority: Priority, since: datetime) -> datetime | None:
        """How far this queue has come: when the newest message was queued that has had its turn, of those of
        notifications made after `since`. None: none has, as far as a bounded look shows."""

    def mark_lettered(self, ids: Sequence[str]) -> None:
        """Their dead letters are confirmed."""

    def revive(self, selection: Selection, limit: int, due_in: timedelta, *, after: str = "") -> Sequence[Notification]:
        """Set failed and unknown rows back to pending, one generation later, oldest first; `after`: those made after
        this one. Without a delay they are
        written as queued, see `insert`."""

    def still_dead(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those of these letters whose row is failed, in their generation."""

    def resolve(self, tenant: str, id: str) -> Notification | None:
        """An operator's word that it was sent: unknown becomes sent, and nothing else does. Answer as `cancel`."""

    def cancel(self, tenant: str, id: str) -> Notification | None:
        """Cancel it unless it is claimed or over. Answer the row as it then stands, or None if there is none."""

    def paused(self) -> Mapping[str, datetime]:
        """The channels that are not to be worked on, and since when."""

    def pause(self, channel: str) -> None:
        """Idempotent; it does not change since when."""

    def resume(self, channel: str) -> None:
        """Idempotent."""

    def purge(self, keep: timedelta, limit: int, *, after: str = "") -> Purged:
        """Delete up to so many rows, the oldest first, that came to their end longer ago than `keep`, with their
        events. `after`: the last id of an earlier page; a row that stays is then not looked at again."""

    def get(self, tenant: str, id: str) -> Notification | None: ...

    def events(self, id: str) -> Sequence[Event]:
        """The timeline, oldest first."""

    def find(self, selection: Selection, limit: int) -> Sequence[Notification]:
        """Newest first."""

    def count(self, selection: Selection) -> int: ...

    def backlog(self) -> Backlog:
        """For a gauge: it takes milliseconds, whatever the number of rows."""

    def check(self) -> None:
        """Raise StoreUnavailable unless the database answers and its schema is this version's."""

    def close(self) -> None: ...

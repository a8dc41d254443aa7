"""What the core asks of the queues: implemented in `adapters`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from tidings.messaging.envelope import Message
from tidings.messaging.topology import Destination


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A message on its way to a queue. What could not be read goes on as it came: `raw`, without a message."""

    to: Destination
    message: Message | None = None
    headers: dict[str, str] = field(default_factory=dict)  # more headers: a dead letter's reason
    raw: bytes = b""

    @property
    def body(self) -> bytes:
        return self.message.body if self.message is not None else self.raw

    @property
    def message_id(self) -> str | None:
        if self.message is not None:
            return self.message.message_id
        given = self.headers.get("ce-id", "")  # a later version's
        return given if given.isascii() and 0 < len(given) < 256 else None

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

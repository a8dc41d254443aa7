"""What the pipeline needs from the queues. Implemented in `adapters`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from tidings.messaging.envelope import Message
from tidings.messaging.topology import Destination


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A message on its way to a queue. An unreadable one is published unchanged: `raw`, without `message`."""

    to: Destination
    message: Message | None = None
    headers: dict[str, str] = field(default_factory=dict)  # additional headers, such as a dead letter's reason
    raw: bytes = b""

    @property
    def body(self) -> bytes:
        return self.message.body if self.message is not None else self.raw

    @property
    def message_id(self) -> str | None:
        if self.message is not None:
            return self.message.message_id
        given = self.headers.get("ce-id", "")  # of a newer release's message
        return given if given.isascii() and 0 < len(given) < 256 else None

    @property
    def all_headers(self) -> dict[str, str]:
        return {**(self.message.headers if self.message is not None else {}), **self.headers}


class Broker(Protocol):
    """The publishing side. Thread-safe."""

    def publish(self, wave: Sequence[Outgoing]) -> None:
        """Return when every message is confirmed. Raise BrokerUnavailable if one is refused, unroutable or unconfirmed
        at the deadline; part of the wave may then be queued."""

    def consume(self, queues: Sequence[str]) -> "Consumer":
        """A consumer of these queues, on a connection of its own: an alarm blocks publishers only.
        Raise BrokerUnavailable."""

    def depth(self, queue: str) -> int:
        """How many messages are ready in this queue. Raise BrokerUnavailable."""

    def depths(self, queues: Sequence[str]) -> Mapping[str, "Depth"]:
        """The same for several queues, over one connection. Raise BrokerUnavailable."""

    def declare(self) -> None:
        """Create what is missing of the topology. Idempotent. Raise BrokerUnavailable."""

    def check(self) -> None:
        """Raise BrokerUnavailable unless the broker answers."""

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Depth:
    """How full a queue is."""

    ready: int  # messages; in a retry queue, those that wait for its delay
    consumers: int | None = None  # None: the broker cannot tell


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A message as the broker delivered it. The broker keeps it until it is acknowledged."""

    receipt: int  # valid for this consumer's present connection only
    queue: str
    body: bytes
    message_id: str | None = None
    content_type: str | None = None
    headers: dict[str, object] = field(default_factory=dict)
    redelivered: bool = False
    deliveries: int = 1  # including this one


class Consumer(Protocol):
    """The consuming side of one or more queues, in order of preference. For one thread, except `wake`.

    After a method raises BrokerUnavailable, close this consumer and make another. What it received and did not
    acknowledge is redelivered.
    """

    def receive(self, limit: int, wait: timedelta, *, first: int | None = None) -> Sequence[Received]:
        """Up to `limit` messages of one queue: those that are there, or the first to arrive within `wait`; otherwise
        none. The queues are read in order, so the first is drained first. `first`: read only so many of the queues; 0
        only keeps the connection alive. Raise BrokerUnavailable."""

    def wake(self) -> None:
        """Make a waiting `receive` return now. From any thread."""

    def acknowledge(self, received: Iterable[Received]) -> None:
        """These are done. Raise BrokerUnavailable."""

    def give_back(self, received: Iterable[Received]) -> None:
        """Redeliver these, to any consumer. Raise BrokerUnavailable."""

    def close(self) -> None:
        """What was not acknowledged is redelivered."""

"""The exchanges and queues: the single source of every name.

Each channel has its queues. A changed RETRY_STEPS adds queues: the step is part of the queue's name, so no declaration
meets a queue of the same name with other arguments (a 406).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tidings.domain.channels import CHANNELS
from tidings.domain.notification import Priority
from tidings.domain.timing import RETRY_STEPS

EXCHANGE = "tidings"
PARKING = "tidings.parking"

DELIVERY_LIMIT = 20
"""Deliveries of a message by a quorum queue before it goes to parking. From its third delivery on, the trigger sends a
message alone, so only the one that crashes its worker gets here, not its neighbours."""


@dataclass(frozen=True, slots=True)
class Destination:
    """An exchange and a routing key."""

    exchange: str
    routing_key: str


def routing_key(channel: str, priority: Priority) -> str:
    return channel if priority is Priority.NORMAL else f"{channel}.{priority}"


def work(channel: str, priority: Priority) -> Destination:
    """To the channel's function."""
    return Destination(EXCHANGE, routing_key(channel, priority))


def retry(delay: timedelta, channel: str, priority: Priority) -> Destination:
    """Back to its channel after the longest step that is not longer than `delay`.

    Early is right: the claim finds it not due and defers it by a shorter step, so it is late by the shortest step at
    most.
    """
    step = max((step for step in RETRY_STEPS if step <= delay), default=RETRY_STEPS[0])
    return Destination(retry_queue(step), routing_key(channel, priority))


def dead(channel: str) -> Destination:
    return Destination(EXCHANGE, f"{channel}.dead")


def parking() -> Destination:
    return Destination(EXCHANGE, "parking")


def work_queue(channel: str, priority: Priority) -> str:
    return f"{EXCHANGE}.{routing_key(channel, priority)}"


def priority_of(queue: str) -> Priority:
    """The priority of the messages in a work queue."""
    return Priority.HIGH if queue.endswith(f".{Priority.HIGH}") else Priority.NORMAL


def work_queues(channel: str) -> tuple[str, str]:
    """In the order in which they are drained."""
    return work_queue(channel, Priority.HIGH), work_queue(channel, Priority.NORMAL)


def dead_queue(channel: str) -> str:
    return f"{EXCHANGE}.{channel}.dead"


def retry_queue(step: timedelta) -> str:
    return f"{EXCHANGE}.retry.{int(step.total_seconds())}s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    name: str
    type: str  # direct, fanout


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """A durable queue, bound to one exchange by one key."""

    name: str
    exchange: str
    routing_key: str
    delay: timedelta | None = None  # a retry step: back to EXCHANGE, with its own routing key, after this long
    arguments: dict[str, Any] = field(default_factory=dict)


_KEPT = {
    "x-queue-type": "quorum",
    # If an operator's policy limits its length, the newest message is refused and stays with its publisher. By default
    # the oldest would be dropped.
    "x-overflow": "reject-publish",
}
_AT_LEAST_ONCE = {
    # Default dead-lettering publishes without confirms and can lose the message. This one, with that overflow, cannot.
    **_KEPT,
    "x-dead-letter-strategy": "at-least-once",
}


def exchanges() -> Iterator[Exchange]:
    # No alternate exchange: with one, the broker confirms what no queue took. Without it, a mandatory message is
    # returned and the publisher declares the topology and publishes again. A retry queue keeps what it cannot route.
    yield Exchange(name=EXCHANGE, type="direct")
    for step in RETRY_STEPS:
        yield Exchange(name=retry_queue(step), type="fanout")


def queues() -> Iterator[Queue]:
    yield Queue(name=PARKING, exchange=EXCHANGE, routing_key="parking", arguments=_KEPT)
    for channel in CHANNELS:
        yield Queue(name=dead_queue(channel), exchange=EXCHANGE, routing_key=f"{channel}.dead", arguments=_KEPT)
        for priority in Priority:
            key = routing_key(channel, priority)
            yield Queue(
                name=work_queue(channel, priority),
                exchange=EXCHANGE,
                routing_key=key,
                arguments={
                    **_AT_LEAST_ONCE,
                    "x-delivery-limit": DELIVERY_LIMIT,
                    "x-dead-letter-exchange": EXCHANGE,
                    "x-dead-letter-routing-key": "parking",
                },
            )
    for step in RETRY_STEPS:
        yield Queue(
            name=retry_queue(step),
            exchange=retry_queue(step),
            routing_key="",
            delay=step,
            arguments={
                **_AT_LEAST_ONCE,
                "x-dead-letter-exchange": EXCHANGE,
                "x-message-ttl": int(step.total_seconds() * 1000),
            },
        )

"""Read the messages in the queues, and those that went through them, on either broker."""

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pika
from tidings.adapters.rabbitmq.broker import BrokerSettings, RabbitBroker
from tidings.messaging import topology

from tests.scenarios.caller import wait_for


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One message."""

    id: str
    routing_key: str
    headers: dict[str, Any]
    everything: str  # body, headers and properties, as text


class Queues(Protocol):
    def lying_in(self, queue: str) -> list[Seen]:
        """Every waiting message, without removing it."""

    def passed(self) -> list[Seen]:
        """Every message that the broker has carried so far."""


@dataclass(frozen=True)
class EmbeddedQueues:
    """The table: delivered messages are gone, so only waiting ones are seen."""

    path: Path

    def lying_in(self, queue: str) -> list[Seen]:
        return [seen for name, seen in self._rows() if name == queue]

    def passed(self) -> list[Seen]:
        return [seen for _, seen in self._rows()]

    def _rows(self) -> list[tuple[str, Seen]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT queue, routing_key, headers, body FROM messages").fetchall()
        return [
            (queue, _seen(key, json.loads(headers), bytes(body), f"{queue} {headers} {body!r}"))
            for queue, key, headers, body in rows
        ]


@dataclass(frozen=True, kw_only=True)
class RabbitQueues:
    """The real queues, and a tap on every exchange that gets a copy of all that goes through."""

    url: str
    _copies: list[Seen] = field(default_factory=list, repr=False)

    def lying_in(self, queue: str) -> list[Seen]:
        found: list[Seen] = []
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            channel = connection.channel()
            while (got := channel.basic_get(queue))[0] is not None:
                method, properties, body = got
                found.append(_seen(method.routing_key, properties.headers, body, f"{properties!r} {body!r}"))
        # Closing the connection without acknowledgement requeues them, but not at once.
        wait_for(lambda: self._waiting_in(queue), lambda count: count >= len(found))
        return found

    def _waiting_in(self, queue: str) -> int:
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            return int(connection.channel().queue_declare(queue, passive=True).method.message_count)

    def passed(self) -> list[Seen]:
        return list(self._copies)

    @contextlib.contextmanager
    def tapped(self) -> Iterator[None]:
        RabbitBroker(BrokerSettings(broker_url=self.url)).declare()  # as every process of the stack does, too
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        for bound in topology.queues():
            channel.queue_bind(queue, bound.exchange, bound.routing_key)
        channel.basic_consume(queue, self._copy, auto_ack=True)
        stopping = threading.Event()

        def listen() -> None:
            while not stopping.is_set():
                connection.process_data_events(0.2)
            connection.close()

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield
        finally:
            stopping.set()
            listener.join()

    def _copy(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._copies.append(_seen(method.routing_key, properties.headers, body, f"{properties!r} {body!r}"))


def _seen(routing_key: str, headers: dict[str, Any], body: bytes, everything: str) -> Seen:
    return Seen(id=json.loads(body)["id"], routing_key=routing_key, headers=headers, everything=everything)

"""The Broker on RabbitMQ, with pika."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pydantic import Field, field_validator

from tidings.adapters.rabbitmq.consumer import RabbitConsumer
from tidings.adapters.rabbitmq.errors import Blocked, ConnectionLost, Unconfirmed, Unroutable, as_unavailable
from tidings.adapters.rabbitmq.publisher import Publisher
from tidings.config.rotation import Rotation
from tidings.config.settings import Settings
from tidings.domain.errors import BrokerUnavailable
from tidings.messaging import topology
from tidings.ports import Depth, Outgoing

log = logging.getLogger(__name__)

NOT_FOUND, PRECONDITION_FAILED = 404, 406  # AMQP 0-9-1's reply codes
HEARTBEAT = 10  # seconds
"""A connection that dies silently is noticed by us after 15 s, and by the broker after 20 to 30 s, which then
redelivers what it had sent there. RabbitMQ's guide recommends 5 to 20 s."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
"""Seconds without a try after the broker failed, doubling. Meanwhile publishing fails at once, so that callers do not
wait one after another: the sweep publishes later."""


class BrokerSettings(Settings):
    """Where the queues are. Prefix TIDINGS_."""

    broker_url: str | None = Field(
        default=None, description="amqp://user:password@host:5672/vhost; not set: the embedded broker in the database"
    )
    broker_timeout: float = Field(default=5.0, gt=0, le=60, description="seconds to connect, and to wait for confirms")
    broker_prefetch: int = Field(default=500, ge=1, le=10_000, description="messages a consumer holds of each queue")

    @field_validator("broker_url")
    @classmethod
    def _amqp(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("amqp://", "amqps://")):
            raise ValueError("not an AMQP URL; use amqp://user:password@host:5672/")
        return value


Declare = Callable[..., object]
"""Takes a channel. With `passive=True` it only checks, and declares nothing."""


def declared_exchange(exchange: topology.Exchange) -> Declare:
    return lambda channel, passive=False: channel.exchange_declare(
        exchange.name, exchange.type, durable=True, passive=passive
    )


def declared_queue(queue: topology.Queue) -> Declare:
    return lambda channel, passive=False: channel.queue_declare(
        queue.name, durable=True, arguments=queue.arguments, passive=passive
    )


def parameters(settings: BrokerSettings) -> pika.URLParameters:
    made = pika.URLParameters(settings.broker_url)
    made.heartbeat = HEARTBEAT
    made.socket_timeout = settings.broker_timeout
    made.stack_timeout = settings.broker_timeout
    made.blocked_connection_timeout = settings.broker_timeout
    made.connection_attempts = 1
    return made


class RabbitBroker:
    """Broker. One publishing connection a process, opened at the first wave, and again after it was lost."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._rotation = Rotation(settings)
        self._lock = threading.Lock()
        self._publisher: Publisher | None = None
        self._pause = FIRST_PAUSE
        self._retry_at = 0.0  # on the monotonic clock

    def publish(self, wave: Sequence[Outgoing]) -> None:
        if not wave:
            return
        try:
            self._publish(wave)
        except (Blocked, Unconfirmed):
            # It is connected but takes nothing: the next caller would wait just as long.
            with self._lock:
                self._back_off()
            raise

    def _publish(self, wave: Sequence[Outgoing]) -> None:
        try:
            self._connected().publish(wave)
        except Unroutable:
            # A queue or an exchange was deleted. Messages confirmed before are published twice: the claim makes that
            # harmless.
            self.declare()
            self._connected().publish(wave)
        except ConnectionLost:
            # Not noticed until now: the broker restarted, or Lambda froze this process. Again, twice is harmless.
            self._connected().publish(wave)

    def _connected(self) -> Publisher:
        with self._lock:
            if self._publisher is not None and self._publisher.is_open:
                return self._publisher
            if time.monotonic() < self._retry_at:
                raise BrokerUnavailable("the broker failed a moment ago")
            try:
                self._publisher = self._rotation.connect(_publisher, is_refusal=_may_be_refused)
            except BrokerUnavailable:
                self._back_off()
                raise
            self._pause = FIRST_PAUSE
            return self._publisher

    def _back_off(self) -> None:
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def declare(self) -> None:
        """A queue or exchange that exists with other arguments is used as it is, and logged."""
        with self._connection() as connection:
            channel = connection.channel()
            for declare in (*map(declared_exchange, topology.exchanges()), *map(declared_queue, topology.queues())):
                try:
                    declare(channel)
                except ChannelClosedByBroker as refused:
                    if refused.reply_code != PRECONDITION_FAILED:
                        raise
                    advice = "drain it, delete it, start the trigger again"
                    log.error("topology_mismatch", extra={"error": f"{refused.reply_text}: {advice}"})
                    channel = connection.channel()
            for queue in topology.queues():
                channel.queue_bind(queue.name, queue.exchange, queue.routing_key)

    def depth(self, queue: str) -> int:
        return self.depths([queue])[queue].ready

    def depths(self, queues: Sequence[str]) -> Mapping[str, Depth]:
        with self._connection() as connection:
            channel, found = connection.channel(), {}
            for queue in queues:
                try:
                    declared = channel.queue_declare(queue, passive=True).method
                    found[queue] = Depth(ready=declared.message_count, consumers=declared.consumer_count)
                except ChannelClosedByBroker as error:
                    if error.reply_code != NOT_FOUND:
                        raise
                    channel, found[queue] = connection.channel(), Depth(ready=0, consumers=0)
            return found

    def check(self) -> None:
        with self._connection() as connection:
            connection.channel()

    def consume(self, queues: Sequence[str]) -> RabbitConsumer:
        self.declare()
        with as_unavailable():
            connection = self._rotation.connect(_connection, is_refusal=_may_be_refused)
            return RabbitConsumer(connection, queues, self._settings.broker_prefetch)

    @contextmanager
    def _connection(self) -> Iterator[pika.BlockingConnection]:
        """A connection for one rare question, which is not worth a kept one."""
        with as_unavailable():
            connection = self._rotation.connect(_connection, is_refusal=_may_be_refused)
            try:
                yield connection
            finally:
                if connection.is_open:
                    connection.close()

    def close(self) -> None:
        with self._lock:
            if self._publisher is not None:
                self._publisher.close()
                self._publisher = None


def _publisher(settings: BrokerSettings) -> Publisher:
    return Publisher(parameters(settings), settings.broker_timeout)


def _connection(settings: BrokerSettings) -> pika.BlockingConnection:
    return pika.BlockingConnection(parameters(settings))


def _may_be_refused(error: Exception) -> bool:
    """A broker may close a connection without saying why, so each error may be a refused password."""
    return isinstance(error, AMQPError | BrokerUnavailable)

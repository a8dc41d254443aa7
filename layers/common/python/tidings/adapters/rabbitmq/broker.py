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
from tidings.adapters.rabbitmq.publisher import Blocked, Lost, PublishingLink, Unconfirmed, Unroutable, as_unavailable
from tidings.config.rotation import Rotation
from tidings.config.settings import Settings
from tidings.domain.errors import BrokerUnavailable
from tidings.messaging import topology
from tidings.ports import Depth, Outgoing

log = logging.getLogger(__name__)

NOT_FOUND, PRECONDITION_FAILED = 404, 406  # AMQP 0-9-1's reply codes
HEARTBEAT = 10  # seconds
"""How fast a connection that is dead without a word is noticed: by us after 15 s, by the broker after 20 to 30 s, which
then gives back what it had sent there. RabbitMQ's guide takes 5 to 20 s for right."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
"""Seconds in which a broker that failed is not asked again, doubling. Callers need not wait for it one after another:
the sweep publishes what they could not."""


class BrokerSettings(Settings):
    """Where the queues are. Prefix TIDINGS_."""

    broker_url: str | None = Field(
        default=None, description="amqp://user:password@host:5672/vhost; not set: the embedded broker in the database"
    )
    broker_timeout: float = Field(default=5.0, gt=0, le=60, description="seconds to connect, and for a wave's confirms")
    broker_prefetch: int = Field(default=500, ge=1, le=10_000, description="messages a consumer holds of each queue")

    @field_validator("broker_url")
    @classmethod
    def _amqp(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("amqp://", "amqps://")):
            raise ValueError("not an AMQP URL; use amqp://user:password@host:5672/")
        return value


Declare = Callable[..., object]
"""Given a channel, and `passive=True` to look and make nothing."""


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
    """Broker. One publishing connection a process, opened at the first wave and again after it was lost."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._rotating = Rotation(settings)
        self._lock = threading.Lock()
        self._link: PublishingLink | None = None
        self._pause = FIRST_PAUSE
        self._asked_again_at = 0.0  # on the monotonic clock

    def publish(self, wave: Sequence[Outgoing]) -> None:
        if not wave:
            return
        try:
            self._publish(wave)
        except (Blocked, Unconfirmed):
            # It is there, and of no use: who publishes next would wait just as long.
            with self._lock:
                self._rest()
            raise

    def _publish(self, wave: Sequence[Outgoing]) -> None:
        try:
            self._linked().publish(wave)
        except Unroutable:
            # A queue or an exchange was deleted. Those that were confirmed come twice, which the claim makes harmless.
            self.declare()
            self._linked().publish(wave)
        except Lost:
            # It went unnoticed: the broker started anew, or Lambda froze this process. The same holds for the twice.
            self._linked().publish(wave)

    def _linked(self) -> "PublishingLink":
        with self._lock:
            if self._link is not None and self._link.is_open:
                return self._link
            if time.monotonic() < self._asked_again_at:
                raise BrokerUnavailable("the broker failed a moment ago")
            try:
                self._link = self._rotating.connect(_link, is_refusal=_may_be_refused)
            except BrokerUnavailable:
                self._rest()
                raise
            self._pause = FIRST_PAUSE
            return self._link

    def _rest(self) -> None:
        self._asked_again_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def declare(self) -> None:
        """What is there with other arguments stays, and is used as it is: told, and no reason to stand still."""
        with self._connection() as connection:
            channel = connection.channel()
            for declare in (*map(declared_exchange, topology.exchanges()), *map(declared_queue, topology.queues())):
                try:
                    declare(channel)
                except ChannelClosedByBroker as refused:
                    if refused.reply_code != PRECONDITION_FAILED:
                        raise
                    said = f"{refused.reply_text}: drain it, delete it, start the trigger again"
                    log.error("topology_mismatch", extra={"error": said})
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

    def consume(self, queues: Sequence[str]) -> "RabbitConsumer":
        self.declare()
        with as_unavailable():
            connection = self._rotating.connect(_connection, is_refusal=_may_be_refused)
            return RabbitConsumer(connection, queues, self._settings.broker_prefetch)

    @contextmanager
    def _connection(self) -> Iterator[pika.BlockingConnection]:
        """A connection for one question: rare ones need no connection kept alive for them."""
        with as_unavailable():
            connection = self._rotating.connect(_connection, is_refusal=_may_be_refused)
            try:
                yield connection
            finally:
                if connection.is_open:
                    connection.close()

    def close(self) -> None:
        with self._lock:
            if self._link is not None:
                self._link.close()
                self._link = None


def _link(settings: BrokerSettings) -> PublishingLink:
    return PublishingLink(parameters(settings), settings.broker_timeout)


def _connection(settings: BrokerSettings) -> pika.BlockingConnection:
    return pika.BlockingConnection(parameters(settings))


def _may_be_refused(error: Exception) -> bool:
    """A broker may close a connection without a word why."""
    return isinstance(error, AMQPError | BrokerUnavailable)

"""The Broker on RabbitMQ, with pika: waves of publisher confirms, and a consumer that notices when it is none."""

import functools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pydantic import Field, field_validator

from tidings import topology
from tidings.envelope import CONTENT_TYPE
from tidings.errors import BrokerUnavailable
from tidings.ports import Outgoing, Received
from tidings.settings import Settings

HEARTBEAT = 30  # seconds
RECONNECT_PAUSE = 1.0  # seconds in which a broker that just failed is not asked again: nobody waits for it twice


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


def _parameters(settings: BrokerSettings) -> pika.URLParameters:
    parameters = pika.URLParameters(settings.broker_url)
    parameters.heartbeat = HEARTBEAT
    parameters.socket_timeout = settings.broker_timeout
    parameters.stack_timeout = settings.broker_timeout
    parameters.blocked_connection_timeout = settings.broker_timeout
    parameters.connection_attempts = 1
    return parameters


class RabbitBroker:
    """Broker. One publishing connection a process, opened at the first wave and again after it was lost."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._link: _PublishingLink | None = None
        self._failed_at: float | None = None

    def publish(self, wave: Sequence[Outgoing]) -> None:
        if not wave:
            return
        try:
            self._linked().publish(wave)
        except _Unroutable:
            # A queue or an exchange was deleted. Those that were confirmed come twice, which the claim makes harmless.
            self.declare()
            self._linked().publish(wave)

    def _linked(self) -> "_PublishingLink":
        with self._lock:
            if self._link is not None and self._link.is_open:
                return self._link
            if self._failed_at is not None and time.monotonic() - self._failed_at < RECONNECT_PAUSE:
                raise BrokerUnavailable("the broker failed a moment ago")
            try:
                self._link = _PublishingLink(_parameters(self._settings), self._settings.broker_timeout)
            except BrokerUnavailable:
                self._failed_at = time.monotonic()
                raise
            self._failed_at = None
            return self._link

    def declare(self) -> None:
        with self._channel() as channel:
            for exchange in topology.exchanges():
                channel.exchange_declare(exchange.name, exchange.type, durable=True, arguments=exchange.arguments)
            for queue in topology.queues():
                channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)
                channel.queue_bind(queue.name, queue.exchange, queue.routing_key)

    def depth(self, queue: str) -> int:
        with self._channel() as channel:
            try:
                declared: int = channel.queue_declare(queue, passive=True).method.message_count
                return declared
            except ChannelClosedByBroker as error:
                if error.reply_code == 404:
                    return 0
                raise

    def check(self) -> None:
        with self._channel():
            return

    def consume(self, queues: Sequence[str]) -> "RabbitConsumer":
        self.declare()
        with _as_unavailable():
            return RabbitConsumer(pika.BlockingConnection(_parameters(self._settings)), queues, self._settings)

    @contextmanager
    def _channel(self) -> Iterator[BlockingChannel]:
        """A connection for one question: rare ones need no connection kept alive for them."""
        with _as_unavailable():
            connection = pika.BlockingConnection(_parameters(self._settings))
            try:
                yield connection.channel()
            finally:
                if connection.is_open:
                    connection.close()

    def close(self) -> None:
        with self._lock:
            if self._link is not None:
                self._link.close()
                self._link = None


class _Unroutable(Exception):
    """No queue took a mandatory message, or its exchange is gone."""


class _Wave:
    """Messages that are confirmed together."""

    def __init__(self, size: int) -> None:
        self.missing = size
        self.done: Future[None] = Future()

    def confirmed(self) -> None:
        self.missing -= 1
        if self.missing == 0 and not self.done.done():
            self.done.set_result(None)

    def failed(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _PublishingLink:
    """A connection and its thread. Everything but `publish` and `close` runs in that thread, which pika demands."""

    def __init__(self, parameters: pika.URLParameters, timeout: float) -> None:
        self._timeout = timeout
        self._waiting: OrderedDict[int, tuple[_Wave, str | None]] = OrderedDict()  # by delivery tag
        self._tag = 0
        self._channel: Any = None
        self._opened: Future[None] = Future()
        self._ended: BaseException | None = None
        self._connection = pika.SelectConnection(
            parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_closed,
            on_close_callback=self._on_closed,
        )
        self._thread = threading.Thread(target=self._run, name="tidings-publisher", daemon=True)
        self._thread.start()
        try:
            self._opened.result(timeout)
        except FutureTimeout:
            self.close()
            raise BrokerUnavailable(f"no answer within {timeout:g} s") from None

    @property
    def is_open(self) -> bool:
        return self._ended is None

    def publish(self, wave: Sequence[Outgoing]) -> None:
        waiting = _Wave(len(wave))
        self._soon(functools.partial(self._send, waiting, wave))
        try:
            waiting.done.result(self._timeout)
        except FutureTimeout:
            # Whether they arrived is not known, so this connection's state is not either.
            self.close()
            raise BrokerUnavailable(f"{waiting.missing} of {len(wave)} unconfirmed after {self._timeout:g} s") from None

    def close(self) -> None:
        self._soon(self._stop)
        self._end(BrokerUnavailable("closed"))
        if threading.current_thread() is not self._thread:
            self._thread.join(1)

    def _soon(self, callback: Any) -> None:
        try:
            self._connection.ioloop.add_callback_threadsafe(callback)
        except Exception as error:  # the loop has ended
            raise BrokerUnavailable(f"the connection is closed: {type(error).__name__}") from error

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._connection.ioloop.start()
        except Exception as error:
            self._end(error)
        finally:
            self._end(BrokerUnavailable("the connection ended"))
            self._connection.ioloop.close()

    def _stop(self) -> None:
        if self._connection.is_open:
            self._connection.close()
        elif self._connection.is_closed:
            self._connection.ioloop.stop()

    def _on_open(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_closed(self, _connection: Any, error: Any) -> None:
        self._end(error if isinstance(error, BaseException) else BrokerUnavailable(str(error)))
        # One turn later: the socket is closed by a callback that is queued before this one.
        self._connection.ioloop.call_later(0, self._connection.ioloop.stop)

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._opened.set_result(None))

    def _on_channel_closed(self, _channel: Any, error: Exception) -> None:
        # The broker closes the channel when an exchange is missing (404): the topology must be declared again.
        self._end(_Unroutable(str(error)) if getattr(error, "reply_code", None) == 404 else error)
        self._stop()

    def _send(self, wave: _Wave, outgoing: Sequence[Outgoing]) -> None:
        if self._ended is not None:
            wave.failed(_unavailable(self._ended))
            return
        try:
            for item in outgoing:
                self._tag += 1
                self._waiting[self._tag] = (wave, item.message_id)
                self._channel.basic_publish(
                    item.to.exchange, item.to.routing_key, item.body, _properties(item), mandatory=True
                )
        except Exception as error:
            self._end(error)

    def _on_confirm(self, frame: Any) -> None:
        tag, accepted = frame.method.delivery_tag, isinstance(frame.method, pika.spec.Basic.Ack)
        if frame.method.multiple:
            tags = []
            for waiting in self._waiting:
                if waiting > tag:
                    break
                tags.append(waiting)
        else:
            tags = [tag]
        for confirmed in tags:
            wave, _ = self._waiting.pop(confirmed, (None, None))
            if wave is None:
                continue
            if accepted:
                wave.confirmed()
            else:
                wave.failed(BrokerUnavailable("the broker refused a message: a queue is full or has no leader"))

    def _on_return(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        for wave, message_id in self._waiting.values():
            if message_id == properties.message_id:
                wave.failed(_Unroutable(f"{method.exchange} has no queue for {method.routing_key}"))

    def _end(self, error: BaseException) -> None:
        if self._ended is None:
            self._ended = error
        if not self._opened.done():
            self._opened.set_exception(_unavailable(error))
        waiting, self._waiting = self._waiting, OrderedDict()
        for wave, _ in waiting.values():
            wave.failed(error if isinstance(error, _Unroutable) else _unavailable(error))


class RabbitConsumer:
    """Consumer. pika's connection belongs to the thread that calls `receive`, which also answers heartbeats."""

    def __init__(self, connection: pika.BlockingConnection, queues: Sequence[str], settings: BrokerSettings) -> None:
        self._connection = connection
        self._channel = connection.channel()
        self._channel.basic_qos(prefetch_count=settings.broker_prefetch)
        self._channel.add_on_cancel_callback(self._on_cancel)
        self._arrived: dict[str, deque[Received]] = {queue: deque() for queue in queues}
        self._canceled = False
        self._woken = False
        for queue in queues:
            self._channel.basic_consume(queue, functools.partial(self._on_message, queue))

    def receive(self, limit: int, wait: timedelta) -> Sequence[Received]:
        deadline = time.monotonic() + wait.total_seconds()
        while True:
            with _as_unavailable():
                self._connection.process_data_events(0)
                self._check()
                if received := self._buffered(limit):
                    return received
                left = deadline - time.monotonic()
                if left <= 0 or self._woken:
                    self._woken = False
                    return []
                self._connection.process_data_events(left)

    def wake(self) -> None:
        try:
            self._connection.add_callback_threadsafe(self._wake)
        except AMQPError:
            return  # it is closed, so nobody waits

    def acknowledge(self, received: Iterable[Received]) -> None:
        with _as_unavailable():
            for item in received:
                self._channel.basic_ack(item.receipt)
            self._connection.process_data_events(0)

    def give_back(self, received: Iterable[Received]) -> None:
        with _as_unavailable():
            for item in received:
                self._channel.basic_nack(item.receipt, requeue=True)
            self._connection.process_data_events(0)

    def close(self) -> None:
        try:
            if self._connection.is_open:
                self._connection.close()
        except (AMQPError, OSError):
            return  # the broker gives back what was not acknowledged

    def _buffered(self, limit: int) -> list[Received]:
        for arrived in self._arrived.values():
            if arrived and limit:
                return [arrived.popleft() for _ in range(min(limit, len(arrived)))]
        return []

    def _check(self) -> None:
        if self._canceled or not self._channel.is_open:
            raise BrokerUnavailable("the broker canceled this consumer: its queue is gone or has moved")

    def _wake(self) -> None:
        self._woken = True

    def _on_cancel(self, _frame: Any) -> None:
        self._canceled = True

    def _on_message(self, queue: str, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        headers = dict(properties.headers or {})
        self._arrived[queue].append(
            Received(
                receipt=method.delivery_tag,
                queue=queue,
                body=body,
                message_id=properties.message_id,
                content_type=properties.content_type,
                headers=headers,
                redelivered=method.redelivered,
                deliveries=int(headers.get("x-delivery-count") or 0) + 1,
            )
        )


def _properties(item: Outgoing) -> pika.BasicProperties:
    return pika.BasicProperties(
        message_id=item.message_id,
        content_type=CONTENT_TYPE if item.message is not None else None,
        delivery_mode=pika.DeliveryMode.Persistent.value,
        headers=item.all_headers,
    )


def _unavailable(error: BaseException) -> BrokerUnavailable:
    if isinstance(error, BrokerUnavailable):
        return error
    return BrokerUnavailable(f"{type(error).__name__}: {error}"[:300])


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except (AMQPError, OSError) as error:
        raise _unavailable(error) from error

"""A publishing connection to RabbitMQ: waves of publisher confirms, in a thread of its own."""

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from typing import Any

import pika
from pika.exceptions import AMQPError

from tidings.adapters.rabbitmq.frames import frames
from tidings.domain.errors import BrokerUnavailable
from tidings.ports import Outgoing


class Unroutable(BrokerUnavailable):
    """No queue took a mandatory message, or its exchange is gone."""


class Blocked(BrokerUnavailable):
    """An alarm: the broker reads nothing that is published until it is over."""


class Unconfirmed(BrokerUnavailable):
    """It takes what is published, and does not confirm it in time: a node that is cut off from the others."""


class Lost(BrokerUnavailable):
    """The connection was open and is so no more: another may do at once."""


LOOK_EVERY = 5.0  # seconds


class _Wave:
    """Messages that are confirmed together."""

    def __init__(self, size: int) -> None:
        self.missing = size
        self.done: Future[None] = Future()

    def confirmed(self) -> None:
        self.missing -= 1
        if self.missing == 0:
            with suppress(InvalidStateError):
                self.done.set_result(None)

    def failed(self, error: Exception) -> None:
        with suppress(InvalidStateError):  # it is over already
            self.done.set_exception(error)


class _Connection(pika.SelectConnection):  # type: ignore[misc]
    """pika hands each frame to the system by itself: three calls a message, at each of which another thread may take
    Python's lock, and as many packets for the broker to read."""

    def publish(self, channel: int, wave: Sequence[Outgoing]) -> None:
        """In one write."""
        self._output_marshaled_frames([b"".join([frames(channel, item, self._body_max_length) for item in wave])])


class PublishingLink:
    """A connection and its thread. Everything but `publish` and `close` runs in that thread, which pika demands."""

    def __init__(self, parameters: pika.URLParameters, timeout: float) -> None:
        self._timeout = timeout
        self._patience = 2.0 * parameters.heartbeat  # seconds
        self._waiting: OrderedDict[int, tuple[_Wave, str | None]] = OrderedDict()  # by delivery tag
        self._tag = 0
        self._channel: Any = None
        self._opened: Future[None] = Future()
        self._ended: BaseException | None = None
        self._retired = False
        self._connection = _Connection(
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
        return self._ended is None and not self._retired

    def publish(self, wave: Sequence[Outgoing]) -> None:
        waiting = _Wave(len(wave))
        self._soon(functools.partial(self._send, waiting, wave))
        if (ended := self._ended) is not None:  # a moment ago: the loop may never come to it
            waiting.failed(_lost(ended))
        try:
            waiting.done.result(self._timeout)
        except FutureTimeout:
            # Whether they arrived is not known, so this connection's state is not either.
            self.close()
            raise Unconfirmed(f"{waiting.missing} of {len(wave)} unconfirmed after {self._timeout:g} s") from None

    def close(self) -> None:
        self._soon(self._stop)
        self._end(BrokerUnavailable("closed"))
        if threading.current_thread() is not self._thread:
            self._thread.join(1)

    def _soon(self, callback: Any) -> None:
        try:
            self._connection.ioloop.add_callback_threadsafe(callback)
        except Exception as error:  # the loop has ended
            raise Lost(f"the connection is closed: {type(error).__name__}") from error

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._connection.ioloop.start()
        except Exception as error:
            self._end(error)
        finally:
            self._end(Lost("the connection ended"))
            self._connection.ioloop.close()

    def _stop(self) -> None:
        if self._connection.is_open:
            self._connection.close()
        elif self._connection.is_closed:
            self._connection.ioloop.stop()

    def _on_open(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(self._on_blocked)
        self._look(time.time())
        connection.channel(on_open_callback=self._on_channel)

    def _on_closed(self, _connection: Any, error: Any) -> None:
        self._end(error if isinstance(error, BaseException) else BrokerUnavailable(str(error)))
        # One turn later: the socket is closed by a callback that is queued before this one.
        self._connection.ioloop.call_later(0, self._connection.ioloop.stop)

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self._end(Blocked(f"the broker takes nothing now: {frame.method.reason}"))
        self._stop()

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._opened.set_result(None))

    def _on_channel_closed(self, _channel: Any, error: Exception) -> None:
        # The broker closes the channel when an exchange is missing (404): the topology must be declared again.
        self._end(Unroutable(str(error)) if getattr(error, "reply_code", None) == 404 else error)
        self._stop()

    def _send(self, wave: _Wave, outgoing: Sequence[Outgoing]) -> None:
        if self._ended is not None:
            wave.failed(_lost(self._ended))
            return
        for item in outgoing:
            self._tag += 1
            self._waiting[self._tag] = (wave, item.message_id)
        try:
            self._connection.publish(self._channel.channel_number, outgoing)
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
                # 3.10 goes on refusing on this channel when the queue has room again: the next wave gets a new one.
                self._retired = True
                wave.failed(BrokerUnavailable("the broker refused a message: a queue is full or has no leader"))
        if self._retired and not self._waiting:
            self._stop()

    def _on_return(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        for wave, message_id in self._waiting.values():
            if message_id == properties.message_id:
                wave.failed(Unroutable(f"{method.exchange} has no queue for {method.routing_key}"))

    def _end(self, error: BaseException) -> None:
        if self._ended is None:
            self._ended = error
        if not self._opened.done():
            self._opened.set_exception(unavailable(error))
        waiting, self._waiting = self._waiting, OrderedDict()
        for wave, _ in waiting.values():
            wave.failed(_lost(error))

    def _look(self, looked_at: float) -> None:
        """Again and again, by the clock on the wall. Where the last look is too long ago this process was frozen, and
        sent no heartbeat: the broker has given us up, though its word of that may never come."""
        now = time.time()
        if now - looked_at > self._patience:
            self._end(Lost("the process stood still for longer than the broker waits"))
            self._stop()
        else:
            self._connection.ioloop.call_later(LOOK_EVERY, functools.partial(self._look, now))


def _lost(error: BaseException) -> BrokerUnavailable:
    """What a wave is told that an open connection did not confirm."""
    if isinstance(error, BrokerUnavailable):
        return error
    return Lost(str(unavailable(error)))


def unavailable(error: BaseException) -> BrokerUnavailable:
    if isinstance(error, BrokerUnavailable):
        return error
    return BrokerUnavailable(f"{type(error).__name__}: {error}"[:300])


@contextmanager
def as_unavailable() -> Iterator[None]:
    try:
        yield
    except (AMQPError, OSError) as error:
        raise unavailable(error) from error

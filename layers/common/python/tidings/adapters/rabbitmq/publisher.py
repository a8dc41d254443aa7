"""Publish to RabbitMQ in waves, each confirmed, on a connection that has a thread of its own."""

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import Any

import pika

from tidings.adapters.rabbitmq.errors import Blocked, ConnectionLost, Unconfirmed, Unroutable, unavailable
from tidings.adapters.rabbitmq.frames import frames, properties
from tidings.domain.errors import BrokerUnavailable
from tidings.ports import Outgoing

FREEZE_CHECK_INTERVAL = 5.0  # seconds


class _Wave:
    """Messages published together. Done when each is confirmed."""

    def __init__(self, size: int) -> None:
        self.missing = size
        self.done: Future[None] = Future()

    def confirmed(self) -> None:
        self.missing -= 1
        if self.missing == 0:
            with suppress(InvalidStateError):
                self.done.set_result(None)

    def failed(self, error: Exception) -> None:
        with suppress(InvalidStateError):  # an earlier message has failed it
            self.done.set_exception(error)


class _Connection(pika.SelectConnection):  # type: ignore[misc]
    """Sends a wave in one write. pika writes each frame separately: three system calls and three packets a message.
    The messages then reach the consumers one by one."""

    _buffer: bytearray | None = None

    @contextmanager
    def one_write(self) -> Iterator[None]:
        self._buffer = bytearray()
        try:
            yield
        finally:
            data, self._buffer = bytes(self._buffer), None
            if data:
                self._adapter_emit_data(data)

    def send(self, frames: bytes) -> None:
        self._adapter_emit_data(frames)

    def _adapter_emit_data(self, data: bytes) -> None:
        """pika's hook for adapters: all output passes here."""
        if self._buffer is not None:
            self._buffer += data
        else:
            super()._adapter_emit_data(data)


class Publisher:
    """A connection and its thread. pika demands one thread: all but `publish` and `close` run there."""

    def __init__(self, parameters: pika.URLParameters, timeout: float) -> None:
        self._timeout = timeout
        self._given_up_after = 2.0 * parameters.heartbeat  # seconds, by the broker
        self._unconfirmed: OrderedDict[int, tuple[_Wave, str | None]] = (
            OrderedDict()
        )  # wave and message id, by delivery tag
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
        """Return when each message is confirmed. Raise BrokerUnavailable."""
        confirms = _Wave(len(wave))
        self._call_in_thread(functools.partial(self._send, confirms, wave))
        if (ended := self._ended) is not None:  # just now: the thread may never run the callback
            confirms.failed(_connection_lost(ended))
        try:
            confirms.done.result(self._timeout)
        except FutureTimeout:
            # The messages may have arrived, so the state of this connection is unknown too.
            self.close()
            raise Unconfirmed(f"{confirms.missing} of {len(wave)} unconfirmed after {self._timeout:g} s") from None

    def close(self) -> None:
        self._call_in_thread(self._stop)
        self._end(BrokerUnavailable("closed"))
        if threading.current_thread() is not self._thread:
            self._thread.join(1)

    def _call_in_thread(self, callback: Any) -> None:
        try:
            self._connection.ioloop.add_callback_threadsafe(callback)
        except Exception as error:  # the thread has ended
            raise ConnectionLost(f"the connection is closed: {type(error).__name__}") from error

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._connection.ioloop.start()
        except Exception as error:
            self._end(error)
        finally:
            self._end(ConnectionLost("the connection ended"))
            self._connection.ioloop.close()

    def _stop(self) -> None:
        if self._connection.is_open:
            self._connection.close()
        elif self._connection.is_closed:
            self._connection.ioloop.stop()

    def _on_open(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(self._on_blocked)
        self._check_for_freeze(time.time())
        connection.channel(on_open_callback=self._on_channel)

    def _on_closed(self, _connection: Any, error: Any) -> None:
        self._end(error if isinstance(error, BaseException) else BrokerUnavailable(str(error)))
        # One turn of the loop later: a callback that is queued before this one closes the socket.
        self._connection.ioloop.call_later(0, self._connection.ioloop.stop)

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self._end(Blocked(f"the broker blocks publishers: {frame.method.reason}"))
        self._stop()

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._opened.set_result(None))

    def _on_channel_closed(self, _channel: Any, error: Exception) -> None:
        # 404: an exchange is missing, so the topology must be declared again.
        self._end(Unroutable(str(error)) if getattr(error, "reply_code", None) == 404 else error)
        self._stop()

    def _send(self, confirms: _Wave, wave: Sequence[Outgoing]) -> None:
        if self._ended is not None:
            confirms.failed(_connection_lost(self._ended))
            return
        try:
            with self._connection.one_write():
                for item in wave:
                    self._tag += 1
                    self._unconfirmed[self._tag] = (confirms, item.message_id)
                    self._publish(item)
        except Exception as error:
            self._end(error)

    def _publish(self, item: Outgoing) -> None:
        if (encoded := frames(self._channel.channel_number, item)) is not None:
            self._connection.send(encoded)
        else:
            to = item.to
            self._channel.basic_publish(to.exchange, to.routing_key, item.body, properties(item), mandatory=True)

    def _on_confirm(self, frame: Any) -> None:
        tag, accepted = frame.method.delivery_tag, isinstance(frame.method, pika.spec.Basic.Ack)
        tags = [*takewhile(lambda sent: sent <= tag, self._unconfirmed)] if frame.method.multiple else [tag]
        for confirmed in tags:
            wave, _ = self._unconfirmed.pop(confirmed, (None, None))
            if wave is None:
                continue
            if accepted:
                wave.confirmed()
            else:
                # RabbitMQ 3.10 keeps refusing on this channel, even when the queue has room again: retire it.
                self._retired = True
                wave.failed(BrokerUnavailable("the broker refused a message: a queue is full or has no leader"))
        if self._retired and not self._unconfirmed:
            self._stop()

    def _on_return(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        for wave, message_id in self._unconfirmed.values():
            if message_id == properties.message_id:
                wave.failed(Unroutable(f"{method.exchange} has no queue for {method.routing_key}"))

    def _end(self, error: BaseException) -> None:
        if self._ended is None:
            self._ended = error
        if not self._opened.done():
            self._opened.set_exception(unavailable(error))
        unconfirmed, self._unconfirmed = self._unconfirmed, OrderedDict()
        for wave, _ in unconfirmed.values():
            wave.failed(_connection_lost(error))

    def _check_for_freeze(self, checked_at: float) -> None:
        """Repeats itself. A long gap on the wall clock means that this process was frozen, as on Lambda, and sent no
        heartbeat: the broker has closed the connection, though its notice may never arrive."""
        now = time.time()
        if now - checked_at > self._given_up_after:
            self._end(ConnectionLost("the process was frozen for longer than the broker waits for a heartbeat"))
            self._stop()
        else:
            again = functools.partial(self._check_for_freeze, now)
            self._connection.ioloop.call_later(FREEZE_CHECK_INTERVAL, again)


def _connection_lost(error: BaseException) -> BrokerUnavailable:
    """Why an open connection did not confirm a wave."""
    if isinstance(error, BrokerUnavailable):
        return error
    return ConnectionLost(str(unavailable(error)))

"""Consume RabbitMQ's queues, and notice when the broker cancels the consumer."""

import functools
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice, takewhile
from typing import Any

import pika
from pika.exceptions import AMQPError

from tidings.adapters.rabbitmq.errors import as_unavailable
from tidings.domain.errors import BrokerUnavailable
from tidings.ports import Received


class RabbitConsumer:
    """Consumer. pika's connection belongs to the thread that calls `receive`, which also answers heartbeats."""

    def __init__(self, connection: pika.BlockingConnection, queues: Sequence[str], prefetch: int) -> None:
        self._connection = connection
        self._channel = connection.channel()
        self._channel.basic_qos(prefetch_count=prefetch)
        self._channel.add_on_cancel_callback(self._on_cancel)
        self._arrived: dict[str, deque[Received]] = {queue: deque() for queue in queues}
        self._open: dict[int, None] = {}  # delivery tags that are not acknowledged, oldest first
        self._canceled = False
        self._woken = False
        for queue in queues:
            self._channel.basic_consume(queue, functools.partial(self._on_message, queue))

    def receive(self, limit: int, wait: timedelta, *, first: int | None = None) -> Sequence[Received]:
        deadline = time.monotonic() + wait.total_seconds()
        while True:
            with as_unavailable():
                self._connection.process_data_events(0)
                self._check()
                if received := self._buffered(limit, first):
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
            return  # it is closed, so no `receive` waits

    def acknowledge(self, received: Iterable[Received]) -> None:
        tags = {item.receipt for item in received}
        with as_unavailable():
            # Where no older tag is open, one frame acknowledges them all.
            oldest = list(takewhile(tags.__contains__, self._open))
            if oldest:
                self._channel.basic_ack(oldest[-1], multiple=True)
            for tag in sorted(tags.difference(oldest)):
                self._channel.basic_ack(tag)
            self._forget(tags)
            self._connection.process_data_events(0)

    def give_back(self, received: Iterable[Received]) -> None:
        with as_unavailable():
            for item in received:
                # Rejected, not nacked: since 4.3 a quorum queue counts only rejections against its delivery limit.
                self._channel.basic_reject(item.receipt, requeue=True)
                self._forget([item.receipt])
            self._connection.process_data_events(0)

    def close(self) -> None:
        try:
            if self._connection.is_open:
                self._connection.close()
        except (AMQPError, OSError):
            return  # the broker redelivers what was not acknowledged

    def _forget(self, tags: Iterable[int]) -> None:
        for tag in tags:
            self._open.pop(tag, None)

    def _buffered(self, limit: int, first: int | None) -> list[Received]:
        for arrived in islice(self._arrived.values(), first):
            if arrived:
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
        self._open[method.delivery_tag] = None
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

"""Queue to function: take a batch, POST it as an `aws:rmq` event, acknowledge it on 2xx.

It does what Lambda's event source does, and waits where that one spins: while the function or its database is down it
keeps what it holds and asks again, ever more slowly.
"""

import http.client
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import to_json

from tidings.config import failpoints
from tidings.domain.errors import BrokerUnavailable
from tidings.domain.timing import ANSWER_WITHIN
from tidings.messaging.envelope import to_event
from tidings.ports import Consumer, Received
from tidings.runtime.queue_function import PREFER_ASYNC

log = logging.getLogger(__name__)

SEEN_OFTEN = 3
"""From this delivery on a message is sent alone: if it crashes its worker, it takes no neighbours with it."""

LOOK_EVERY = 1.0  # seconds between looks at whether the channel is paused

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds, doubling: between two calls, and before a message is given back


class FunctionDown(Exception):
    """It is not there, or says 503: nothing is wrong with the batch."""


class BatchFailed(Exception):
    """It broke on this batch, or did not answer in time."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """Where the batches go."""

    url: str
    token: str
    timeout: timedelta = ANSWER_WITHIN

    def invoke(self, batch: Sequence[Received]) -> None:
        """Return on 2xx. Raise FunctionDown or BatchFailed."""
        event = to_rmq(batch)
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            parts.hostname or "127.0.0.1", parts.port or 80, timeout=self.timeout.total_seconds()
        )
        try:
            connection.connect()
        except OSError as error:
            raise FunctionDown(f"{self.url}: {error}") from error
        try:
            headers = {
                "content-type": "application/json",
                "authorization": f"Bearer {self.token}",
                "prefer": PREFER_ASYNC,
            }
            connection.request("POST", parts.path or "/", to_json(event), headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise BatchFailed(f"{self.url}: {type(error).__name__} {error}") from error
        finally:
            connection.close()
        if answer.status in (401, 429, 503):
            raise FunctionDown(f"{self.url}: {answer.status}")
        if not 200 <= answer.status < 300:
            raise BatchFailed(f"{self.url}: {answer.status}")


@dataclass(kw_only=True)
class Trigger:
    """One channel's trigger. `run` returns after `stop`, when what was under way is settled.

    One more batch than `concurrency` may be at the function if it is of high priority: it never waits for the end of
    an ordinary one.
    """

    channel: str
    consume: Callable[[], Consumer]
    function: Function
    batch: int = 100
    concurrency: int = 2  # batches at the function at once: while one settles, the next is claimed and sent
    paused: Callable[[], bool] = lambda: False
    patience: timedelta = timedelta(minutes=5)  # how long a batch is kept while the function is down
    _stopping: threading.Event = field(default_factory=threading.Event)
    _done: "queue.SimpleQueue[tuple[Consumer, Sequence[Received], bool]]" = field(default_factory=queue.SimpleQueue)
    _resting: list[tuple[float, Sequence[Received]]] = field(default_factory=list)  # given back at this time
    _consumer: Consumer | None = None
    _in_flight: int = 0

    def run(self) -> None:
        pause = FIRST_PAUSE
        with ThreadPoolExecutor(self.concurrency + 1, thread_name_prefix=f"trigger-{self.channel}") as threads:
            while not self._stopping.is_set():
                if self.paused():
                    self._stopping.wait(LOOK_EVERY)
                    continue
                try:
                    self._consumer = self.consume()
                    log.info("consuming", extra={"channel": self.channel})
                    pause = FIRST_PAUSE
                    self._serve(self._consumer, threads)
                except BrokerUnavailable as error:
                    log.warning("broker_unavailable", extra={"channel": self.channel, "error": str(error)})
                    self._stopping.wait(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                finally:
                    self._close()

    def stop(self) -> None:
        """From any thread, or a signal's handler."""
        self._stopping.set()
        consumer = self._consumer
        if consumer is not None:
            consumer.wake()

    def _serve(self, consumer: Consumer, threads: ThreadPoolExecutor) -> None:
        """All that touches the consumer happens in this thread. Return when it is to stop or pause, and what was under
        way is answered. Raise BrokerUnavailable."""
        while not self._is_to_end() or self._in_flight:
            wait = timedelta(seconds=0.2 if self._resting else 1)
            if batch := consumer.receive(self.batch, wait, first=self._open()):
                self._in_flight += 1
                threads.submit(self._deliver, consumer, batch)
            self._give_answers(consumer)
            self._give_back_rested(consumer)

    def _open(self) -> int:
        """How many of the queues, the one of high priority first, may give a batch now."""
        if self._is_to_end() or self._in_flight > self.concurrency:
            return 0
        return 1 if self._in_flight == self.concurrency else 2

    def _is_to_end(self) -> bool:
        """While it pauses it keeps no consumer: what one holds for long the broker takes for lost, again and again."""
        return self._stopping.is_set() or self.paused()

    def _give_answers(self, consumer: Consumer) -> None:
        while True:
            try:
                taken_by, part, settled = self._done.get_nowait()
            except queue.Empty:
                return
            if not part:
                self._in_flight -= 1
            elif taken_by is not consumer:
                continue  # the connection was lost meanwhile: they have come again already
            elif settled:
                failpoints.step("trigger.before_acknowledge")
                consumer.acknowledge(part)
            else:
                self._resting.append((time.monotonic() + _rest(part), part))

    def _give_back_rested(self, consumer: Consumer) -> None:
        now = time.monotonic()
        for part in [part for until, part in self._resting if until <= now]:
            consumer.give_back(part)
        self._resting = [(until, part) for until, part in self._resting if until > now]

    def _close(self) -> None:
        self._resting = []  # closing gives back whatever is not acknowledged
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    # --- in a thread of the pool --------------------------------------------------------------------------------------

    def _deliver(self, consumer: Consumer, batch: Sequence[Received]) -> None:
        try:
            for part in _parts(batch):
                settled = self._settled(part)
                self._done.put((consumer, part, settled))
                consumer.wake()
        finally:
            self._done.put((consumer, (), True))  # the whole batch is answered
            consumer.wake()

    def _settled(self, part: Sequence[Received]) -> bool:
        """Whether the function took it. While it is down the part is kept: giving it back would spin, and would wear
        out the queue's delivery limit."""
        pause, until = FIRST_PAUSE, time.monotonic() + self.patience.total_seconds()
        while True:
            try:
                self.function.invoke(part)
                return True
            except FunctionDown as error:
                if self._stopping.is_set() or time.monotonic() > until:
                    return False
                log.warning(
                    "function_unavailable", extra={"channel": self.channel, "error": str(error), "messages": len(part)}
                )
            except Exception as error:
                # A fault of ours, too, gives the messages back. Its text could hold anything, so only the type is kept.
                said = str(error) if isinstance(error, BatchFailed) else f"unexpected {type(error).__name__}"
                log.error("batch_failed", extra={"channel": self.channel, "error": said, "messages": len(part)})
                self._stopping.wait(FIRST_PAUSE)  # one that breaks on everything is not rushed through the queue
                return False
            self._stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def _parts(batch: Sequence[Received]) -> list[Sequence[Received]]:
    fresh = [item for item in batch if item.deliveries < SEEN_OFTEN]
    worn = [[item] for item in batch if item.deliveries >= SEEN_OFTEN]
    return [fresh, *worn] if fresh else [*worn]


def _rest(part: Sequence[Received]) -> float:
    """Seconds, the longer the more often it came: else a function that breaks for some seconds would wear out the
    queue's delivery limit."""
    return min(FIRST_PAUSE * 2.0 ** (max(item.deliveries for item in part) - 1), LONGEST_PAUSE)


def to_rmq(batch: Sequence[Received]) -> dict[str, Any]:
    """The `aws:rmq` event."""
    return to_event((item.queue, item.body, _basic_properties(item), item.redelivered) for item in batch)


def _basic_properties(item: Received) -> dict[str, object]:
    return {
        "contentType": item.content_type,
        "contentEncoding": None,
        "headers": item.headers,
        "deliveryMode": 2,
        "messageId": item.message_id,
        "bodySize": len(item.body),
    }

"""From queue to function: take a batch, POST it as an `aws:rmq` event, acknowledge it on 2xx.

Like Lambda's event source, except that it waits where that one redelivers at once: while the function or its database
is down, the trigger keeps its batch and tries again, with growing pauses.
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
from tidings.runtime.invocation import PREFER_ASYNC

log = logging.getLogger(__name__)

ISOLATE_FROM = 3
"""From this delivery on a message is sent alone: if it crashes the function, no other message is affected."""

LOOK_EVERY = 1.0  # seconds between checks whether the channel is paused

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds, doubling: between two tries, and before a message is given back


class FunctionDown(Exception):
    """The function cannot be reached, or answers 503: nothing is wrong with the batch."""


class BatchFailed(Exception):
    """The function failed on this batch, or did not answer in time."""


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
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            raise BatchFailed(f"{self.url}: {type(error).__name__} {error}") from error
        finally:
            connection.close()
        if response.status in (401, 429, 503):
            raise FunctionDown(f"{self.url}: {response.status}")
        if not 200 <= response.status < 300:
            raise BatchFailed(f"{self.url}: {response.status}")


@dataclass(kw_only=True)
class Trigger:
    """One channel's trigger. `run` returns after `stop`, when the batches under way are answered.

    Beyond `concurrency`, one more batch of high priority may be at the function, so that it never waits for an ordinary
    one.
    """

    channel: str
    consume: Callable[[], Consumer]
    function: Function
    batch: int = 100
    concurrency: int = 2  # batches at the function at once: while one is settled, the next is claimed and sent
    paused: Callable[[], bool] = lambda: False
    patience: timedelta = timedelta(minutes=5)  # how long a batch is kept while the function is down
    _stopping: threading.Event = field(default_factory=threading.Event)
    _answered: "queue.SimpleQueue[tuple[Consumer, Sequence[Received], bool]]" = field(default_factory=queue.SimpleQueue)
    _to_give_back: list[tuple[float, Sequence[Received]]] = field(default_factory=list)  # with their times
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
        """Only this thread uses the consumer. Return after a stop or a pause, when all batches under way are answered.
        Raise BrokerUnavailable."""
        while not self._should_end() or self._in_flight:
            wait = timedelta(seconds=0.2 if self._to_give_back else 1)
            if batch := consumer.receive(self.batch, wait, first=self._open_queues()):
                self._in_flight += 1
                threads.submit(self._deliver, consumer, batch)
            self._acknowledge_answered(consumer)
            self._give_back_due(consumer)

    def _open_queues(self) -> int:
        """From how many queues a batch may be taken now. The first is the one of high priority."""
        if self._should_end() or self._in_flight > self.concurrency:
            return 0
        return 1 if self._in_flight == self.concurrency else 2

    def _should_end(self) -> bool:
        """A paused channel keeps no consumer: the broker takes back messages that a consumer holds for too long."""
        return self._stopping.is_set() or self.paused()

    def _acknowledge_answered(self, consumer: Consumer) -> None:
        while True:
            try:
                taken_by, part, is_settled = self._answered.get_nowait()
            except queue.Empty:
                return
            if not part:
                self._in_flight -= 1
            elif taken_by is not consumer:
                continue  # the connection was lost, so the broker has redelivered them
            elif is_settled:
                failpoints.step("trigger.before_acknowledge")
                consumer.acknowledge(part)
            else:
                self._to_give_back.append((time.monotonic() + _pause_for(part), part))

    def _give_back_due(self, consumer: Consumer) -> None:
        now = time.monotonic()
        for part in [part for until, part in self._to_give_back if until <= now]:
            consumer.give_back(part)
        self._to_give_back = [(until, part) for until, part in self._to_give_back if until > now]

    def _close(self) -> None:
        self._to_give_back = []  # closing the consumer gives back all that is not acknowledged
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    # --- in a thread of the pool --------------------------------------------------------------------------------------

    def _deliver(self, consumer: Consumer, batch: Sequence[Received]) -> None:
        try:
            for part in _isolated(batch):
                self._answered.put((consumer, part, self._invoke(part)))
                consumer.wake()
        finally:
            self._answered.put((consumer, (), True))  # the whole batch is answered
            consumer.wake()

    def _invoke(self, part: Sequence[Received]) -> bool:
        """Whether the function accepted it. While the function is down, keep the messages: given back, they would
        return at once and use up the queue's delivery limit."""
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
                # The text of an unexpected error could hold anything, so log only its type.
                said = str(error) if isinstance(error, BatchFailed) else f"unexpected {type(error).__name__}"
                log.error("batch_failed", extra={"channel": self.channel, "error": said, "messages": len(part)})
                self._stopping.wait(FIRST_PAUSE)  # a function that fails on everything must not drain the queue
                return False
            self._stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def _isolated(batch: Sequence[Received]) -> list[Sequence[Received]]:
    together = [item for item in batch if item.deliveries < ISOLATE_FROM]
    alone = [[item] for item in batch if item.deliveries >= ISOLATE_FROM]
    return [together, *alone] if together else [*alone]


def _pause_for(part: Sequence[Received]) -> float:
    """Seconds before it is given back, doubling with each delivery: else a function that fails for some seconds would
    use up the queue's delivery limit."""
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

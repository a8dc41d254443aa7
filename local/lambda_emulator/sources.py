"""The event source mapping of a queue, and a schedule: they invoke a function."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic_core import to_json
from tidings.domain.errors import BrokerUnavailable
from tidings.ports import Consumer
from tidings.runtime.trigger.trigger import to_rmq

from local.lambda_emulator.environment import InvocationResult

log = logging.getLogger("tidings.aws")

BATCH = 100  # messages, Lambda's default for RabbitMQ
PAUSE = 1.0  # seconds after a failure


@dataclass(kw_only=True)
class EventSourceMapping:
    """Invokes the function with batches of one queue, one at a time. A batch is acknowledged or requeued as a whole."""

    channel: str
    consume: Callable[[], Consumer]
    invoke: Callable[[bytes], InvocationResult]
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Run until `stop`; the invocation under way is completed."""
        with ThreadPoolExecutor(1, thread_name_prefix=f"mapping-{self.channel}") as thread:
            while not self._stopping.is_set():
                try:
                    consumer = self.consume()
                    try:
                        self._serve(consumer, thread)
                    finally:
                        consumer.close()
                except BrokerUnavailable as error:
                    log.warning("broker_unavailable", extra={"channel": self.channel, "error": str(error)})
                    self._stopping.wait(PAUSE)

    def _serve(self, consumer: Consumer, thread: ThreadPoolExecutor) -> None:
        while not self._stopping.is_set():
            batch = consumer.receive(BATCH, timedelta(seconds=0.2))
            if not batch:
                continue
            invocation = thread.submit(self.invoke, to_json(to_rmq(batch)))
            invocation.add_done_callback(lambda _: consumer.wake())
            while not invocation.done():  # keeps the connection alive
                consumer.receive(0, timedelta(seconds=1), first=0)
            if (result := invocation.result()).failed:
                error = result.error.get("errorType", "")
                log.error("batch_failed", extra={"channel": self.channel, "error": error, "messages": len(batch)})
                consumer.give_back(batch)
                self._stopping.wait(PAUSE)
            else:
                consumer.acknowledge(batch)

    def stop(self) -> None:
        """Safe in any thread and in a signal handler."""
        self._stopping.set()


@dataclass(kw_only=True)
class Schedule:
    """Invokes the function periodically."""

    every: timedelta
    invoke: Callable[[bytes], InvocationResult]
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        event = to_json({"version": "0", "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": {}})
        while not self._stopping.wait(self.every.total_seconds()):
            self.invoke(event)

    def stop(self) -> None:
        self._stopping.set()

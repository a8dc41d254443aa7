"""Publish beside the answers: 202 promises the committed row, so no caller waits for the broker's confirm."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Condition

from tidings import failpoints
from tidings.notification import Notification
from tidings.web import where

log = logging.getLogger(__name__)

WAVE = 500  # notifications that are published and confirmed together, at most
BACKLOG = 10 * WAVE  # notifications; while so many wait, callers wait as well
LARGE = 4096  # characters of content: more is not held while its notification waits, no message has it

FLUSH_WITHIN = timedelta(seconds=20)
"""How long a stop waits for the broker. A stopping server has 30 s, a caller behind a gateway as well."""


class BackgroundPublisher:
    """Publishes with one thread, in waves: what is handed over while a wave is under way is the next one. No delay.

    The thread is started at the first use, so this may be made before a fork. A process that dies loses what waits
    here, and the sweep publishes it: the rows say since when.
    """

    def __init__(
        self,
        publish: Callable[[Sequence[Notification]], object],
        *,
        wave: int = WAVE,
        backlog: int = BACKLOG,
        flush_within: timedelta = FLUSH_WITHIN,
    ) -> None:
        """`publish`: as `Publisher.publish`. It takes its time, and returns also where the broker is down."""
        self._publish = publish
        self._wave = wave
        self._backlog = backlog
        self._flush_within = flush_within
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="tidings-background-publisher")
        self._changed = Condition()
        self._waiting: deque[Notification] = deque()
        self._is_running = False

    def publish(self, notifications: Sequence[Notification]) -> None:
        """Return at once; while the backlog is full, when there is room. Intake is then as slow as the broker."""
        if not notifications:
            return
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._backlog)
            if not self._is_running:
                self._threads.submit(self._run)
                self._is_running = True
            self._waiting.extend(map(_without_large_content, notifications))

    def flush(self) -> None:
        """Return when all is published, or its deadline is over: the process is about to be frozen or to end."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_running, self._flush_within.total_seconds()):
                said = f"not published within {self._flush_within.total_seconds():g} s"
                log.error("left_to_the_sweep", extra={"error": said, "notifications": len(self._waiting)})

    def close(self) -> None:
        self.flush()
        self._threads.shutdown(wait=False)

    def _run(self) -> None:
        """Wave after wave, until nothing waits."""
        while wave := self._next():
            failpoints.step("intake.before_publish")
            try:
                self._publish(wave)
            except Exception as error:  # the sweep finds these; those that come after them are published
                log.error("fault", extra={"error": type(error).__name__, "where": where(error)})

    def _next(self) -> Sequence[Notification]:
        with self._changed:
            wave = [self._waiting.popleft() for _ in range(min(self._wave, len(self._waiting)))]
            self._is_running = bool(wave)
            self._changed.notify_all()
            return wave


def _without_large_content(notification: Notification) -> Notification:
    return notification if len(notification.content) <= LARGE else replace(notification, content="")

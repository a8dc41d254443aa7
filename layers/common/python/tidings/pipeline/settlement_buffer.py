"""Collects settlements from all threads and records them in small groups, soon after each call has ended."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from tidings.domain.errors import BrokerUnavailable, StoreUnavailable
from tidings.domain.timing import RECORD_WITHIN
from tidings.pipeline.deadlines import Deadlines
from tidings.ports import Settlement

LARGEST_GROUP = 500
"""Settlements per transaction."""


class BatchProgress:
    """How far the calls of one delivery are. Thread-safe."""

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self.running = 0  # calls that have not ended; changed by the buffer alone
        self._not_started = self._not_settled = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def add_calls(self, calls: int) -> None:
        with self._changed:
            self._not_started += calls
            self._not_settled += calls

    def call_started(self) -> None:
        with self._changed:
            self._not_started -= 1
            if self._not_started == 0:
                self._changed.notify_all()

    def call_settled(self, error: BaseException | None = None) -> None:
        """`error`: why it could not be recorded."""
        with self._changed:
            self._not_settled -= 1
            self._error = self._error or error
            if self._not_settled == 0:
                self._changed.notify_all()

    def wait_until_started(self, within: timedelta) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._not_started == 0, within.total_seconds())

    def wait_until_settled(self, within: timedelta | None = None) -> bool:
        """False: not `within` this time; None: however long it takes. Raise the first error that a call ended with."""
        with self._changed:
            seconds = within.total_seconds() if within is not None else None
            done = self._changed.wait_for(lambda: self._not_settled == 0, seconds)
            if self._error is not None:
                raise self._error
            return done


class SettlementBuffer:
    """Records in a thread of its own, which starts with the first settlement. Thread-safe.

    A group is whatever has ended, of any delivery. It is recorded when all calls of one delivery have ended, so that
    this delivery can return at once, and after RECORD_WITHIN at the latest.
    """

    def __init__(self, record: Callable[[Sequence[Settlement], Deadlines], None]) -> None:
        """`record` writes a group; the deadlines are those of the delivery with the least time left."""
        self._record = record
        self._waiting: list[tuple[Settlement, BatchProgress]] = []
        self._since = 0.0  # when the first of them was added, on the monotonic clock
        self._is_due = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def more_to_come(self, progress: BatchProgress) -> Iterator[None]:
        """The block will start calls of this delivery: those that end meanwhile are not yet all of it."""
        with self._lock:
            progress.running += 1
        try:
            yield
        finally:
            with self._lock:
                self._one_ended(progress)

    def expect(self, progress: BatchProgress, calls: int) -> None:
        """So many calls of this delivery are about to start."""
        progress.add_calls(calls)
        with self._lock:
            progress.running += calls

    def add(self, settlement: Settlement, progress: BatchProgress) -> None:
        """An expected call has ended: record this."""
        with self._lock:
            self._waiting.append((settlement, progress))
            if len(self._waiting) == 1:
                self._since = time.monotonic()
                self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tidings-settlements", daemon=True)
                self._thread.start()
            self._one_ended(progress)

    def fail(self, progress: BatchProgress, error: BaseException) -> None:
        """An expected call has ended without a settlement."""
        with self._lock:
            self._one_ended(progress)
        progress.call_settled(error)

    def _one_ended(self, progress: BatchProgress) -> None:
        """The caller holds the lock."""
        progress.running -= 1
        if self._waiting and (progress.running == 0 or len(self._waiting) >= LARGEST_GROUP):
            self._is_due = True
            self._changed.notify()

    def close(self) -> None:
        """Record what waits. Call it once all calls have ended."""
        with self._lock:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while group := self._next():
            self._record_all(group)

    def _next(self) -> Sequence[tuple[Settlement, BatchProgress]]:
        """The next group, once it is due; empty: closed, and nothing waits."""
        with self._lock:
            while not self._waiting:
                if self._closed:
                    return ()
                self._changed.wait()
            deadline = self._since + RECORD_WITHIN.total_seconds()
            while not (self._is_due or self._closed) and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            group, self._waiting, self._is_due = self._waiting, [], False
            return group

    def _record_all(self, group: Sequence[tuple[Settlement, BatchProgress]]) -> None:
        """A settlement that breaks its transaction fails alone: the group is halved until it is found."""
        shortest = min((progress.deadlines for _, progress in group), key=lambda deadlines: deadlines.settle_by)
        error: BaseException | None = None
        try:
            self._record([settlement for settlement, _ in group], shortest)
        except BaseException as raised:
            is_expected = isinstance(raised, StoreUnavailable | BrokerUnavailable) or not isinstance(raised, Exception)
            if not is_expected and len(group) > 1:
                middle = len(group) // 2
                self._record_all(group[:middle])
                self._record_all(group[middle:])
                return
            error = raised
        for _, progress in group:
            progress.call_settled(error)

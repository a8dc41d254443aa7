"""Writes outcomes down soon after they are known, in small groups: nobody waits for the slowest call of a batch."""

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
"""Settlements a transaction."""


class Work:
    """The calls of one delivery: how many wait for their thread, have not ended, and are not written down."""

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self.under_way = 0  # the recorder's to change
        self._waiting = self._unrecorded = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def expect(self, calls: int) -> None:
        with self._changed:
            self._waiting += calls
            self._unrecorded += calls

    def begin(self) -> None:
        """A call has its thread."""
        with self._changed:
            self._waiting -= 1
            if self._waiting == 0:
                self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """A call is written down, or could not be."""
        with self._changed:
            self._unrecorded -= 1
            self._error = self._error or error
            if self._unrecorded == 0:
                self._changed.notify_all()

    def wait_until_begun(self, within: timedelta) -> None:
        """Return when each call has its thread, or this time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting == 0, within.total_seconds())

    def wait(self, within: timedelta | None = None) -> bool:
        """Return when all is written down; False if it was not `within` this time. Raise what kept one from it."""
        with self._changed:
            seconds = within.total_seconds() if within is not None else None
            done = self._changed.wait_for(lambda: self._unrecorded == 0, seconds)
            if self._error is not None:
                raise self._error
            return done


class Recorder:
    """Records settlements from any thread in one of its own, which starts with the first.

    A group is whatever has ended, of any delivery. It is recorded when all calls of a delivery have ended, so that this
    is answered at once, and at the latest after RECORD_WITHIN.
    """

    def __init__(self, record: Callable[[Sequence[Settlement], Deadlines], None]) -> None:
        """`record` writes a group down; the deadlines are those of the delivery that has the least time."""
        self._record = record
        self._waiting: list[tuple[Settlement, Work]] = []
        self._since = 0.0  # when the first of them came, on the monotonic clock
        self._is_due = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def more_to_come(self, work: Work) -> Iterator[None]:
        """In the block, this delivery is about to begin calls: those of it that end meanwhile wait for them."""
        with self._lock:
            work.under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._end(work)

    def expect(self, work: Work, calls: int) -> None:
        """So many calls of this delivery are about to begin."""
        work.expect(calls)
        with self._lock:
            work.under_way += calls

    def add(self, settlement: Settlement, work: Work) -> None:
        """An expected call has ended so."""
        with self._lock:
            self._waiting.append((settlement, work))
            if len(self._waiting) == 1:
                self._since = time.monotonic()
                self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tidings-recorder", daemon=True)
                self._thread.start()
            self._end(work)

    def fail(self, work: Work, error: BaseException) -> None:
        """An expected call has ended in a way that cannot be recorded."""
        with self._lock:
            self._end(work)
        work.end(error)

    def _end(self, work: Work) -> None:
        """Held by the lock."""
        work.under_way -= 1
        if self._waiting and (work.under_way == 0 or len(self._waiting) >= LARGEST_GROUP):
            self._is_due = True
            self._changed.notify()

    def close(self) -> None:
        """Once all calls have ended: record what waits."""
        with self._lock:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while group := self._next():
            self._record_all(group)

    def _next(self) -> Sequence[tuple[Settlement, Work]]:
        """The next group, once it is due; empty: it is closed, and nothing waits."""
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

    def _record_all(self, group: Sequence[tuple[Settlement, Work]]) -> None:
        """One that breaks its transaction fails alone: the group is halved until it is found."""
        shortest = min((work.deadlines for _, work in group), key=lambda deadlines: deadlines.settled)
        error: BaseException | None = None
        try:
            self._record([settlement for settlement, _ in group], shortest)
        except BaseException as raised:
            foreseen = isinstance(raised, StoreUnavailable | BrokerUnavailable) or not isinstance(raised, Exception)
            if not foreseen and len(group) > 1:
                middle = len(group) // 2
                self._record_all(group[:middle])
                self._record_all(group[middle:])
                return
            error = raised
        for _, work in group:
            work.end(error)

"""Writes outcomes down soon after they are known, in small groups: nobody waits for the slowest call of a batch."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from tidings.deadlines import Deadlines
from tidings.errors import BrokerUnavailable, StoreUnavailable
from tidings.ports import Settlement

RECORD_WITHIN = timedelta(milliseconds=100)
"""How long an outcome may wait for others. A transaction of a hundred costs little more than one of ten."""

LARGEST_GROUP = 500
"""Settlements a transaction."""


class Work:
    """The calls of one delivery, and how many of them are not written down yet."""

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self._open = 0
        self._error: BaseException | None = None
        self._ended = threading.Condition()

    def begin(self, calls: int) -> None:
        with self._ended:
            self._open += calls

    def end(self, error: BaseException | None = None) -> None:
        """One is written down, or could not be."""
        with self._ended:
            self._open -= 1
            self._error = self._error or error
            if self._open == 0:
                self._ended.notify_all()

    def wait(self, within: timedelta | None = None) -> bool:
        """Return when all is written down; False if it was not `within` this time. Raise what kept one from it."""
        with self._ended:
            seconds = within.total_seconds() if within is not None else None
            done = self._ended.wait_for(lambda: self._open == 0, seconds)
            if self._error is not None:
                raise self._error
            return done


class Recorder:
    """Records settlements from any thread in one of its own, which starts with the first."""

    def __init__(self, record: Callable[[Sequence[Settlement], Deadlines], None]) -> None:
        """`record` writes a group down; the deadlines are those of the delivery that has the least time."""
        self._record = record
        self._expected = 0  # calls under way, and deliveries that will begin more
        self._waiting: list[tuple[Settlement, Work]] = []
        self._since = 0.0  # when the first of them came, on the monotonic clock
        self._lock = threading.Lock()
        self._added = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def more_to_come(self) -> Iterator[None]:
        """In the block, a delivery is about to begin calls: those that end meanwhile wait for them."""
        self._change_expected(1)
        try:
            yield
        finally:
            self._change_expected(-1)

    def expect(self, work: Work, calls: int) -> None:
        """So many calls of this delivery are about to begin."""
        work.begin(calls)
        self._change_expected(calls)

    def add(self, settlement: Settlement, work: Work) -> None:
        """An expected call has ended so."""
        with self._lock:
            self._expected -= 1
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting.append((settlement, work))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tidings-recorder", daemon=True)
                self._thread.start()
            if len(self._waiting) == 1 or self._is_due:
                self._added.notify()

    def fail(self, work: Work, error: BaseException) -> None:
        """An expected call has ended in a way that cannot be recorded."""
        self._change_expected(-1)
        work.end(error)

    def _change_expected(self, by: int) -> None:
        with self._lock:
            self._expected += by
            if self._waiting and self._is_due:
                self._added.notify()

    @property
    def _is_due(self) -> bool:
        """Nothing that is under way could join the group, or it is full."""
        return self._expected == 0 or len(self._waiting) >= LARGEST_GROUP

    def close(self) -> None:
        """Once all calls have ended: record what waits."""
        with self._lock:
            self._closed = True
            self._added.notify()
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
                self._added.wait()
            deadline = self._since + RECORD_WITHIN.total_seconds()
            while not (self._is_due or self._closed) and (left := deadline - time.monotonic()) > 0:
                self._added.wait(left)
            group, self._waiting = self._waiting, []
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

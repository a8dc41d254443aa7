"""The threads in which providers are called: what is urgent passes what waits."""

import heapq
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from itertools import count
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")


class Senders:
    """So many threads, started with the first call. Urgent work goes first, and finds a few threads that do nothing
    else: a provider that has become slow for the ordinary does not hold it up."""

    def __init__(self, size: int, *, reserved: int = 0) -> None:
        """`reserved`: threads beyond `size` that take urgent work only."""
        self._size, self._reserved = size, reserved
        self._waiting: list[tuple[bool, int, Callable[[], None]]] = []  # a heap: urgent first, then in order
        self._order = count()
        self._lock = threading.Lock()
        self._ordinary, self._urgent = threading.Condition(self._lock), threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._closed = False

    def each(self, work: Callable[[A], T], items: Sequence[A], *, urgent: Callable[[A], bool]) -> list[T]:
        """What `work` makes of each item, in order, once all of them have ended. Raise what the first of them raised
        that did, or RuntimeError after `close`."""
        ends: list[Future[T]] = [Future() for _ in items]
        with self._lock:
            if self._closed:
                raise RuntimeError("closed")
            if not self._threads:
                self._start()
            for item, end in zip(items, ends, strict=True):
                run: Callable[[], None] = partial(_run, partial(work, item), end)
                heapq.heappush(self._waiting, (not urgent(item), next(self._order), run))
            self._ordinary.notify(len(items))
            self._urgent.notify(len(items))
        wait(ends)
        return [end.result() for end in ends]

    def _start(self) -> None:
        for number in range(self._size + self._reserved):
            work = self._work if number < self._size else self._work_on_the_urgent
            thread = threading.Thread(target=work, name=f"tidings-send-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (run := self._next(self._ordinary, lambda: bool(self._waiting))) is not None:
            run()

    def _work_on_the_urgent(self) -> None:
        while (run := self._next(self._urgent, lambda: bool(self._waiting) and not self._waiting[0][0])) is not None:
            run()

    def _next(self, changed: threading.Condition, has_work: Callable[[], bool]) -> Callable[[], None] | None:
        """None: it is closed, and nothing is left."""
        with changed:
            changed.wait_for(lambda: self._closed or has_work())
            return heapq.heappop(self._waiting)[-1] if has_work() else None

    def close(self) -> None:
        """Let what waits and what is under way come to its end."""
        with self._lock:
            self._closed = True
            self._ordinary.notify_all()
            self._urgent.notify_all()
        for thread in self._threads:
            thread.join()


def _run(work: Callable[[], T], end: Future[T]) -> None:
    try:
        end.set_result(work())
    except BaseException as error:
        end.set_exception(error)

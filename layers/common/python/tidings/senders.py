"""The threads in which providers are called: what is urgent passes what waits, and no more run than is of use."""

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from itertools import count
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")

ABREAST = 2
YOUNG = 0.001  # seconds
"""Only so many calls at once are younger than this. Threads that are all awake fight over Python's one lock: 16 of them
cost twice the CPU of these, and hand over fewer mails, where a server answers within a millisecond. Where it takes
longer, a call soon is young no more, and the next thread begins."""


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
        self._begun: dict[int, float] = {}  # when, on the monotonic clock; by thread
        self._has_scout = False
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
            self._ordinary.notify(ABREAST)
            self._urgent.notify(len(items))
        wait(ends)
        return [end.result() for end in ends]

    def _start(self) -> None:
        for number in range(self._size + self._reserved):
            take = self._take if number < self._size else self._take_urgent
            thread = threading.Thread(
                target=self._work, args=(number, take), name=f"tidings-send-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _work(self, number: int, take: Callable[[], Callable[[], None] | None]) -> None:
        while True:
            with self._lock:
                self._begun.pop(number, None)
                if (run := take()) is None:
                    return
                self._begun[number] = time.monotonic()
            run()

    def _take(self) -> Callable[[], None] | None:
        """None: it is closed, and nothing is left. Held by the lock, as all below."""
        while not (self._waiting and self._may_begin()):
            if self._waiting and not self._has_scout:  # one looks again when those that were begun have grown older
                self._has_scout = True
                self._ordinary.wait(YOUNG)
                self._has_scout = False
            elif self._closed and not self._waiting:
                return None
            else:
                self._ordinary.wait()
        if len(self._waiting) > 1 and not self._has_scout:
            self._ordinary.notify()
        return heapq.heappop(self._waiting)[-1]

    def _may_begin(self) -> bool:
        since = time.monotonic() - YOUNG
        return self._is_next_urgent() or sum(begun > since for begun in self._begun.values()) < ABREAST

    def _take_urgent(self) -> Callable[[], None] | None:
        while not self._is_next_urgent():
            if self._closed:
                return None
            self._urgent.wait()
        return heapq.heappop(self._waiting)[-1]

    def _is_next_urgent(self) -> bool:
        return bool(self._waiting) and not self._waiting[0][0]

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

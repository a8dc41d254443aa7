"""The threads in which providers are called, and how many notifications may be claimed for them.

Urgent calls pass ordinary ones that wait, and no more threads run than is of use.
"""

import heapq
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import count
from typing import NamedTuple

MAX_STARTING = 2
STARTUP_WINDOW = 0.001  # seconds
"""Only MAX_STARTING calls at once are younger than this. Threads that are all awake fight over Python's one lock: 16 of
them cost twice the CPU of these, and hand over fewer mails, where a server answers within a millisecond. Where it takes
longer, a call soon leaves the window, and the next thread begins."""

GATHER_WITHIN = 0.010  # seconds
"""How long `reserve` waits for more places once there is one. A claim of many costs hardly more than a claim of one."""


class _Waiting(NamedTuple):
    """A call that waits for its thread, in the order of a heap: urgent first, then as they came."""

    is_ordinary: bool
    number: int
    call: Callable[[], None]


class SendPool:
    """Up to `size` calls at once, and `reserved` more that only urgent calls take: a provider that has become slow for
    ordinary ones does not hold them up. The threads start with the first call.

    A place is taken by `reserve`, before the notification is claimed, and freed when its call ends. So no more is
    claimed than can be sent now, however many batches wait.
    """

    def __init__(self, size: int, *, reserved: int = 0) -> None:
        self._size, self._reserved = size, reserved
        self._enough = max(1, size * 3 // 4)  # free places at which it is worth to claim
        self._taken = self._taken_by_ordinary = 0  # places
        self._reserving = 0  # callers that wait in `reserve`
        self._waiting: list[_Waiting] = []
        self._numbers = count()
        self._lock = threading.Lock()
        self._ordinary, self._urgent = threading.Condition(self._lock), threading.Condition(self._lock)
        self._freed = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._begun: dict[int, float] = {}  # when, on the monotonic clock; by thread
        self._has_scout = False
        self._closed = False

    # --- for those who claim ------------------------------------------------------------------------------------------

    def reserve(self, most: int, *, urgent: bool, within: timedelta) -> int:
        """Take up to `most` places. Wait until there are enough for a claim to be worth its cost; 0: none was free
        `within` this time. Raise RuntimeError after `close`."""
        now = time.monotonic()
        deadline, found_at = now + within.total_seconds(), None
        with self._lock:
            while not self._closed:
                free = self._free(urgent)
                if free > 0 and found_at is None:
                    found_at = now
                gathered_at = deadline if found_at is None else min(deadline, found_at + GATHER_WITHIN)
                if free >= min(most, self._enough) or now >= gathered_at:
                    places = max(0, min(free, most))
                    self._take_places(places, urgent)
                    return places
                self._reserving += 1
                self._freed.wait(gathered_at - now)
                self._reserving -= 1
                now = time.monotonic()
        raise RuntimeError("closed")

    def release(self, places: int, *, urgent: bool) -> None:
        """Give back places that no call will use."""
        if places:
            with self._lock:
                self._take_places(-places, urgent)
                self._freed.notify_all()

    def submit(self, calls: Iterable[Callable[[], None]], *, urgent: bool) -> None:
        """Run these soon. Each must have a place, reserved with the same `urgent`, and raise nothing."""
        with self._lock:
            if not self._threads:
                self._start()
            before = len(self._waiting)
            for call in calls:
                heapq.heappush(self._waiting, _Waiting(not urgent, next(self._numbers), call))
            added = len(self._waiting) - before
            self._ordinary.notify(min(added, MAX_STARTING))
            if urgent:
                self._urgent.notify(added)

    def _free(self, urgent: bool) -> int:
        """Held by the lock, as everything below that says nothing else."""
        free = self._size + self._reserved - self._taken
        return free if urgent else min(free, self._size - self._taken_by_ordinary)

    def _take_places(self, places: int, urgent: bool) -> None:
        self._taken += places
        self._taken_by_ordinary += 0 if urgent else places

    def _free_place(self, urgent: bool) -> None:
        """Those who wait for places are woken at the first one and when there are enough, not a thousand times."""
        self._take_places(-1, urgent)
        if self._reserving and (self._free(urgent=False) in (1, self._enough) or self._free(urgent=True) == 1):
            self._freed.notify_all()

    # --- the threads --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        for number in range(self._size + self._reserved):
            take = self._take if number < self._size else self._take_urgent
            thread = threading.Thread(
                target=self._work, args=(number, take), name=f"tidings-send-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _work(self, number: int, take: Callable[[], _Waiting | None]) -> None:
        taken: _Waiting | None = None
        while True:
            with self._lock:
                if taken is not None:
                    del self._begun[number]
                    self._free_place(urgent=not taken.is_ordinary)
                if (taken := take()) is None:
                    return
                self._begun[number] = time.monotonic()
            taken.call()

    def _take(self) -> _Waiting | None:
        """None: it is closed, and nothing is left."""
        while not (self._waiting and self._may_begin()):
            if self._waiting and not self._has_scout:  # one looks again when those that were begun have grown older
                self._has_scout = True
                self._ordinary.wait(STARTUP_WINDOW)
                self._has_scout = False
            elif self._closed and not self._waiting:
                return None
            else:
                self._ordinary.wait()
        if len(self._waiting) > 1 and not self._has_scout:
            self._ordinary.notify()
        return heapq.heappop(self._waiting)

    def _may_begin(self) -> bool:
        since = time.monotonic() - STARTUP_WINDOW
        return self._is_next_urgent() or sum(begun > since for begun in self._begun.values()) < MAX_STARTING

    def _take_urgent(self) -> _Waiting | None:
        while not self._is_next_urgent():
            if self._closed:
                return None
            self._urgent.wait()
        return heapq.heappop(self._waiting)

    def _is_next_urgent(self) -> bool:
        return bool(self._waiting) and not self._waiting[0].is_ordinary

    def close(self) -> None:
        """Let what waits and what is under way come to its end."""
        with self._lock:
            self._closed = True
            for condition in (self._ordinary, self._urgent, self._freed):
                condition.notify_all()
        for thread in self._threads:
            thread.join()

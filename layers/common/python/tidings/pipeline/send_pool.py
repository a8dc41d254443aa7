"""The threads that call providers, and how many notifications may be claimed for them.

Urgent calls overtake ordinary ones, and no more threads run than are useful.
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
"""At most MAX_STARTING calls are younger than this. Threads that are all awake compete for Python's one lock: with a
server that answers within a millisecond, 16 of them cost twice the CPU and send fewer mails. With a slower server, a
call soon leaves the window and the next thread starts."""

CLAIM_AHEAD = 0.050  # seconds
"""Notifications that will start within this time may be claimed already: as many as calls ended in the last such
period, so none if calls hang. Without it, a pool of 16 claims ten at a time and takes 1.6 times the CPU."""

FEW_LEFT = 8
WAIT_FOR_PLACES = 0.010  # seconds
"""A claim of many rows costs hardly more than a claim of one. So `reserve` waits for more places while more than
FEW_LEFT calls have not started, and then for WAIT_FOR_PLACES at most."""


class _Waiting(NamedTuple):
    """A call that waits for its thread. The heap's order: urgent first, then first come."""

    is_ordinary: bool
    number: int
    call: Callable[[], None]


class SendPool:
    """Up to `size` concurrent calls, and `reserved` more for urgent calls alone, so that slow ordinary calls do not
    delay them. The threads start with the first call.

    A place is taken by `reserve`, before the notification is claimed, and freed when its call ends. There are as many
    places as threads, and those of CLAIM_AHEAD. So no more is claimed than can be sent soon, however many batches wait.
    """

    def __init__(self, size: int, *, reserved: int = 0) -> None:
        self._size, self._reserved = size, reserved
        self._taken = self._taken_by_ordinary = 0  # places
        self._reserving = 0  # callers that wait in `reserve`
        self._waiting: list[_Waiting] = []
        self._numbers = count()
        self._lock = threading.Lock()
        self._ordinary, self._urgent = threading.Condition(self._lock), threading.Condition(self._lock)
        self._freed = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._begun: dict[int, float] = {}  # when, on the monotonic clock; by thread
        self._is_looking_again = False
        self._closed = False
        self._ended = self._ended_before = 0  # calls: in the present period of CLAIM_AHEAD, and in the one before
        self._period_at = 0.0  # when the present one began, on the monotonic clock

    # --- places -------------------------------------------------------------------------------------------------------

    def reserve(self, most: int, *, urgent: bool, within: timedelta) -> int:
        """Take up to `most` places. Wait until there are enough to be worth a claim. 0: none was free `within` this
        time. Raise RuntimeError after `close`."""
        now = time.monotonic()
        deadline, needed_at = now + within.total_seconds(), None  # since when a thread may be idle
        with self._lock:
            while not self._closed:
                free = self._free(urgent, now)
                # An urgent call does not wait for ordinary ones that were claimed ahead while the provider hangs.
                if needed_at is None and free > 0 and (urgent or len(self._waiting) <= FEW_LEFT):
                    needed_at = now
                claim_at = deadline if needed_at is None else min(deadline, needed_at + WAIT_FOR_PLACES)
                if free >= min(most, self._enough(now)) or now >= claim_at:
                    places = max(0, min(free, most))
                    self._take_places(places, urgent)
                    return places
                self._reserving += 1
                self._freed.wait(min(claim_at - now, WAIT_FOR_PLACES))
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
        """Run these soon. Each needs a place, reserved with the same `urgent`, and must raise nothing."""
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

    def _free(self, urgent: bool, now: float) -> int:
        """The caller holds the lock, here and in every private method below."""
        free = self._size + self._reserved + self._ahead(now) - self._taken
        return free if urgent else min(free, self._size + self._ahead(now) - self._taken_by_ordinary)

    def _enough(self, now: float) -> int:
        """Free places that are worth a claim."""
        return max(1, (self._size + self._ahead(now)) * 5 // 6)

    def _ahead(self, now: float) -> int:
        return self._ended_before if now - self._period_at < 2 * CLAIM_AHEAD else 0

    def _take_places(self, places: int, urgent: bool) -> None:
        self._taken += places
        self._taken_by_ordinary += 0 if urgent else places

    def _free_place(self, urgent: bool, now: float) -> None:
        """Callers that wait for places are woken once, at the first free place."""
        self._take_places(-1, urgent)
        if now - self._period_at >= CLAIM_AHEAD:
            self._ended_before = self._ended if now - self._period_at < 2 * CLAIM_AHEAD else 0
            self._ended, self._period_at = 0, now
        self._ended += 1
        if self._reserving and 1 in (self._free(False, now), self._free(True, now)):
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
                    self._free_place(not taken.is_ordinary, time.monotonic())
                if (taken := take()) is None:
                    return
                self._begun[number] = time.monotonic()
            taken.call()

    def _take(self) -> _Waiting | None:
        """None: closed, and nothing is left."""
        while not (self._waiting and self._may_begin()):
            if self._waiting and not self._is_looking_again:  # one thread looks again when the started calls are older
                self._is_looking_again = True
                self._ordinary.wait(STARTUP_WINDOW)
                self._is_looking_again = False
            elif self._closed and not self._waiting:
                return None
            else:
                self._ordinary.wait()
        if len(self._waiting) > 1 and not self._is_looking_again:
            self._ordinary.notify()
        if len(self._waiting) == FEW_LEFT + 1 and self._reserving:
            self._freed.notify_all()
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
        """Run what waits, and wait until every call has ended."""
        with self._lock:
            self._closed = True
            for condition in (self._ordinary, self._urgent, self._freed):
                condition.notify_all()
        for thread in self._threads:
            thread.join()

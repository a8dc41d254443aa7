"""Coalesce concurrent calls into batches: what arrives while a flush runs is the next batch. No fixed delay.

Most of a small batch's cost is per batch. So one flush runs at a time. Callers that a flush has answered are likely to
call again at once: the next batch waits some milliseconds for them, so that they come in one batch and not in two. A
full batch gains nothing by waiting: then two flushes run at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

PAUSE, LONGEST = 0.002, 0.010
"""Seconds to wait for more callers: PAUSE after the last caller, but at most LONGEST after the last answers."""


class Full(Exception):
    """Too much is waiting: try again later."""


@dataclass(frozen=True, slots=True)
class _Part(Generic[T, R]):
    """The items of one caller."""

    items: Sequence[T]
    weight: int
    answer: asyncio.Future[Sequence[R]]


class Coalescer(Generic[T, R]):
    """Calls `flush` with batches, in threads, and gives each caller its own part of the answer.

    For one event loop. `limit` (of a batch) and `waiting` (of all that may wait) are weights. `weigh` gives an item's
    weight, so that a few large items do not fill the memory; default: 1.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[T]], Sequence[R]],
        executor: Executor,
        *,
        limit: int = 500,
        waiting: int = 20_000,
        weigh: Callable[[T], int] = lambda _: 1,
    ) -> None:
        self._flush = flush
        self._executor = executor
        self._limit = limit
        self._under_way: list[int] = []  # the weights of the flushes that run
        self._waiting = waiting
        self._weigh = weigh
        self._queue: deque[_Part[T, R]] = deque()
        self._queued = 0
        self._came_at = self._answered_at = 0.0  # the last caller, and the last answers, on the loop's clock
        self._expected = 0  # callers that waited at the last answers, and those that were answered
        self._timer_of: asyncio.AbstractEventLoop | None = None

    async def submit(self, items: Sequence[T]) -> Sequence[R]:
        """The answers to these items, which stay in one batch. Raise Full, or what `flush` raises."""
        weight = sum(map(self._weigh, items))
        if self._queued + weight > self._waiting:
            raise Full
        loop = asyncio.get_running_loop()
        part = _Part(items, weight, loop.create_future())
        self._queue.append(part)
        self._queued += weight
        self._came_at = loop.time()
        self._begin()
        return await part.answer

    def _begin(self) -> None:
        """Start a flush, if one may run: now, or after the answered callers had time to call again."""
        if not (self._queue and self._may_flush()):
            return
        loop = asyncio.get_running_loop()
        due = min(max(self._came_at, self._answered_at) + PAUSE, self._answered_at + LONGEST)
        if len(self._queue) >= self._expected or self._queued >= self._limit or loop.time() >= due:
            self._start()
        elif self._timer_of is not loop:
            self._timer_of = loop
            loop.call_at(due, self._begin_again)

    def _begin_again(self) -> None:
        self._timer_of = None
        self._begin()

    def _start(self) -> None:
        while self._queue and self._may_flush():
            batch = self._next()
            self._under_way.append(weight := sum(part.weight for part in batch))
            task = asyncio.get_running_loop().run_in_executor(
                self._executor, self._flush, [item for part in batch for item in part.items]
            )
            task.add_done_callback(lambda done, batch=batch, weight=weight: self._finish(batch, weight, done))  # type: ignore[misc]

    def _may_flush(self) -> bool:
        if not self._under_way:
            return True
        return len(self._under_way) == 1 and max(self._queued, *self._under_way) >= self._limit

    def _next(self) -> "list[_Part[T, R]]":
        batch = [self._queue.popleft()]
        weight = batch[0].weight
        while self._queue and weight + self._queue[0].weight <= self._limit:
            batch.append(self._queue.popleft())
            weight += batch[-1].weight
        self._queued -= weight
        return batch

    def _finish(self, batch: "Sequence[_Part[T, R]]", weight: int, done: asyncio.Future[Sequence[R]]) -> None:
        self._under_way.remove(weight)
        error = done.exception()
        start = 0
        for part in batch:
            if part.answer.cancelled():  # the caller disconnected; its rows stay committed
                pass
            elif error is not None:
                part.answer.set_exception(error)
            else:
                part.answer.set_result(done.result()[start : start + len(part.items)])
            start += len(part.items)
        self._expected, self._answered_at = len(self._queue) + len(batch), asyncio.get_running_loop().time()
        self._begin()

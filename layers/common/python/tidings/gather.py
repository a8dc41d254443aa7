"""Gather what waits together into one batch. No fixed delay: a batch begins when nothing more comes in.

What a small batch costs is for the most part the batch's, not that of what is in it. So one flush runs at a time, what
arrives meanwhile is the next, and callers who come together (as they do, once a flush has answered all of them) are not
split into a batch of one and another of the rest. Where one is full nobody gains by waiting: then two run at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

QUIET = 2
"""Turns of the event loop that bring nothing, after which a batch begins: what one turn reads is handed in in the next.
An idle process goes through them in some 50 us."""
LONGEST = 0.010  # seconds for which a batch waits for its end while every turn brings more


class Full(Exception):
    """More is waiting than may wait: try again later."""


@dataclass(frozen=True, slots=True)
class _Part(Generic[T, R]):
    """One caller's."""

    items: Sequence[T]
    weight: int
    answer: asyncio.Future[Sequence[R]]


class Gather(Generic[T, R]):
    """Calls `flush` with batches, in threads, and gives each caller its own part of the answer.

    For one event loop. `limit` of a batch and of what may be `waiting`: in weights, where `weigh` says what an item
    weighs (1, if it is not given), so that a few large ones fill no memory.
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
        self._handed_in = 0  # calls, ever
        self._looking: asyncio.AbstractEventLoop | None = None  # in which the end of a batch is looked for

    async def submit(self, items: Sequence[T]) -> Sequence[R]:
        """The answers to these items, which stay in one batch. Raise Full, or what `flush` raises."""
        weight = sum(map(self._weigh, items))
        if self._queued + weight > self._waiting:
            raise Full
        part = _Part(items, weight, asyncio.get_running_loop().create_future())
        self._queue.append(part)
        self._queued += weight
        self._handed_in += 1
        self._look()
        return await part.answer

    def _look(self) -> None:
        """Begin a batch once nothing more comes in; nothing is to do where one is looked for already."""
        loop = asyncio.get_running_loop()
        if self._queue and self._may_flush() and self._looking is not loop:
            self._looking = loop
            self._look_again(self._handed_in, 0, loop.time() + LONGEST)

    def _look_again(self, seen: int, quiet: int, until: float) -> None:
        loop = asyncio.get_running_loop()
        quiet = quiet + 1 if self._handed_in == seen else 0
        if quiet > QUIET or self._queued >= self._limit or loop.time() >= until:
            self._looking = None
            self._start()
        else:
            loop.call_soon(self._look_again, self._handed_in, quiet, until)

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
            if part.answer.cancelled():  # the caller went away; its rows are kept all the same
                pass
            elif error is not None:
                part.answer.set_exception(error)
            else:
                part.answer.set_result(done.result()[start : start + len(part.items)])
            start += len(part.items)
        self._look()

"""Gather what waits together into one batch: what arrives while a flush runs is the next one. No fixed delay."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Full(Exception):
    """More is waiting than may wait: try again later."""


class Gather(Generic[T, R]):
    """Calls `flush` with batches, in threads, and gives each caller its own part of the answer.

    For one event loop. `limit`: items a batch; `in_flight`: batches at once; `waiting`: items that may wait, at most.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[T]], Sequence[R]],
        executor: Executor,
        *,
        limit: int = 500,
        in_flight: int = 2,
        waiting: int = 20_000,
    ) -> None:
        self._flush = flush
        self._executor = executor
        self._limit = limit
        self._free = in_flight
        self._waiting = waiting
        self._queue: deque[tuple[Sequence[T], asyncio.Future[Sequence[R]]]] = deque()
        self._size = 0

    async def submit(self, items: Sequence[T]) -> Sequence[R]:
        """The answers to these items, which stay in one batch. Raise Full, or what `flush` raises."""
        if self._size + len(items) > self._waiting:
            raise Full
        answer: asyncio.Future[Sequence[R]] = asyncio.get_running_loop().create_future()
        self._queue.append((items, answer))
        self._size += len(items)
        self._start()
        return await answer

    def _start(self) -> None:
        while self._free and self._queue:
            self._free -= 1
            batch = self._next()
            task = asyncio.get_running_loop().run_in_executor(
                self._executor, self._flush, [item for items, _ in batch for item in items]
            )
            task.add_done_callback(lambda done, batch=batch: self._finish(batch, done))  # type: ignore[misc]

    def _next(self) -> list[tuple[Sequence[T], asyncio.Future[Sequence[R]]]]:
        batch = [self._queue.popleft()]
        size = len(batch[0][0])
        while self._queue and size + len(self._queue[0][0]) <= self._limit:
            batch.append(self._queue.popleft())
            size += len(batch[-1][0])
        self._size -= size
        return batch

    def _finish(
        self, batch: Sequence[tuple[Sequence[T], asyncio.Future[Sequence[R]]]], done: asyncio.Future[Sequence[R]]
    ) -> None:
        self._free += 1
        error = done.exception()
        start = 0
        for items, answer in batch:
            if answer.cancelled():  # the caller went away; its rows are kept all the same
                pass
            elif error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(done.result()[start : start + len(items)])
            start += len(items)
        self._start()

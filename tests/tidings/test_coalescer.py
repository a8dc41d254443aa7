"""Coalescer: items that wait together are flushed together, and each caller gets its own result."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import pytest
from tidings.pipeline.coalescer import Coalescer, Full

P = ParamSpec("P")
T = TypeVar("T")
Flush = Callable[[Sequence[int]], Sequence[str]]
WITHIN = 60.0  # seconds; everything is far quicker, unless the machine is busy


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


class Gate:
    """A flush that waits for leave, and keeps what it was given."""

    def __init__(self, *failing: int) -> None:
        self.batches: list[list[int]] = []
        self.failing = set(failing)
        self.leave = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __call__(self, batch: Sequence[int]) -> Sequence[str]:
        with self._lock:
            self.batches.append(list(batch))
        assert self.leave.acquire(timeout=WITHIN)
        if self.failing & set(batch):
            raise RuntimeError("this batch")
        return [str(item) for item in batch]

    def open(self) -> None:
        self.leave.release(1000)


class AtOnce(Executor):
    """Flushes in the loop's own thread: no other thread has to come to its turn while callers go on coming."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not condition():
            await asyncio.sleep(0.001)


def finish(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, WITHIN))


def start(work: Awaitable[Sequence[str]]) -> "asyncio.Task[Sequence[str]]":
    return asyncio.ensure_future(work)


def test_what_arrives_during_a_flush_is_the_next_batch(threads: Executor) -> None:
    async def run() -> None:
        gate = Gate()
        gather = Coalescer(gate, threads)
        first = start(gather.submit([0]))
        await until(lambda: len(gate.batches) == 1)  # nothing waited: a flush of one
        rest = [start(gather.submit([n, n + 100])) for n in range(1, 50)]
        await asyncio.sleep(0)
        gate.open()
        answers = await asyncio.gather(first, *rest)
        assert answers == [["0"], *([str(n), str(n + 100)] for n in range(1, 50))]
        assert gate.batches == [[0], [item for n in range(1, 50) for item in (n, n + 100)]]

    finish(run())


def test_answered_callers_that_call_again_share_a_batch_with_those_that_waited(
    threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tidings.pipeline.coalescer.PAUSE", WITHIN
    )  # so that a busy machine is not taken for their staying away
    monkeypatch.setattr("tidings.pipeline.coalescer.LONGEST", WITHIN)

    async def run() -> None:
        gate = Gate()
        gather = Coalescer(gate, threads)
        first = start(gather.submit([0]))
        await until(lambda: len(gate.batches) == 1)
        rest = [start(gather.submit([n])) for n in range(1, 20)]
        await asyncio.sleep(0)
        gate.open()
        await first
        await asyncio.gather(*rest, gather.submit([0]))
        assert [len(batch) for batch in gate.batches] == [1, 20]
        calls = []
        for n in range(20):
            calls.append(start(gather.submit([n])))
            await asyncio.sleep(0.001)
        await asyncio.gather(*calls)
        assert gate.batches[2:] == [list(range(20))]

    finish(run())


@pytest.mark.parametrize("forever", ["PAUSE", "LONGEST"])
def test_a_batch_does_not_wait_for_callers_that_do_not_call_again(
    monkeypatch: pytest.MonkeyPatch, forever: str
) -> None:
    """Where nobody comes any more, and where somebody comes all the time, but not all who were answered."""
    monkeypatch.setattr(f"tidings.pipeline.coalescer.{forever}", 2 * WITHIN)

    async def run() -> None:
        gate = Gate()
        gate.open()
        gather = Coalescer(gate, AtOnce())
        await asyncio.gather(*[gather.submit([n]) for n in range(400)])
        calls = [start(gather.submit([0]))]
        while forever == "PAUSE" and len(calls) < 300 and not calls[0].done():
            calls.append(start(gather.submit([len(calls)])))
            await asyncio.sleep(0.001)
        await calls[0]
        assert len(calls) < 300
        await asyncio.gather(*calls)

    finish(run())


def test_a_batch_is_no_larger_than_the_limit_and_no_call_is_split(threads: Executor) -> None:
    async def run() -> None:
        gate = Gate()
        gather = Coalescer(gate, threads, limit=10)
        first = start(gather.submit([0]))
        await until(lambda: len(gate.batches) == 1)
        rest = [start(gather.submit(list(range(4)))) for _ in range(5)] + [start(gather.submit(list(range(25))))]
        await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(first, *rest)
        # Two flushes run at once: which of them comes first to the gate is the machine's word.
        assert sorted(len(batch) for batch in gate.batches) == [1, 4, 8, 8, 25]

    finish(run())


def test_the_weight_of_an_item_counts_against_the_limit(threads: Executor) -> None:
    async def run() -> None:
        gate = Gate()
        gather = Coalescer(gate, threads, limit=10, waiting=21, weigh=lambda item: item)
        first = start(gather.submit([1]))
        await until(lambda: len(gate.batches) == 1)
        rest = [start(gather.submit([item])) for item in (4, 5, 6, 15)]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await gather.submit([1])
        gate.open()
        await asyncio.gather(first, *rest)
        assert sorted(gate.batches) == [[1], [4, 5], [6], [15]]  # two at once come to the gate in any order

    finish(run())


def test_a_full_batch_runs_beside_another_and_no_third(threads: Executor) -> None:
    async def run() -> None:
        gate = Gate()
        gather = Coalescer(gate, threads, limit=10)
        tasks = [start(gather.submit([0]))]
        await until(lambda: len(gate.batches) == 1)
        tasks += [start(gather.submit([n])) for n in range(1, 10)]
        await asyncio.sleep(0.02)
        assert [len(batch) for batch in gate.batches] == [1]  # nine wait for the one
        tasks.append(start(gather.submit([10])))
        await until(lambda: [len(batch) for batch in gate.batches] == [1, 10])  # ten do not
        tasks += [start(gather.submit([n])) for n in range(11, 31)]
        await asyncio.sleep(0.02)
        assert len(gate.batches) == 2
        gate.open()
        assert await asyncio.gather(*tasks) == [[str(n)] for n in range(31)]

    finish(run())


def test_a_single_item_does_not_wait_for_a_full_batch(threads: Executor) -> None:
    async def run() -> None:
        gate = Gate()
        gather = Coalescer(gate, threads, limit=10)
        tasks = [start(gather.submit(list(range(25))))]
        await until(lambda: len(gate.batches) == 1)
        tasks.append(start(gather.submit([100])))
        await until(lambda: gate.batches[1:] == [[100]])
        gate.open()
        await asyncio.gather(*tasks)

    finish(run())


def test_a_failed_flush_fails_only_its_batch(threads: Executor) -> None:
    async def run() -> None:
        gate = Gate(3)
        gather = Coalescer(gate, threads, limit=2)
        tasks = [start(gather.submit([0]))]
        await until(lambda: len(gate.batches) == 1)
        tasks += [start(gather.submit([n])) for n in range(1, 7)]
        gate.open()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(gate.batches) == [[0], [1, 2], [3, 4], [5, 6]]  # two at once come to the gate in any order
        assert [type(answer) for answer in answers] == [list, list, list, RuntimeError, RuntimeError, list, list]
        gate.failing.clear()
        assert await gather.submit([3]) == ["3"]

    finish(run())


def test_too_much_waiting_is_refused_at_once_and_taken_again_later(threads: Executor) -> None:
    async def run() -> None:
        gate = Gate()
        gather = Coalescer(gate, threads, waiting=10)
        first = start(gather.submit([0]))
        await until(lambda: len(gate.batches) == 1)
        waiting = start(gather.submit(list(range(8))))
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await gather.submit([1, 2, 3])
        fits = start(gather.submit([1, 2]))
        await asyncio.sleep(0)
        gate.open()
        assert [len(answer) for answer in await asyncio.gather(first, waiting, fits)] == [1, 8, 2]
        assert len(await gather.submit(list(range(10)))) == 10

    finish(run())


def test_a_caller_that_disconnects_does_not_affect_the_batch(threads: Executor) -> None:
    async def run() -> None:
        gate = Gate()
        gather = Coalescer(gate, threads)
        flushing = start(gather.submit([0]))
        await until(lambda: len(gate.batches) == 1)
        gone, stays = start(gather.submit([1])), start(gather.submit([2]))
        await asyncio.sleep(0)
        flushing.cancel()
        gone.cancel()
        await asyncio.sleep(0)
        gate.open()
        assert await stays == ["2"]
        assert gate.batches == [[0], [1, 2]]  # what is in a batch stays in it
        assert await gather.submit([3]) == ["3"]

    finish(run())


def test_it_works_in_one_event_loop_after_another(threads: Executor) -> None:
    """As on Lambda, where each event is a loop of its own."""
    gate = Gate()
    gate.open()
    gather = Coalescer(gate, threads)
    for n in range(3):
        assert asyncio.run(gather.submit([n])) == [str(n)]

"""The threads in which providers are called, and how much may be claimed for them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from tidings.pipeline.send_pool import FEW_LEFT, MAX_STARTING, STARTUP_WINDOW, SendPool

WAIT = 60.0  # seconds; everything is far quicker, unless the machine is busy
LONG, NONE = timedelta(seconds=WAIT), timedelta(0)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


@pytest.fixture
def callers(gate: threading.Event) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads
        gate.set()


def run(pool: SendPool, *calls: Callable[[], object], urgent: bool = False) -> list[Future[object]]:
    """Each in a place of its own, which must be free."""
    ends: list[Future[object]] = [Future() for _ in calls]
    for call, end in zip(calls, ends, strict=True):
        assert pool.reserve(1, urgent=urgent, within=LONG) == 1
        pool.submit([partial(lambda call, end: end.set_result(call()), call, end)], urgent=urgent)
    return ends


def deferred(pool: SendPool, gate: threading.Event, count: int, *, urgent: bool = False) -> list[Future[object]]:
    """Calls that last until the gate opens; all of them have begun."""
    begun = threading.Semaphore(0)

    def call() -> bool:
        begun.release()
        return gate.wait(WAIT)

    ends = run(pool, *[call] * count, urgent=urgent)
    for _ in range(count):
        assert begun.acquire(timeout=WAIT)
    return ends


def _wait(gate: threading.Event) -> None:
    gate.wait(WAIT)


def test_each_call_is_run_once() -> None:
    pool = SendPool(3, reserved=1)
    ends = run(pool, *[partial(str.upper, letter) for letter in "abcdefgh"])
    assert [end.result(WAIT) for end in ends] == list("ABCDEFGH")
    pool.close()


def test_no_more_places_are_given_than_there_are_threads(gate: threading.Event) -> None:
    pool = SendPool(3, reserved=1)
    assert pool.reserve(10, urgent=False, within=LONG) == 3
    assert pool.reserve(10, urgent=False, within=NONE) == 0
    pool.release(2, urgent=False)
    assert pool.reserve(10, urgent=False, within=NONE) == 2
    pool.close()


def test_a_place_is_free_when_its_call_has_ended(gate: threading.Event, callers: ThreadPoolExecutor) -> None:
    pool = SendPool(2)
    ends = deferred(pool, gate, 2)
    waiting = callers.submit(pool.reserve, 5, urgent=False, within=LONG)
    gate.set()
    assert [end.result(WAIT) for end in ends] == [True, True]
    assert waiting.result(WAIT) in (1, 2)
    pool.close()


def test_few_places_are_given_though_many_calls_hang(gate: threading.Event) -> None:
    """Who claims waits for enough places to make a claim worth its cost, but not for ever."""
    pool = SendPool(8)
    deferred(pool, gate, 7)
    assert pool.reserve(8, urgent=False, within=LONG) == 1
    gate.set()
    pool.close()


def test_no_more_run_at_once_than_there_are_threads() -> None:
    together, lock, running, most = threading.Barrier(3), threading.Lock(), 0, 0
    pool = SendPool(3)

    def call() -> None:
        nonlocal running, most
        with lock:
            running, most = running + 1, max(most, running + 1)
        together.wait(WAIT)  # only where three are under way
        with lock:
            running -= 1

    for end in run(pool, *[call] * 30):
        end.result(WAIT)
    assert most == 3
    pool.close()


def test_few_start_at_once_and_all_threads_run_where_calls_last(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looks, begun = 1000.0, threading.Semaphore(0), threading.Semaphore(0)

    def look() -> float:
        looks.release()
        return now

    monkeypatch.setattr("tidings.pipeline.send_pool.time.monotonic", look)
    pool = SendPool(8)

    def call() -> None:
        begun.release()
        gate.wait(WAIT)

    assert pool.reserve(8, urgent=False, within=LONG) == 8
    pool.submit([call] * 8, urgent=False)
    for _ in range(MAX_STARTING):
        assert begun.acquire(timeout=WAIT)
    for _ in range(3 * MAX_STARTING + 5):  # they have looked again and again
        assert looks.acquire(timeout=WAIT)
    assert not begun.acquire(blocking=False)
    for _ in range(8 - MAX_STARTING):
        now += STARTUP_WINDOW
        assert begun.acquire(timeout=WAIT)
    gate.set()
    pool.close()


def test_urgent_calls_start_first(gate: threading.Event) -> None:
    pool, order = SendPool(1), list[str]()
    deferred(pool, gate, 1)
    # More than there are places for: only the order of what waits is looked at.
    pool.submit([partial(order.append, name) for name in "ac"], urgent=False)
    pool.submit([partial(order.append, name) for name in "bd"], urgent=True)
    gate.set()
    pool.close()
    assert order == ["b", "d", "a", "c"]


def test_reserved_threads_take_the_urgent_alone_while_all_others_are_busy(gate: threading.Event) -> None:
    pool = SendPool(2, reserved=1)
    busy = deferred(pool, gate, 2)
    assert pool.reserve(1, urgent=False, within=NONE) == 0
    (urgent,) = run(pool, lambda: "URGENT", urgent=True)
    assert urgent.result(WAIT) == "URGENT"
    gate.set()
    assert [end.result(WAIT) for end in busy] == [True, True]
    pool.close()


def test_the_urgent_are_claimed_though_many_ordinary_calls_wait_for_senders_that_hang(
    gate: threading.Event, callers: ThreadPoolExecutor
) -> None:
    pool = SendPool(10, reserved=3)
    deferred(pool, gate, 10)
    pool.submit([partial(_wait, gate)] * (FEW_LEFT + 1), urgent=False)  # claimed ahead, when calls were quick
    assert callers.submit(pool.reserve, 5, urgent=True, within=LONG).result(WAIT / 2) == 3
    gate.set()
    pool.close()


def test_closing_ends_what_was_begun_and_takes_nothing_more(gate: threading.Event) -> None:
    pool = SendPool(1, reserved=1)
    (busy,) = deferred(pool, gate, 1)
    closing = threading.Thread(target=pool.close)
    closing.start()
    gate.set()
    closing.join(WAIT)
    assert not closing.is_alive()
    assert busy.result(WAIT) is True
    with pytest.raises(RuntimeError):
        pool.reserve(1, urgent=False, within=LONG)


def test_reserve_raises_when_the_pool_is_closed(gate: threading.Event, callers: ThreadPoolExecutor) -> None:
    pool = SendPool(1)
    deferred(pool, gate, 1)
    waiting = callers.submit(pool.reserve, 1, urgent=False, within=LONG)
    closing = callers.submit(pool.close)
    with pytest.raises(RuntimeError):
        waiting.result(WAIT)
    gate.set()
    closing.result(WAIT)

"""The threads in which providers are called."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tidings.senders import ABREAST, YOUNG, Senders

WAIT = 60.0  # seconds; everything is far quicker, unless the machine is busy


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


def is_urgent(name: str) -> bool:
    return name.startswith("urgent")


def test_results_come_in_the_order_of_the_items() -> None:
    senders = Senders(3, reserved=1)
    names = ["b", "urgent a", "c", "urgent d"]
    assert senders.each(str.upper, names, urgent=is_urgent) == [name.upper() for name in names]
    assert senders.each(str.upper, [], urgent=is_urgent) == []
    senders.close()


def test_one_failure_is_raised_once_all_have_ended_and_spoils_nothing_after_it() -> None:
    senders, ended = Senders(1), list[str]()

    def work(name: str) -> None:
        ended.append(name)
        if name == "bad":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        senders.each(work, ["bad", "good"], urgent=is_urgent)
    assert ended == ["bad", "good"]
    senders.each(work, ["later"], urgent=is_urgent)
    assert ended[-1] == "later"
    senders.close()


def test_no_more_run_at_once_than_there_are_threads() -> None:
    together, lock, running, most = threading.Barrier(3), threading.Lock(), 0, 0
    senders = Senders(3)

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running, most = running + 1, max(most, running + 1)
        together.wait(WAIT)  # only where three are under way
        with lock:
            running -= 1

    senders.each(work, range(30), urgent=lambda _: False)
    assert most == 3
    senders.close()


def test_no_more_begin_at_once_than_is_of_use_and_all_threads_where_the_calls_last(
    gate: threading.Event, callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looks, begun = 1000.0, threading.Semaphore(0), threading.Semaphore(0)

    def look() -> float:
        looks.release()
        return now

    monkeypatch.setattr("tidings.senders.time.monotonic", look)
    senders = Senders(8)

    def work(_: int) -> bool:
        begun.release()
        return gate.wait(WAIT)

    done = callers.submit(senders.each, work, range(10), urgent=lambda _: False)
    for _ in range(ABREAST):
        assert begun.acquire(timeout=WAIT)
    for _ in range(3 * ABREAST + 5):  # they have looked again and again
        assert looks.acquire(timeout=WAIT)
    assert not begun.acquire(blocking=False)
    for _ in range(8 - ABREAST):
        now += YOUNG
        assert begun.acquire(timeout=WAIT)
    gate.set()
    assert done.result(WAIT) == [True] * 10
    senders.close()


def test_the_urgent_of_a_batch_go_first() -> None:
    senders, order = Senders(1), list[str]()
    senders.each(order.append, ["a", "urgent b", "c", "urgent d"], urgent=is_urgent)
    assert order == ["urgent b", "urgent d", "a", "c"]
    senders.close()


def stuck(senders: Senders, callers: ThreadPoolExecutor, gate: threading.Event, count: int) -> Future[Sequence[bool]]:
    """Ordinary calls that last until the gate opens; all of them have begun."""
    begun = threading.Semaphore(0)

    def work(_: int) -> bool:
        begun.release()
        return gate.wait(WAIT)

    done: Future[Sequence[bool]] = callers.submit(senders.each, work, range(count), urgent=lambda _: False)
    for _ in range(count):
        assert begun.acquire(timeout=WAIT)
    return done


def test_reserved_threads_take_the_urgent_alone_while_all_others_are_busy(
    gate: threading.Event, callers: ThreadPoolExecutor
) -> None:
    senders = Senders(2, reserved=1)
    busy = stuck(senders, callers, gate, 2)
    waiting = callers.submit(senders.each, str.upper, ["ordinary"], urgent=is_urgent)
    assert senders.each(str.upper, ["urgent"], urgent=is_urgent) == ["URGENT"]
    assert not waiting.done()
    gate.set()
    assert waiting.result(WAIT) == ["ORDINARY"]
    assert busy.result(WAIT) == [True, True]
    senders.close()


def test_closing_ends_what_was_begun_and_takes_nothing_more(gate: threading.Event, callers: ThreadPoolExecutor) -> None:
    senders = Senders(1, reserved=1)
    busy = stuck(senders, callers, gate, 1)
    closing = threading.Thread(target=senders.close)
    closing.start()
    gate.set()
    closing.join(WAIT)
    assert not closing.is_alive()
    assert busy.result(WAIT) == [True]
    with pytest.raises(RuntimeError):
        senders.each(str.upper, ["late"], urgent=is_urgent)

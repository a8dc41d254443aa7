"""The threads in which providers are called."""

import threading
from collections.abc import Iterator

import pytest
from tidings.senders import Senders

WAIT = 10.0  # seconds


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


def test_each_call_has_its_own_end() -> None:
    senders = Senders(2)

    def fails() -> None:
        raise KeyboardInterrupt

    good, bad = senders.submit(lambda: 7, urgent=False), senders.submit(fails, urgent=False)
    assert good.result(WAIT) == 7
    assert isinstance(bad.exception(WAIT), KeyboardInterrupt)
    assert senders.submit(lambda: 8, urgent=False).result(WAIT) == 8
    senders.close()


def test_no_more_run_at_once_than_there_are_threads(gate: threading.Event) -> None:
    senders, running, most, lock = Senders(3), 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running, most = running + 1, max(most, running + 1)
        gate.wait(0.01)
        with lock:
            running -= 1

    for done in [senders.submit(work, urgent=False) for _ in range(50)]:
        done.result(WAIT)
    assert most == 3
    senders.close()


def test_the_urgent_passes_what_waits(gate: threading.Event) -> None:
    senders, order = Senders(1), list[str]()
    senders.submit(lambda: gate.wait(WAIT), urgent=False)
    ordinary = senders.submit(lambda: order.append("ordinary"), urgent=False)
    urgent = [senders.submit(lambda name=name: order.append(name), urgent=True) for name in ("first", "second")]  # type: ignore[misc]
    gate.set()
    for done in (ordinary, *urgent):
        done.result(WAIT)
    assert order == ["first", "second", "ordinary"]
    senders.close()


def test_reserved_threads_take_the_urgent_alone_while_all_others_are_busy(gate: threading.Event) -> None:
    senders = Senders(2, reserved=1)
    stuck = [senders.submit(lambda: gate.wait(WAIT), urgent=False) for _ in range(2)]
    waiting = senders.submit(lambda: "ordinary", urgent=False)
    assert senders.submit(lambda: "urgent", urgent=True).result(WAIT) == "urgent"
    assert not waiting.done()
    gate.set()
    assert waiting.result(WAIT) == "ordinary"
    assert all(done.result(WAIT) for done in stuck)
    senders.close()


def test_closing_ends_what_was_begun_and_what_waits_and_takes_nothing_more(gate: threading.Event) -> None:
    senders = Senders(1, reserved=1)
    done = [senders.submit(lambda: gate.wait(WAIT), urgent=False), senders.submit(lambda: True, urgent=False)]
    closing = threading.Thread(target=senders.close)
    closing.start()
    gate.set()
    closing.join(WAIT)
    assert not closing.is_alive()
    assert all(one.result(0) for one in done)
    with pytest.raises(RuntimeError):
        senders.submit(lambda: None, urgent=True)

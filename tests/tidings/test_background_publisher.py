"""Publishing beside the answers: what a caller no longer waits for, and what becomes of it all the same."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from contextlib import contextmanager
from datetime import timedelta

import pytest
from tidings import topology
from tidings.background_publisher import LARGE, BackgroundPublisher
from tidings.facts import Queued
from tidings.intake import Intake
from tidings.lifecycle import Lifecycle
from tidings.notification import Notification, Priority
from tidings.ports import Outgoing
from tidings.publisher import Publisher
from tidings.sweep import Sweep

from tests.make import notification
from tests.tidings.conftest import House
from tests.tidings.test_lifecycle import Watcher

WITHIN = 60.0  # seconds; everything is far quicker, unless the machine is busy
EMAIL = topology.work_queue("email", Priority.NORMAL)


class Gate:
    """A publish that waits for leave, and keeps what it was given."""

    def __init__(self) -> None:
        self.waves: list[list[Notification]] = []
        self.leave = threading.Semaphore(0)

    def __call__(self, wave: Sequence[Notification]) -> None:
        self.waves.append(list(wave))
        assert self.leave.acquire(timeout=WITHIN)

    def open(self) -> None:
        self.leave.release(1000)


@contextmanager
def publishing(
    publish: Callable[[Sequence[Notification]], object], *, wave: int = 500, backlog: int = 5000
) -> Iterator[BackgroundPublisher]:
    made = BackgroundPublisher(publish, wave=wave, backlog=backlog)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def gated(*, wave: int = 500, backlog: int = 5000) -> Iterator[tuple[BackgroundPublisher, Gate]]:
    gate = Gate()
    with publishing(gate, wave=wave, backlog=backlog) as publisher:
        try:
            yield publisher, gate
        finally:
            gate.open()


@contextmanager
def accepting(house: House, lifecycle: Lifecycle | None = None) -> Iterator[tuple[Intake, BackgroundPublisher]]:
    """An intake as `Wiring` makes it."""
    told = lifecycle or Lifecycle()
    with publishing(Publisher(store=house.store, broker=house.broker, lifecycle=told).publish) as publisher:
        yield Intake(store=house.store, publish=publisher.publish, lifecycle=told), publisher


def rows(house: House, count: int) -> list[Notification]:
    return [notification(house.clock()) for _ in range(count)]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def numbered(house: House, waves: Sequence[Sequence[Notification]], handed: Sequence[Notification]) -> list[list[int]]:
    place = {row.id: number for number, row in enumerate(handed)}
    return [[place[row.id] for row in wave] for wave in waves]


# --- what a caller waits for ------------------------------------------------------------------------------------------


def test_accept_returns_at_the_commit_while_the_broker_hangs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, (row,) = threading.Event(), rows(house, 1)
    publish = house.broker.publish

    def hanging(wave: Sequence[Outgoing]) -> None:
        assert hangs.wait(WITHIN)
        publish(wave)

    monkeypatch.setattr(house.broker, "publish", hanging)
    watcher = Watcher()
    with accepting(house, Lifecycle(observers=[watcher])) as (intake, publisher):
        assert [item.notification.id for item in intake.accept([row])] == [row.id]
        assert house.row(row).id == row.id
        assert house.broker.depth(EMAIL) == 0
        assert not any(isinstance(fact, Queued) for fact in watcher.facts)
        hangs.set()
        publisher.flush()
    assert house.broker.depth(EMAIL) == 1
    assert [fact.notifications for fact in watcher.facts if isinstance(fact, Queued)] == [[row]]


def test_what_is_handed_over_during_a_wave_is_the_next_one(house: House) -> None:
    handed = rows(house, 6)
    with gated(wave=4) as (publisher, gate):
        publisher.publish(handed[:1])
        until(lambda: len(gate.waves) == 1)  # nothing waited: a wave of one
        for row in handed[1:]:
            publisher.publish([row])
        gate.open()
        publisher.flush()
        assert numbered(house, gate.waves, handed) == [[0], [1, 2, 3, 4], [5]]


def test_a_full_backlog_slows_the_intake_down(house: House) -> None:
    handed = rows(house, 6)
    with gated(wave=2, backlog=3) as (publisher, gate), ThreadPoolExecutor(1) as caller:
        publisher.publish(handed[:1])
        until(lambda: len(gate.waves) == 1)
        publisher.publish(handed[1:4])  # full
        slowed: Future[None] = caller.submit(publisher.publish, handed[4:])
        with pytest.raises(StillWaiting):
            slowed.result(0.2)
        gate.leave.release()  # the next wave makes room
        slowed.result(WITHIN)
        gate.open()
        publisher.flush()
        assert numbered(house, gate.waves, handed) == [[0], [1, 2], [3, 4], [5]]


def test_a_batch_larger_than_the_backlog_is_taken_whole(house: House) -> None:
    handed = rows(house, 10)
    with gated(wave=4, backlog=3) as (publisher, gate):
        publisher.publish(handed)
        gate.open()
        publisher.flush()
        assert [len(wave) for wave in gate.waves] == [4, 4, 2]


def test_a_large_content_is_not_held_until_its_message_is_published(house: House) -> None:
    small, large = notification(house.clock()), notification(house.clock(), content="x" * (LARGE + 1))
    with gated() as (publisher, gate):
        publisher.publish([small, large])
        gate.open()
        publisher.flush()
        ((kept, stripped),) = gate.waves
    assert (kept.content, stripped.id, stripped.content) == (small.content, large.id, "")


# --- what becomes of it -----------------------------------------------------------------------------------------------


def test_a_wave_that_the_broker_does_not_take_is_marked_unqueued_and_the_sweep_publishes_it(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = rows(house, 2)
    house.broker.down = True
    with accepting(house) as (intake, publisher):
        intake.accept([first])
        publisher.flush()
        assert house.row(first).queued_at is None
        house.broker.down = False
        intake.accept([second])
    assert house.row(second).queued_at is not None
    assert house.broker.depth(EMAIL) == 1
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "left_to_the_sweep"
    ]
    house.clock.advance(seconds=6)
    assert Sweep(store=house.store, broker=house.broker, settling=house.settling).run().published == 1


def test_a_broker_that_is_down_for_long_stops_no_caller_and_loses_nothing(house: House) -> None:
    house.broker.down = True
    handed = rows(house, 60)
    with accepting(house) as (intake, publisher):
        for row in handed:
            intake.accept([row])
        publisher.flush()
        assert all(house.row(row).queued_at is None for row in handed)
    house.broker.down = False
    house.clock.advance(seconds=6)
    assert Sweep(store=house.store, broker=house.broker, settling=house.settling).run().published == len(handed)


def test_a_fault_nobody_foresaw_is_logged_and_the_next_wave_is_published(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    published: list[Notification] = []

    def faulty(wave: Sequence[Notification]) -> None:
        if not published and not caplog.records:
            raise RuntimeError(f"with a recipient: {wave[0].recipient}")
        published.extend(wave)

    first, second = rows(house, 2)
    with publishing(faulty) as publisher:
        publisher.publish([first])
        publisher.flush()
        publisher.publish([second])
    assert [row.id for row in published] == [second.id]
    (fault,) = [vars(record) for record in caplog.records]
    assert (fault["msg"], fault["error"]) == ("fault", "RuntimeError")
    assert "with a recipient" not in caplog.text


def test_a_stop_waits_no_longer_than_its_deadline_and_says_what_is_left(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    publisher = BackgroundPublisher(gate, wave=1, flush_within=timedelta(seconds=0.05))
    publisher.publish(rows(house, 1))
    until(lambda: len(gate.waves) == 1)
    publisher.publish(rows(house, 2))
    publisher.flush()
    (said,) = [vars(record) for record in caplog.records]
    assert (said["msg"], said["notifications"]) == ("left_to_the_sweep", 2)
    gate.open()


def test_no_thread_is_there_before_the_first_use() -> None:
    before = threading.active_count()
    with gated() as (publisher, _):
        publisher.publish([])
        publisher.flush()
        assert threading.active_count() == before

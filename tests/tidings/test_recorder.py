"""Outcomes are written down in small groups, soon after they are known."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from tidings.domain.errors import StoreUnavailable
from tidings.domain.notification import Status
from tidings.domain.timing import NO_DEADLINE
from tidings.pipeline.deadlines import Deadlines
from tidings.pipeline.recorder import Recorder, Work
from tidings.ports import Claims, Settlement

from tests import make
from tests.wait import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WAIT = timedelta(seconds=60)  # everything is far quicker, unless the machine is busy


@dataclass
class Book:
    """Keeps the groups that it is given, and fails as it is told."""

    groups: list[list[Settlement]] = field(default_factory=list)
    deadlines: list[Deadlines] = field(default_factory=list)
    poison: set[str] = field(default_factory=set)
    failure: BaseException | None = None
    gate: threading.Event = field(default_factory=threading.Event)

    def record(self, group: Sequence[Settlement], deadlines: Deadlines) -> None:
        self.gate.wait(WAIT.total_seconds())
        if self.failure is not None:
            raise self.failure
        if any(settlement.notification.id in self.poison for settlement in group):
            raise ValueError("it cannot be written")
        self.groups.append(list(group))
        self.deadlines.append(deadlines)

    @property
    def sizes(self) -> list[int]:
        return [len(group) for group in self.groups]


@pytest.fixture
def book() -> Book:
    made = Book()
    made.gate.set()
    return made


@pytest.fixture
def recorder(book: Book) -> Iterator[Recorder]:
    made = Recorder(book.record)
    yield made
    book.gate.set()
    made.close()


def work(seconds: float = NO_DEADLINE.total_seconds()) -> Work:
    return Work(Deadlines.of(time.monotonic(), within=timedelta(seconds=seconds), call=timedelta(seconds=1)))


def settlement() -> Settlement:
    claims = Claims(token="t", at=NOW)
    return Settlement(claims=claims, notification=make.notification(NOW), status=Status.SENT)


def test_a_delivery_whose_calls_have_all_ended_is_recorded_at_once(
    recorder: Recorder, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.pipeline.recorder.RECORD_WITHIN", NO_DEADLINE)
    slow, mine = work(), work()
    recorder.expect(slow, 1)
    recorder.expect(mine, 10)
    for _ in range(10):
        recorder.add(settlement(), mine)
    assert mine.wait(WAIT)
    assert book.sizes == [10]
    recorder.add(settlement(), slow)
    assert slow.wait(WAIT)


def test_what_has_ended_is_one_group_whatever_its_batch(
    recorder: Recorder, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.pipeline.recorder.RECORD_WITHIN", NO_DEADLINE)
    first, second = work(), work()
    recorder.expect(first, 10)
    recorder.expect(second, 11)
    for _ in range(10):
        recorder.add(settlement(), second)
    for _ in range(10):
        recorder.add(settlement(), first)
    assert first.wait(WAIT)
    assert book.sizes == [20]
    recorder.add(settlement(), second)
    assert second.wait(WAIT)


def test_a_slow_call_holds_up_nobody(recorder: Recorder, book: Book) -> None:
    mine = work()
    recorder.expect(mine, 3)
    for _ in range(2):
        recorder.add(settlement(), mine)
    eventually("those that have ended", lambda: sum(book.sizes) == 2, within=WAIT.total_seconds())
    assert not mine.wait(timedelta(0))
    recorder.add(settlement(), mine)
    assert mine.wait(WAIT)


def test_calls_wait_for_those_that_their_delivery_is_about_to_begin(
    recorder: Recorder, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.pipeline.recorder.RECORD_WITHIN", NO_DEADLINE)
    mine = work()
    with recorder.more_to_come(mine):
        recorder.expect(mine, 1)
        recorder.add(settlement(), mine)
        recorder.expect(mine, 1)
    assert not mine.wait(timedelta(seconds=0.1))
    recorder.add(settlement(), mine)
    assert mine.wait(WAIT)
    assert book.sizes == [2]


def test_a_group_has_a_largest_size(recorder: Recorder, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.pipeline.recorder.RECORD_WITHIN", NO_DEADLINE)
    monkeypatch.setattr("tidings.pipeline.recorder.LARGEST_GROUP", 3)
    mine = work()
    recorder.expect(mine, 4)
    for _ in range(3):
        recorder.add(settlement(), mine)
    eventually("a full group", lambda: book.sizes == [3], within=WAIT.total_seconds())
    recorder.add(settlement(), mine)


def test_a_poison_settlement_fails_alone(recorder: Recorder, book: Book) -> None:
    good, bad = [settlement() for _ in range(7)], settlement()
    book.poison.add(bad.notification.id)
    book.gate.clear()
    theirs, its = work(), work()
    recorder.expect(theirs, 7)
    recorder.expect(its, 1)
    for one in good[:4]:
        recorder.add(one, theirs)
    recorder.add(bad, its)
    for one in good[4:]:
        recorder.add(one, theirs)
    book.gate.set()
    assert theirs.wait(WAIT)
    with pytest.raises(ValueError, match="cannot be written"):
        its.wait(WAIT)
    assert {one.notification.id for group in book.groups for one in group} == {one.notification.id for one in good}


def test_a_database_that_is_away_is_told_to_each_batch_of_the_group(recorder: Recorder, book: Book) -> None:
    book.failure = StoreUnavailable("gone")
    batches = [work(), work()]
    for one in batches:
        recorder.expect(one, 1)
    for one in batches:
        recorder.add(settlement(), one)
    for one in batches:
        with pytest.raises(StoreUnavailable):
            one.wait(WAIT)
    book.failure = None
    after = work()
    recorder.expect(after, 1)
    recorder.add(settlement(), after)
    assert after.wait(WAIT)


def test_a_group_is_recorded_within_the_shortest_time_of_its_batches(
    recorder: Recorder, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.pipeline.recorder.RECORD_WITHIN", NO_DEADLINE)
    long, short = work(), work(30)
    for one in (long, short):
        recorder.expect(one, 1)
    with recorder.more_to_come(long):  # so that it does not end alone
        for one in (long, short):
            recorder.add(settlement(), one)
    assert short.wait(WAIT)
    assert book.deadlines == [short.deadlines]


def test_closing_records_what_waits(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.pipeline.recorder.RECORD_WITHIN", NO_DEADLINE)
    recorder, mine = Recorder(book.record), work()
    recorder.expect(mine, 2)
    recorder.add(settlement(), mine)
    recorder.close()
    assert book.sizes == [1]

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
from tidings.pipeline.settlement_buffer import BatchProgress, SettlementBuffer
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
def buffer(book: Book) -> Iterator[SettlementBuffer]:
    made = SettlementBuffer(book.record)
    yield made
    book.gate.set()
    made.close()


def work(seconds: float = NO_DEADLINE.total_seconds()) -> BatchProgress:
    return BatchProgress(Deadlines.of(time.monotonic(), within=timedelta(seconds=seconds), call=timedelta(seconds=1)))


def settlement() -> Settlement:
    claims = Claims(token="t", at=NOW)
    return Settlement(claims=claims, notification=make.notification(NOW), status=Status.SENT)


def test_a_delivery_whose_calls_have_all_ended_is_recorded_at_once(
    buffer: SettlementBuffer, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.pipeline.settlement_buffer.RECORD_WITHIN", NO_DEADLINE)
    slow, mine = work(), work()
    buffer.expect(slow, 1)
    buffer.expect(mine, 10)
    for _ in range(10):
        buffer.add(settlement(), mine)
    assert mine.wait_until_settled(WAIT)
    assert book.sizes == [10]
    buffer.add(settlement(), slow)
    assert slow.wait_until_settled(WAIT)


def test_calls_of_several_batches_that_ended_are_one_group(
    buffer: SettlementBuffer, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.pipeline.settlement_buffer.RECORD_WITHIN", NO_DEADLINE)
    first, second = work(), work()
    buffer.expect(first, 10)
    buffer.expect(second, 11)
    for _ in range(10):
        buffer.add(settlement(), second)
    for _ in range(10):
        buffer.add(settlement(), first)
    assert first.wait_until_settled(WAIT)
    assert book.sizes == [20]
    buffer.add(settlement(), second)
    assert second.wait_until_settled(WAIT)


def test_a_slow_call_does_not_delay_other_settlements(buffer: SettlementBuffer, book: Book) -> None:
    mine = work()
    buffer.expect(mine, 3)
    for _ in range(2):
        buffer.add(settlement(), mine)
    eventually("those that have ended", lambda: sum(book.sizes) == 2, within=WAIT.total_seconds())
    assert not mine.wait_until_settled(timedelta(0))
    buffer.add(settlement(), mine)
    assert mine.wait_until_settled(WAIT)


def test_settlements_wait_for_calls_that_their_delivery_is_about_to_start(
    buffer: SettlementBuffer, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.pipeline.settlement_buffer.RECORD_WITHIN", NO_DEADLINE)
    mine = work()
    with buffer.more_to_come(mine):
        buffer.expect(mine, 1)
        buffer.add(settlement(), mine)
        buffer.expect(mine, 1)
    assert not mine.wait_until_settled(timedelta(seconds=0.1))
    buffer.add(settlement(), mine)
    assert mine.wait_until_settled(WAIT)
    assert book.sizes == [2]


def test_a_group_has_a_largest_size(buffer: SettlementBuffer, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.pipeline.settlement_buffer.RECORD_WITHIN", NO_DEADLINE)
    monkeypatch.setattr("tidings.pipeline.settlement_buffer.LARGEST_GROUP", 3)
    mine = work()
    buffer.expect(mine, 4)
    for _ in range(3):
        buffer.add(settlement(), mine)
    eventually("a full group", lambda: book.sizes == [3], within=WAIT.total_seconds())
    buffer.add(settlement(), mine)


def test_a_poison_settlement_fails_alone(buffer: SettlementBuffer, book: Book) -> None:
    good, bad = [settlement() for _ in range(7)], settlement()
    book.poison.add(bad.notification.id)
    book.gate.clear()
    theirs, its = work(), work()
    buffer.expect(theirs, 7)
    buffer.expect(its, 1)
    for one in good[:4]:
        buffer.add(one, theirs)
    buffer.add(bad, its)
    for one in good[4:]:
        buffer.add(one, theirs)
    book.gate.set()
    assert theirs.wait_until_settled(WAIT)
    with pytest.raises(ValueError, match="cannot be written"):
        its.wait_until_settled(WAIT)
    assert {one.notification.id for group in book.groups for one in group} == {one.notification.id for one in good}


def test_a_database_outage_is_raised_in_every_batch_of_the_group(buffer: SettlementBuffer, book: Book) -> None:
    book.failure = StoreUnavailable("gone")
    batches = [work(), work()]
    for one in batches:
        buffer.expect(one, 1)
    for one in batches:
        buffer.add(settlement(), one)
    for one in batches:
        with pytest.raises(StoreUnavailable):
            one.wait_until_settled(WAIT)
    book.failure = None
    after = work()
    buffer.expect(after, 1)
    buffer.add(settlement(), after)
    assert after.wait_until_settled(WAIT)


def test_a_group_is_recorded_within_the_shortest_time_of_its_batches(
    buffer: SettlementBuffer, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.pipeline.settlement_buffer.RECORD_WITHIN", NO_DEADLINE)
    long, short = work(), work(30)
    for one in (long, short):
        buffer.expect(one, 1)
    with buffer.more_to_come(long):  # so that it does not end alone
        for one in (long, short):
            buffer.add(settlement(), one)
    assert short.wait_until_settled(WAIT)
    assert book.deadlines == [short.deadlines]


def test_closing_records_what_waits(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.pipeline.settlement_buffer.RECORD_WITHIN", NO_DEADLINE)
    buffer, mine = SettlementBuffer(book.record), work()
    buffer.expect(mine, 2)
    buffer.add(settlement(), mine)
    buffer.close()
    assert book.sizes == [1]

"""What the heart promises: claim, send, settle."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tidings.config import failpoints
from tidings.domain import timing
from tidings.domain.errors import (
    AccountError,
    AmbiguousError,
    BrokerUnavailable,
    PermanentError,
    StoreUnavailable,
    TransientError,
)
from tidings.domain.notification import Notification, OnAmbiguous, Priority, Status
from tidings.domain.timing import SETTLE_RESERVE
from tidings.messaging import topology
from tidings.messaging.envelope import FAMILY, SCHEMA, IncomingMessage, from_event, to_event
from tidings.pipeline.settlement import Settler
from tidings.pipeline.sweep import Sweep
from tidings.ports import Claims, Received, Settlement

from tests import make
from tests.tidings.conftest import House, set_worker_clock

DUE = ("tidings.email.high", "tidings.email")


def letters(*rows: Notification) -> list[IncomingMessage]:
    return [IncomingMessage(queue="tidings.email", body=b"", message=make.message(row)) for row in rows]


def waiting(house: House, queue: str) -> Sequence[Received]:
    """What is in the queue now; it stays there."""
    consumer = house.broker.consume((queue,))
    found = consumer.receive(100, timedelta(0))
    consumer.close()
    return found


def added(house: House, **changes: object) -> Notification:
    row = make.notification(house.clock(), **changes)
    house.store.insert([row])
    return row


def test_an_accepted_notification_is_sent(house: House) -> None:
    row = added(house)
    house.delivery.deliver(letters(row))
    after = house.row(row)
    assert (after.status, after.provider, after.provider_message_id) == (Status.SENT, "scripted", f"receipt-{row.id}")
    assert [call.id for call in house.provider.calls] == [row.id]


def test_a_repeated_message_sends_once(house: House) -> None:
    row = added(house)
    for _ in range(3):
        house.delivery.deliver(letters(row, row))
    assert len(house.provider.calls) == 1


def test_one_failure_stays_one_failure(house: House) -> None:
    rows = [added(house) for _ in range(10)]
    house.provider.script[rows[3].recipient] = [PermanentError("550", "no such user")]
    house.provider.script[rows[4].recipient] = [RuntimeError("a fault of the provider's code")]
    house.delivery.deliver(letters(*rows))
    statuses = [house.row(row).status for row in rows]
    assert statuses.count(Status.SENT) == 8
    assert (statuses[3], statuses[4]) == (Status.FAILED, Status.RETRYING)


def test_a_transient_error_climbs_the_ladder_until_the_attempts_are_used_up(house: House) -> None:
    row = added(house, max_attempts=3)
    house.provider.script[row.recipient] = [TransientError("451", "later") for _ in range(3)]
    delays = []
    for _ in range(3):
        house.delivery.deliver(letters(row))
        after = house.row(row)
        if after.next_attempt_at is not None and after.status is Status.RETRYING:
            delays.append(after.next_attempt_at - house.clock())
            house.clock.now = after.next_attempt_at
    assert delays == list(timing.RETRY_STEPS[:2])
    assert house.row(row).status is Status.FAILED
    assert len(house.provider.calls) == 3
    (letter,) = waiting(house, "tidings.email.dead")
    assert (letter.headers["tidings-class"], letter.headers["tidings-code"]) == ("transient", "451")


def test_the_vendors_wish_to_wait_is_kept(house: House) -> None:
    row = added(house)
    error = TransientError("429", "slow down", retry_after=timedelta(minutes=3))
    house.provider.script[row.recipient] = [error]
    house.delivery.deliver(letters(row))
    after = house.row(row)
    assert after.next_attempt_at == house.clock() + timedelta(minutes=3)


def test_a_permanent_error_is_dead_lettered_at_once(house: House) -> None:
    row = added(house)
    house.provider.script[row.recipient] = [PermanentError("550", "no such user")]
    house.delivery.deliver(letters(row))
    assert house.row(row).status is Status.FAILED
    assert len(waiting(house, "tidings.email.dead")) == 1


def test_a_refused_account_burns_no_attempt_and_pages_nobody_while_it_is_alone(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    row = added(house, max_attempts=2)
    refusals = [AccountError("535", "bad credentials") for _ in range(4)]
    house.provider.script[row.recipient] = [*refusals, TransientError("451", "later")]
    with caplog.at_level(logging.ERROR, logger="tidings"):
        for _ in range(5):
            house.delivery.deliver(letters(row))
            house.clock.advance(minutes=3)
    assert not caplog.records
    after = house.row(row)
    assert (after.status, after.attempt, after.uncounted_attempts) == (Status.RETRYING, 5, 4)
    house.delivery.deliver(letters(row))
    assert house.row(row).status is Status.SENT


@pytest.mark.parametrize(("policy", "end"), [(OnAmbiguous.RESEND, Status.RETRYING), (OnAmbiguous.HOLD, Status.UNKNOWN)])
def test_the_caller_chooses_what_an_ambiguous_answer_means(house: House, policy: OnAmbiguous, end: Status) -> None:
    row = added(house, on_ambiguous=policy)
    house.provider.script[row.recipient] = [AmbiguousError("timeout", "no answer")]
    house.delivery.deliver(letters(row))
    assert house.row(row).status is end


def test_a_retry_keeps_its_priority(house: House) -> None:
    row = added(house, priority=Priority.HIGH)
    house.provider.script[row.recipient] = [TransientError("451", "later")]
    house.delivery.deliver(letters(row))
    house.clock.advance(seconds=1)
    (message,) = waiting(house, "tidings.email.high")
    assert message.message_id == f"{row.id}:1:1"


def test_a_message_that_is_too_early_comes_back_when_it_is_due(house: House) -> None:
    row = added(house, next_attempt_at=house.clock() + timedelta(seconds=5))
    house.delivery.deliver(letters(row))
    assert not house.provider.calls
    assert not waiting(house, "tidings.email")
    house.clock.advance(seconds=5)
    assert len(waiting(house, "tidings.email")) == 1


def test_what_cannot_be_read_is_parked_and_its_neighbours_are_delivered(house: House) -> None:
    row = added(house)
    garbage = IncomingMessage(queue="tidings.email", body=b"garbage", message=None, unreadable="no JSON")
    house.delivery.deliver([garbage, *letters(row)])
    assert house.row(row).status is Status.SENT
    (parked,) = waiting(house, topology.PARKING)
    assert (parked.body, parked.headers["tidings-queue"]) == (b"garbage", "tidings.email")


def test_content_that_this_version_cannot_read_waits_for_one_that_can(house: House) -> None:
    """In the middle of an update: it burns no attempt, and is nobody's fault."""
    row = added(house, content='{"from_the_future": true}', max_attempts=1)
    house.delivery.deliver(letters(row))
    after = house.row(row)
    assert (after.status, after.error_code, after.uncounted_attempts) == (Status.RETRYING, "content_version", 1)
    assert not house.provider.calls


LATER_HEADERS = {"ce-type": f"{FAMILY}{SCHEMA + 1}", "ce-id": "anything", "ce-shard": "7", "x-death": "of 3.10"}


def later(queue: str = "tidings.email", **headers: str) -> IncomingMessage:
    """What a later version's message is to us."""
    (letter,) = from_event(to_event([(queue, b"\x01 its body", {"headers": LATER_HEADERS | headers}, False)]), "email")
    return letter


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("queue", ["tidings.email", "tidings.email.high"])
def test_a_later_versions_message_goes_back_as_it_came_and_is_not_parked(
    house: House, queue: str, paused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    row = added(house)
    batch = [later(queue), *letters(row), later(queue)]
    (house.delivery.defer if paused else house.delivery.deliver)(batch)
    assert house.row(row).status is (Status.PENDING if paused else Status.SENT)
    assert [
        record.__dict__["messages"] for record in caplog.records if record.msg == "unsupported_version_deferred"
    ] == [2]
    assert not waiting(house, topology.PARKING)
    assert not waiting(house, queue), "it would spin"
    house.clock.advance(seconds=30)
    back = [item for item in waiting(house, queue) if item.body == later().body]
    assert [item.headers for item in back] == [{n: v for n, v in LATER_HEADERS.items() if n != "x-death"}] * 2
    assert {(item.message_id, item.deliveries) for item in back} == {("anything", 1)}


def test_a_type_that_is_none_of_ours_is_parked(house: House) -> None:
    for kind in ("other", f"{FAMILY}0", f"{FAMILY}2x", f"{FAMILY}", f"x{FAMILY}2"):
        house.delivery.deliver([later(**{"ce-type": kind})])
    house.clock.advance(seconds=30)
    assert len(waiting(house, topology.PARKING)) == 5
    assert not waiting(house, "tidings.email")


def test_what_expired_while_it_waited_for_its_turn_is_not_sent(house: House) -> None:
    row = added(house, expires_at=house.clock() + timedelta(microseconds=1))
    house.delivery.deliver(letters(row))
    assert house.row(row).status is Status.EXPIRED
    assert not house.provider.calls


def test_the_provider_is_told_how_long_the_notification_lives(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    row = added(house, expires_at=house.clock() + timedelta(seconds=30))
    spent(house, monkeypatch, at_step="delivery.after_claim", seconds=2)
    house.delivery.deliver(letters(row))
    (call,) = house.provider.calls
    assert call.time_to_live == timedelta(seconds=28)


@pytest.mark.parametrize("priority", list(Priority))
def test_the_provider_is_told_the_priority(house: House, priority: Priority) -> None:
    row = added(house, priority=priority)
    house.delivery.deliver(letters(row))
    (call,) = house.provider.calls
    assert call.priority is priority


def test_nothing_is_begun_under_a_lease_that_is_nearly_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    row = added(house)
    spent(house, monkeypatch, at_step="delivery.after_claim", seconds=41)  # of 60, and it was not renewed
    house.delivery.deliver(letters(row))
    after = house.row(row)
    assert not house.provider.calls
    assert (after.status, after.uncounted_attempts) == (Status.RETRYING, 1)


class Killed(BaseException):
    """The process is gone: nothing catches it."""


def suspects(house: House, count: int) -> list[Notification]:
    """Due again, after the worker that had them was lost."""
    rows = [added(house) for _ in range(count)]
    house.store.claim([make.message(row) for row in rows], timedelta(seconds=60))
    for _ in range(3):
        house.clock.advance(minutes=2)
        Sweep(store=house.store, broker=house.broker, settler=house.settler).run()
    return rows


def test_what_kills_its_worker_takes_no_neighbours_with_it(house: House) -> None:
    killer, *others = suspects(house, 3)
    fresh = added(house)
    house.provider.script[killer.recipient] = [Killed()]  # type: ignore[list-item]
    with pytest.raises(Killed):
        house.delivery.deliver(letters(*others[:1], killer, *others[1:], fresh))
    house.delivery.deliver(letters(others[1]))
    assert [house.row(row).status for row in (killer, *others, fresh)] == [Status.SENDING, *[Status.SENT] * 3]
    assert len(house.provider.calls) == 4


# --- the time of an invocation ---------------------------------------------------------------------------------------


def spent(house: House, monkeypatch: pytest.MonkeyPatch, *, at_step: str, seconds: float) -> None:
    """So much time goes by, by the worker's clock, when it comes to this step; and none that the machine takes."""
    late: list[float] = []
    set_worker_clock(monkeypatch, lambda: sum(late))
    monkeypatch.setattr(failpoints, "step", lambda reached: late.append(seconds) if reached == at_step else None)


def test_nothing_is_begun_that_could_outlast_its_process(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    row = added(house)
    within = house.provider.timeout + SETTLE_RESERVE + timedelta(seconds=2)
    spent(house, monkeypatch, at_step="delivery.after_claim", seconds=2)
    house.delivery.deliver(letters(row), within=within)
    after = house.row(row)
    assert not house.provider.calls
    assert (after.status, after.uncounted_attempts, after.error_code) == (Status.RETRYING, 1, None)
    house.clock.advance(seconds=1)
    spent(house, monkeypatch, at_step="delivery.after_claim", seconds=0)
    house.delivery.deliver(letters(row), within=within)
    assert (house.row(row).status, len(house.provider.calls)) == (Status.SENT, 1)


def test_what_comes_alone_and_finds_no_time_left_in_its_process_is_put_back_unclaimed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = suspects(house, 2)
    within = house.provider.timeout + SETTLE_RESERVE + timedelta(seconds=2)
    spent(house, monkeypatch, at_step="delivery.after_claim", seconds=2)
    before = len(waiting(house, "tidings.email"))
    house.delivery.deliver(letters(*rows), within=within)
    assert [house.row(row).attempt for row in rows] == [1, 1]
    assert not house.provider.calls
    house.clock.advance(seconds=1)
    assert len(waiting(house, "tidings.email")) == before + 2


def test_without_time_for_one_call_it_waits_and_the_log_says_what_to_raise(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [added(house), *suspects(house, 1)]
    for _ in range(3):
        house.delivery.deliver(letters(*rows), within=house.provider.timeout + SETTLE_RESERVE)
        house.clock.advance(minutes=3)
    assert not house.provider.calls
    for row in rows:
        after = house.row(row)
        assert (after.status, after.error_class, after.error_code) == (Status.RETRYING, "account", "no_time")
        assert "time-out leaves no room for one call" in str(after.error_message)
        assert after.uncounted_attempts == 3  # none is worn out
    alarms = [record for record in caplog.records if record.msg == "retry_scheduled" and record.levelname == "ERROR"]
    assert {entry["code"] for record in alarms for entry in record.each} == {"no_time"}  # type: ignore[attr-defined]
    spent(house, monkeypatch, at_step="delivery.after_claim", seconds=0)
    house.delivery.deliver(letters(*rows), within=house.provider.timeout + SETTLE_RESERVE * 2)
    assert [house.row(row).status for row in rows] == [Status.SENT, Status.SENT]


def test_what_was_sent_is_tried_to_be_written_down_no_longer_than_its_process_lives(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = added(house)
    tried: list[timedelta] = []
    commit = Settler.record

    def watched(self: Settler, *args: Any, within: timedelta, **kwargs: Any) -> None:
        tried.append(within)
        commit(self, *args, within=within, **kwargs)

    monkeypatch.setattr(Settler, "record", watched)
    house.delivery.deliver(letters(row), within=timedelta(seconds=90))
    assert timedelta(seconds=60) < tried[0] < timedelta(seconds=90)


# --- our own parts fail -----------------------------------------------------------------------------------------------


def test_without_the_broker_what_was_sent_is_settled_and_the_letter_is_owed(house: House) -> None:
    good, bad = added(house), added(house)
    house.provider.script[bad.recipient] = [PermanentError("550", "no")]
    house.broker.down = True
    with pytest.raises(BrokerUnavailable):
        house.delivery.deliver(letters(good, bad))
    assert house.row(good).status is Status.SENT
    assert house.row(bad).status is Status.FAILED
    house.clock.advance(seconds=10)
    assert [row.id for row in house.store.overdue(10, timedelta(seconds=30)).dead_letters_owed] == [bad.id]


def test_a_database_that_is_away_for_a_moment_costs_no_second_send(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = added(house)
    settle, failures = house.store.settle, [StoreUnavailable("gone"), StoreUnavailable("gone")]

    def failing(ends: Sequence[Settlement], *, dead_letters_owed: bool = False) -> Sequence[Settlement]:
        if failures:
            raise failures.pop()
        return settle(ends, dead_letters_owed=dead_letters_owed)

    monkeypatch.setattr(house.store, "settle", failing)
    house.delivery.deliver(letters(row))
    house.delivery.deliver(letters(row))
    assert house.row(row).status is Status.SENT
    assert len(house.provider.calls) == 1


def test_a_claim_that_fails_sends_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    row = added(house)

    def failing(*_: object, **__: object) -> Claims:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(house.store, "claim", failing)
    with pytest.raises(StoreUnavailable):
        house.delivery.deliver(letters(row))
    assert not house.provider.calls


def test_a_log_line_names_no_recipient(house: House, caplog: pytest.LogCaptureFixture) -> None:
    rows = [added(house) for _ in range(3)]
    house.provider.script[rows[0].recipient] = [RuntimeError(f"a message with {rows[0].recipient}")]
    with caplog.at_level(logging.DEBUG, logger="tidings"):
        house.delivery.deliver(letters(*rows))
    assert caplog.records
    for record in caplog.records:
        assert not [row for row in rows if row.recipient in str(record.__dict__)]

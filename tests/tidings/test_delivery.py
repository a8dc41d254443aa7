"""The delivery pipeline: claim, send, settle."""

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
from tests.tidings.conftest import Parts, set_worker_clock

DUE = ("tidings.email.high", "tidings.email")


def incoming(*rows: Notification) -> list[IncomingMessage]:
    return [IncomingMessage(queue="tidings.email", body=b"", message=make.message(row)) for row in rows]


def waiting(parts: Parts, queue: str) -> Sequence[Received]:
    """What is in the queue now; it stays there."""
    consumer = parts.broker.consume((queue,))
    found = consumer.receive(100, timedelta(0))
    consumer.close()
    return found


def added(parts: Parts, **changes: object) -> Notification:
    row = make.notification(parts.clock(), **changes)
    parts.store.insert([row])
    return row


def test_an_accepted_notification_is_sent(parts: Parts) -> None:
    row = added(parts)
    parts.delivery.deliver(incoming(row))
    after = parts.row(row)
    assert (after.status, after.provider, after.provider_message_id) == (Status.SENT, "scripted", f"receipt-{row.id}")
    assert [call.id for call in parts.provider.calls] == [row.id]


def test_a_repeated_message_sends_once(parts: Parts) -> None:
    row = added(parts)
    for _ in range(3):
        parts.delivery.deliver(incoming(row, row))
    assert len(parts.provider.calls) == 1


def test_one_failed_call_does_not_affect_its_neighbours(parts: Parts) -> None:
    rows = [added(parts) for _ in range(10)]
    parts.provider.script[rows[3].recipient] = [PermanentError("550", "no such user")]
    parts.provider.script[rows[4].recipient] = [RuntimeError("a fault of the provider's code")]
    parts.delivery.deliver(incoming(*rows))
    statuses = [parts.row(row).status for row in rows]
    assert statuses.count(Status.SENT) == 8
    assert (statuses[3], statuses[4]) == (Status.FAILED, Status.RETRYING)


def test_a_transient_error_is_retried_on_schedule_until_the_attempts_are_used_up(parts: Parts) -> None:
    row = added(parts, max_attempts=3)
    parts.provider.script[row.recipient] = [TransientError("451", "later") for _ in range(3)]
    delays = []
    for _ in range(3):
        parts.delivery.deliver(incoming(row))
        after = parts.row(row)
        if after.next_attempt_at is not None and after.status is Status.RETRYING:
            delays.append(after.next_attempt_at - parts.clock())
            parts.clock.now = after.next_attempt_at
    assert delays == list(timing.RETRY_STEPS[:2])
    assert parts.row(row).status is Status.FAILED
    assert len(parts.provider.calls) == 3
    (letter,) = waiting(parts, "tidings.email.dead")
    assert (letter.headers["tidings-class"], letter.headers["tidings-code"]) == ("transient", "451")


def test_a_retry_waits_for_the_providers_retry_after(parts: Parts) -> None:
    row = added(parts)
    error = TransientError("429", "slow down", retry_after=timedelta(minutes=3))
    parts.provider.script[row.recipient] = [error]
    parts.delivery.deliver(incoming(row))
    after = parts.row(row)
    assert after.next_attempt_at == parts.clock() + timedelta(minutes=3)


def test_a_permanent_error_is_dead_lettered_at_once(parts: Parts) -> None:
    row = added(parts)
    parts.provider.script[row.recipient] = [PermanentError("550", "no such user")]
    parts.delivery.deliver(incoming(row))
    assert parts.row(row).status is Status.FAILED
    assert len(waiting(parts, "tidings.email.dead")) == 1


def test_a_refused_account_counts_no_attempt_and_one_refusal_raises_no_alarm(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    row = added(parts, max_attempts=2)
    refusals = [AccountError("535", "bad credentials") for _ in range(4)]
    parts.provider.script[row.recipient] = [*refusals, TransientError("451", "later")]
    with caplog.at_level(logging.ERROR, logger="tidings"):
        for _ in range(5):
            parts.delivery.deliver(incoming(row))
            parts.clock.advance(minutes=3)
    assert not caplog.records
    after = parts.row(row)
    assert (after.status, after.attempt, after.uncounted_attempts) == (Status.RETRYING, 5, 4)
    parts.delivery.deliver(incoming(row))
    assert parts.row(row).status is Status.SENT


@pytest.mark.parametrize(("policy", "end"), [(OnAmbiguous.RESEND, Status.RETRYING), (OnAmbiguous.HOLD, Status.UNKNOWN)])
def test_on_ambiguous_decides_what_follows_an_ambiguous_outcome(parts: Parts, policy: OnAmbiguous, end: Status) -> None:
    row = added(parts, on_ambiguous=policy)
    parts.provider.script[row.recipient] = [AmbiguousError("timeout", "no answer")]
    parts.delivery.deliver(incoming(row))
    assert parts.row(row).status is end


def test_a_retry_keeps_its_priority(parts: Parts) -> None:
    row = added(parts, priority=Priority.HIGH)
    parts.provider.script[row.recipient] = [TransientError("451", "later")]
    parts.delivery.deliver(incoming(row))
    parts.clock.advance(seconds=1)
    (message,) = waiting(parts, "tidings.email.high")
    assert message.message_id == f"{row.id}:1:1"


def test_a_message_that_is_too_early_is_redelivered_when_it_is_due(parts: Parts) -> None:
    row = added(parts, next_attempt_at=parts.clock() + timedelta(seconds=5))
    parts.delivery.deliver(incoming(row))
    assert not parts.provider.calls
    assert not waiting(parts, "tidings.email")
    parts.clock.advance(seconds=5)
    assert len(waiting(parts, "tidings.email")) == 1


def test_an_unreadable_message_is_parked_and_its_neighbours_are_delivered(parts: Parts) -> None:
    row = added(parts)
    garbage = IncomingMessage(queue="tidings.email", body=b"garbage", message=None, unreadable="no JSON")
    parts.delivery.deliver([garbage, *incoming(row)])
    assert parts.row(row).status is Status.SENT
    (parked,) = waiting(parts, topology.PARKING)
    assert (parked.body, parked.headers["tidings-queue"]) == (b"garbage", "tidings.email")


def test_content_of_a_newer_release_waits_without_a_counted_attempt(parts: Parts) -> None:
    """In the middle of an update: it burns no attempt, and is nobody's fault."""
    row = added(parts, content='{"from_the_future": true}', max_attempts=1)
    parts.delivery.deliver(incoming(row))
    after = parts.row(row)
    assert (after.status, after.error_code, after.uncounted_attempts) == (Status.RETRYING, "content_version", 1)
    assert not parts.provider.calls


LATER_HEADERS = {"ce-type": f"{FAMILY}{SCHEMA + 1}", "ce-id": "anything", "ce-shard": "7", "x-death": "of 3.10"}


def later(queue: str = "tidings.email", **headers: str) -> IncomingMessage:
    """What a later version's message is to us."""
    (letter,) = from_event(to_event([(queue, b"\x01 its body", {"headers": LATER_HEADERS | headers}, False)]), "email")
    return letter


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("queue", ["tidings.email", "tidings.email.high"])
def test_a_newer_releases_message_is_deferred_unchanged_and_not_parked(
    parts: Parts, queue: str, paused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    row = added(parts)
    batch = [later(queue), *incoming(row), later(queue)]
    (parts.delivery.defer if paused else parts.delivery.deliver)(batch)
    assert parts.row(row).status is (Status.PENDING if paused else Status.SENT)
    assert [
        record.__dict__["messages"] for record in caplog.records if record.msg == "unsupported_version_deferred"
    ] == [2]
    assert not waiting(parts, topology.PARKING)
    assert not waiting(parts, queue), "it would spin"
    parts.clock.advance(seconds=30)
    back = [item for item in waiting(parts, queue) if item.body == later().body]
    assert [item.headers for item in back] == [{n: v for n, v in LATER_HEADERS.items() if n != "x-death"}] * 2
    assert {(item.message_id, item.deliveries) for item in back} == {("anything", 1)}


def test_a_message_of_an_unknown_type_is_parked(parts: Parts) -> None:
    for kind in ("other", f"{FAMILY}0", f"{FAMILY}2x", f"{FAMILY}", f"x{FAMILY}2"):
        parts.delivery.deliver([later(**{"ce-type": kind})])
    parts.clock.advance(seconds=30)
    assert len(waiting(parts, topology.PARKING)) == 5
    assert not waiting(parts, "tidings.email")


def test_a_notification_that_expires_after_its_claim_is_not_sent(parts: Parts) -> None:
    row = added(parts, expires_at=parts.clock() + timedelta(microseconds=1))
    parts.delivery.deliver(incoming(row))
    assert parts.row(row).status is Status.EXPIRED
    assert not parts.provider.calls


def test_the_provider_is_told_how_long_the_notification_lives(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    row = added(parts, expires_at=parts.clock() + timedelta(seconds=30))
    spent(parts, monkeypatch, at_step="delivery.after_claim", seconds=2)
    parts.delivery.deliver(incoming(row))
    (call,) = parts.provider.calls
    assert call.time_to_live == timedelta(seconds=28)


@pytest.mark.parametrize("priority", list(Priority))
def test_the_provider_is_told_the_priority(parts: Parts, priority: Priority) -> None:
    row = added(parts, priority=priority)
    parts.delivery.deliver(incoming(row))
    (call,) = parts.provider.calls
    assert call.priority is priority


def test_no_call_starts_under_a_lease_that_is_about_to_expire(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    row = added(parts)
    spent(parts, monkeypatch, at_step="delivery.after_claim", seconds=41)  # of 60, and it was not renewed
    parts.delivery.deliver(incoming(row))
    after = parts.row(row)
    assert not parts.provider.calls
    assert (after.status, after.uncounted_attempts) == (Status.RETRYING, 1)


class Killed(BaseException):
    """The process is gone: nothing catches it."""


def suspects(parts: Parts, count: int) -> list[Notification]:
    """Due again, after the worker that had them was lost."""
    rows = [added(parts) for _ in range(count)]
    parts.store.claim([make.message(row) for row in rows], timedelta(seconds=60))
    for _ in range(3):
        parts.clock.advance(minutes=2)
        Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()
    return rows


def test_a_notification_that_kills_its_worker_is_sent_alone_afterwards(parts: Parts) -> None:
    killer, *others = suspects(parts, 3)
    fresh = added(parts)
    parts.provider.script[killer.recipient] = [Killed()]  # type: ignore[list-item]
    with pytest.raises(Killed):
        parts.delivery.deliver(incoming(*others[:1], killer, *others[1:], fresh))
    parts.delivery.deliver(incoming(others[1]))
    assert [parts.row(row).status for row in (killer, *others, fresh)] == [Status.SENDING, *[Status.SENT] * 3]
    assert len(parts.provider.calls) == 4


# --- the time of an invocation ---------------------------------------------------------------------------------------


def spent(parts: Parts, monkeypatch: pytest.MonkeyPatch, *, at_step: str, seconds: float) -> None:
    """So much time goes by, by the worker's clock, when it comes to this step; and none that the machine takes."""
    late: list[float] = []
    set_worker_clock(monkeypatch, lambda: sum(late))
    monkeypatch.setattr(failpoints, "step", lambda reached: late.append(seconds) if reached == at_step else None)


def test_no_call_starts_that_could_outlast_its_process(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    row = added(parts)
    within = parts.provider.timeout + SETTLE_RESERVE + timedelta(seconds=2)
    spent(parts, monkeypatch, at_step="delivery.after_claim", seconds=2)
    parts.delivery.deliver(incoming(row), within=within)
    after = parts.row(row)
    assert not parts.provider.calls
    assert (after.status, after.uncounted_attempts, after.error_code) == (Status.RETRYING, 1, None)
    parts.clock.advance(seconds=1)
    spent(parts, monkeypatch, at_step="delivery.after_claim", seconds=0)
    parts.delivery.deliver(incoming(row), within=within)
    assert (parts.row(row).status, len(parts.provider.calls)) == (Status.SENT, 1)


def test_an_isolated_notification_without_time_left_is_deferred_unclaimed(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = suspects(parts, 2)
    within = parts.provider.timeout + SETTLE_RESERVE + timedelta(seconds=2)
    spent(parts, monkeypatch, at_step="delivery.after_claim", seconds=2)
    before = len(waiting(parts, "tidings.email"))
    parts.delivery.deliver(incoming(*rows), within=within)
    assert [parts.row(row).attempt for row in rows] == [1, 1]
    assert not parts.provider.calls
    parts.clock.advance(seconds=1)
    assert len(waiting(parts, "tidings.email")) == before + 2


def test_a_time_out_too_short_for_one_call_defers_and_the_log_says_what_to_raise(
    parts: Parts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [added(parts), *suspects(parts, 1)]
    for _ in range(3):
        parts.delivery.deliver(incoming(*rows), within=parts.provider.timeout + SETTLE_RESERVE)
        parts.clock.advance(minutes=3)
    assert not parts.provider.calls
    for row in rows:
        after = parts.row(row)
        assert (after.status, after.error_class, after.error_code) == (Status.RETRYING, "account", "no_time")
        assert "time-out leaves no room for one call" in str(after.error_message)
        assert after.uncounted_attempts == 3  # none is worn out
    alarms = [record for record in caplog.records if record.msg == "retry_scheduled" and record.levelname == "ERROR"]
    assert {entry["code"] for record in alarms for entry in record.each} == {"no_time"}  # type: ignore[attr-defined]
    spent(parts, monkeypatch, at_step="delivery.after_claim", seconds=0)
    parts.delivery.deliver(incoming(*rows), within=parts.provider.timeout + SETTLE_RESERVE * 2)
    assert [parts.row(row).status for row in rows] == [Status.SENT, Status.SENT]


def test_recording_is_retried_no_longer_than_the_process_lives(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    row = added(parts)
    tried: list[timedelta] = []
    commit = Settler.record

    def watched(self: Settler, *args: Any, within: timedelta, **kwargs: Any) -> None:
        tried.append(within)
        commit(self, *args, within=within, **kwargs)

    monkeypatch.setattr(Settler, "record", watched)
    parts.delivery.deliver(incoming(row), within=timedelta(seconds=90))
    assert timedelta(seconds=60) < tried[0] < timedelta(seconds=90)


# --- our own parts fail -----------------------------------------------------------------------------------------------


def test_without_the_broker_rows_are_settled_and_the_dead_letter_is_owed(parts: Parts) -> None:
    good, bad = added(parts), added(parts)
    parts.provider.script[bad.recipient] = [PermanentError("550", "no")]
    parts.broker.down = True
    with pytest.raises(BrokerUnavailable):
        parts.delivery.deliver(incoming(good, bad))
    assert parts.row(good).status is Status.SENT
    assert parts.row(bad).status is Status.FAILED
    parts.clock.advance(seconds=10)
    assert [row.id for row in parts.store.overdue(10, timedelta(seconds=30)).dead_letters_owed] == [bad.id]


def test_a_short_database_outage_causes_no_second_send(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    row = added(parts)
    settle, failures = parts.store.settle, [StoreUnavailable("gone"), StoreUnavailable("gone")]

    def failing(ends: Sequence[Settlement], *, dead_letters_owed: bool = False) -> Sequence[Settlement]:
        if failures:
            raise failures.pop()
        return settle(ends, dead_letters_owed=dead_letters_owed)

    monkeypatch.setattr(parts.store, "settle", failing)
    parts.delivery.deliver(incoming(row))
    parts.delivery.deliver(incoming(row))
    assert parts.row(row).status is Status.SENT
    assert len(parts.provider.calls) == 1


def test_a_claim_that_fails_sends_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    row = added(parts)

    def failing(*_: object, **__: object) -> Claims:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(parts.store, "claim", failing)
    with pytest.raises(StoreUnavailable):
        parts.delivery.deliver(incoming(row))
    assert not parts.provider.calls


def test_a_log_line_names_no_recipient(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    rows = [added(parts) for _ in range(3)]
    parts.provider.script[rows[0].recipient] = [RuntimeError(f"a message with {rows[0].recipient}")]
    with caplog.at_level(logging.DEBUG, logger="tidings"):
        parts.delivery.deliver(incoming(*rows))
    assert caplog.records
    for record in caplog.records:
        assert not [row for row in rows if row.recipient in str(record.__dict__)]

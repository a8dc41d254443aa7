"""What happens to a notification is told: to the log, and to whoever else watches."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from tidings.domain.errors import AccountError, AmbiguousError, BrokerUnavailable, PermanentError, TransientError
from tidings.domain.notification import Notification, OnAmbiguous, Status
from tidings.messaging.envelope import IncomingMessage
from tidings.observability.events import Accepted, Claimed, Event, Queued, Settled
from tidings.observability.log_catalog import LIFECYCLE
from tidings.observability.log_observer import LogObserver
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline.delivery import Delivery
from tidings.pipeline.intake import Intake
from tidings.pipeline.outgoing import message_for
from tidings.pipeline.replay import Replay
from tidings.pipeline.sweep import Sweep
from tidings.ports import Selection

from tests.make import notification
from tests.tidings.conftest import Parts

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
RECEIPTS = {"receipt_recorded", "doubled", "receipt_dropped"}  # see test_receipts
FIELDS = {event.name: set(event.fields) for event in LIFECYCLE}


@dataclass
class Watcher:
    """Keeps what it is told."""

    facts: list[Event] = field(default_factory=list)
    flushed: int = 0

    def observe(self, fact: Event) -> None:
        self.facts.append(fact)

    def flush(self) -> None:
        self.flushed += 1


class Broken:
    """Fails at everything."""

    def observe(self, fact: Event) -> None:
        raise RuntimeError(f"with what a user sent: {fact}")

    def flush(self) -> None:
        raise OSError


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="tidings")
    return caplog


def told(log: pytest.LogCaptureFixture, *, of: Notification | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The lines of events, in order."""
    lines = [
        (record.getMessage(), {name: value for name, value in entry.items() if value is not None})
        for record in log.records
        for entry in getattr(record, "each", ())
    ]
    return [line for line in lines if of is None or line[1].get("notification_id") == of.id]


def names(lines: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    return [name for name, _ in lines]


def accepted(parts: Parts, *rows: Notification, observers: Observers = LOG_ONLY) -> list[IncomingMessage]:
    Intake(store=parts.store, broker=parts.broker, observers=observers).accept(rows)
    return [IncomingMessage(queue="tidings.email", body=b"", message=message_for(row)) for row in rows]


def watched(parts: Parts, observers: Observers) -> Delivery:
    return replace(parts.delivery, observers=observers, settler=replace(parts.settler, observers=observers))


# --- the log ----------------------------------------------------------------------------------------------------------


def test_the_log_has_every_step_of_a_notification_by_its_id(parts: Parts, log: pytest.LogCaptureFixture) -> None:
    row = notification(parts.clock(), traceparent=TRACEPARENT, recipient="adelaide@example.com")
    incoming = accepted(parts, row)
    parts.provider.script[row.recipient] = [TransientError("451", "later"), PermanentError("550", "no adelaide")]
    parts.clock.advance(seconds=2)
    parts.delivery.deliver(incoming)
    parts.clock.advance(seconds=3)
    parts.delivery.deliver(incoming)
    Replay(store=parts.store, broker=parts.broker).replay(Selection(tenant="acme"), limit=1)
    again = parts.row(row)
    parts.delivery.deliver([replace(incoming[0], message=message_for(again))])
    parts.delivery.deliver(incoming)
    lines = told(log, of=row)
    assert names(lines) == [
        *("accepted", "queued", "claimed", "retry_scheduled", "claimed", "dead_lettered"),
        *("replayed", "queued", "claimed", "sent", "stale_message_dropped"),
    ]
    assert {line["trace_id"] for _, line in lines[:-1]} == {TRACE}
    assert {(line.get("tenant", "acme"), line["channel"]) for _, line in lines} == {("acme", "email")}
    waits = [line["waited_seconds"] for name, line in lines if name == "claimed" and "waited_seconds" in line]
    assert waits == [2.0, 2.0]  # the retry was due after one of three
    by_name = dict(lines)
    retry = by_name["retry_scheduled"]
    assert (retry["provider"], retry["code"], retry["error_class"], retry["attempt"], retry["retry_in_seconds"]) == (
        *("scripted", "451", "transient", 1, 1.0),
    )
    assert by_name["dead_lettered"]["recipient"] == by_name["accepted"]["recipient"] == "a***@example.com"
    assert 0 <= by_name["sent"]["duration_seconds"] < 30  # the machine's own time, which may be busy
    assert "end_to_end_seconds" not in by_name["sent"]  # an operator's time is not ours
    assert "adelaide" not in str(told(log))


def test_the_time_from_post_to_acceptance_is_logged(parts: Parts, log: pytest.LogCaptureFixture) -> None:
    at = parts.clock()
    now, later = notification(at), notification(at, send_at=at + timedelta(seconds=30), next_attempt_at=at)
    incoming = accepted(parts, now, later)
    parts.clock.advance(seconds=40)
    parts.delivery.deliver(incoming)
    elapsed = {line["notification_id"]: line["end_to_end_seconds"] for name, line in told(log) if name == "sent"}
    # And what the machine itself took from the claim on.
    assert 40 <= elapsed[now.id] < 70
    assert 10 <= elapsed[later.id] < 40


@pytest.mark.parametrize(
    ("policy", "end"), [(OnAmbiguous.RESEND, "retry_scheduled"), (OnAmbiguous.HOLD, "held_unknown")]
)
def test_an_ambiguous_outcome_has_its_own_log_event(
    parts: Parts, log: pytest.LogCaptureFixture, policy: OnAmbiguous, end: str
) -> None:
    row = notification(parts.clock(), on_ambiguous=policy)
    incoming = accepted(parts, row)
    parts.provider.script[row.recipient] = [AmbiguousError("timeout", f"no answer about {row.recipient}")]
    parts.delivery.deliver(incoming)
    assert names(told(log, of=row))[-2:] == ["ambiguous", end]
    [record] = [record for record in log.records if record.getMessage() == "ambiguous"]
    assert record.levelno == logging.WARNING
    [said] = [line for name, line in told(log) if name == "ambiguous"]
    assert (said["code"], said["on_ambiguous"], said["provider"]) == ("timeout", policy, "scripted")


ACCOUNT = {"account_refused", "account_restored"}
"""Told of a provider and not of notifications: tests/tidings/test_account.py has them."""


def test_a_line_has_the_fields_of_the_catalog_and_no_full_recipient(
    parts: Parts, log: pytest.LogCaptureFixture
) -> None:
    hold, at = OnAmbiguous.HOLD, parts.clock()
    errors: list[Exception | None] = [
        None,
        TransientError("451", "later"),
        PermanentError("550", "never"),
        AccountError("535", "who are you"),
        AmbiguousError("timeout", "?"),
        RuntimeError("with a recipient"),
    ]
    rows = [notification(at, on_ambiguous=hold, recipient=f"somebody{n}@example.com") for n in range(len(errors))]
    incoming = accepted(parts, *rows)
    for row, error in zip(rows, errors, strict=True):
        if error is not None:
            parts.provider.script[row.recipient] = [error]
    intake, replay = (
        Intake(store=parts.store, broker=parts.broker),
        Replay(store=parts.store, broker=parts.broker),
    )
    parts.delivery.deliver([*incoming, incoming[0]])
    parts.delivery.deliver(incoming)
    intake.cancel("acme", rows[3].id)
    replay.mark_sent("acme", rows[4].id)
    replay.again("acme", rows[5].id)
    replay.replay(Selection(tenant="acme"), limit=10)
    lost, taken = rows[5], message_for(parts.row(rows[5]))
    parts.store.claim([taken], timedelta(seconds=1))
    for _ in range(3):
        parts.clock.advance(minutes=2)
        Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()
    lines = told(log)
    assert parts.row(lost).status is Status.UNKNOWN
    others = {"expired", "suppressed", "settled_late", "mails_returned", *ACCOUNT, *RECEIPTS}
    expected = {event.name for event in LIFECYCLE} - others
    assert set(names(lines)) == expected
    for name, line in lines:
        assert set(line) <= FIELDS[name], name
    text = "\n".join(str(vars(record)) for record in log.records)
    assert [row.recipient for row in rows if row.recipient in text] == []
    assert "with a recipient" not in text


def test_the_answer_to_a_late_worker_is_logged(parts: Parts, log: pytest.LogCaptureFixture) -> None:
    row = notification(parts.clock())
    accepted(parts, row)
    late = parts.store.claim([message_for(row)], timedelta(seconds=1))
    for _ in range(2):
        parts.clock.advance(seconds=10)
        Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()
    end = parts.settler.settlement_for(late, late.acquired[0], PermanentError("550", "no"), provider="smtp")
    parts.settler.record([end])
    name, said = told(log, of=row)[-1]
    assert (name, said["status"], said["provider"], said["code"]) == ("settled_late", "failed", "smtp", "550")
    assert set(said) <= FIELDS[name]


def test_no_line_is_built_below_the_log_level(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="tidings")
    row = notification(parts.clock())
    parts.delivery.deliver(accepted(parts, row))
    assert not caplog.records


# --- whoever watches --------------------------------------------------------------------------------------------------


def test_a_batch_is_one_event_per_claim_and_per_settlement(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tidings.pipeline.settlement_buffer.RECORD_WITHIN", timedelta(hours=1)
    )  # however slow the machine is
    watcher = Watcher()
    observers = Observers(observers=[watcher])
    incoming = accepted(parts, *[notification(parts.clock()) for _ in range(50)], observers=observers)
    replace(watched(parts, observers), concurrency=50).deliver(incoming)
    assert Counter(map(type, watcher.facts)) == {Accepted: 1, Queued: 1, Claimed: 1, Settled: 1}


def test_a_failing_observer_does_not_undo_a_send(parts: Parts, log: pytest.LogCaptureFixture) -> None:
    watcher = Watcher()
    observers = Observers(observers=[Broken(), LogObserver(), watcher])
    row = notification(parts.clock())
    watched(parts, observers).deliver(accepted(parts, row, observers=observers))
    observers.flush()
    assert parts.row(row).status is Status.SENT
    assert (len(watcher.facts), watcher.flushed) == (4, 1)
    assert names(told(log)) == ["accepted", "queued", "claimed", "sent"]
    faults = [vars(record) for record in log.records if record.getMessage() == "telemetry_failed"]
    assert [(fault["observer"], fault["error"]) for fault in faults] == [("Broken", "RuntimeError")] * 4 + [
        ("Broken", "OSError")
    ]
    assert "with what a user sent" not in str(faults)


def test_settled_is_emitted_even_if_the_retry_cannot_be_published(parts: Parts, log: pytest.LogCaptureFixture) -> None:
    row = notification(parts.clock())
    incoming = accepted(parts, row)
    parts.provider.script[row.recipient] = [TransientError("451", "later")]
    parts.broker.down = True
    with pytest.raises(BrokerUnavailable):
        parts.delivery.deliver(incoming)
    assert names(told(log, of=row))[-1] == "retry_scheduled"


def test_queued_is_not_emitted_without_a_confirm(parts: Parts, log: pytest.LogCaptureFixture) -> None:
    parts.broker.down = True
    row = notification(parts.clock())
    accepted(parts, row)
    assert names(told(log, of=row)) == ["accepted"]
    parts.broker.down = False
    parts.clock.advance(minutes=1)
    Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()
    assert names(told(log, of=row)) == ["accepted", "queued"]
    [swept] = [line for name, line in told(log) if name == "swept"]
    assert (swept["published"], swept["lost"]) == (1, 1)


def test_a_scheduled_notification_does_not_count_as_lost(parts: Parts, log: pytest.LogCaptureFixture) -> None:
    due = parts.clock() + timedelta(minutes=1)
    accepted(parts, notification(parts.clock(), send_at=due, next_attempt_at=due))
    parts.clock.advance(minutes=2)
    Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()
    [swept] = [line for name, line in told(log) if name == "swept"]
    assert (swept["published"], swept["lost"]) == (1, 0)

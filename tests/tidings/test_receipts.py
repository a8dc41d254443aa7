"""What follows from a receipt: each row of the table in `pipeline.receipts`, and any order of them."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from tidings.domain.errors import AmbiguousError
from tidings.domain.notification import Notification, Status, TimelineEntry
from tidings.domain.receipt import PROOF_OF_ACCEPTANCE, PROOF_OF_FAILURE, WISHES, By, Receipt, ReceiptKind
from tidings.domain.timing import RECEIPTS_KEPT
from tidings.messaging.envelope import IncomingMessage
from tidings.observability.events import ReceiptsRecorded
from tidings.observability.log_catalog import LIFECYCLE
from tidings.observability.log_observer import LogObserver
from tidings.observability.metrics import Metric
from tidings.observability.metrics_observer import MetricsObserver
from tidings.observability.observers import Observers
from tidings.observability.tracing import Spans
from tidings.pipeline.receipts import Receipts, consequence, evidence
from tidings.pipeline.sweep import Sweep
from tidings.ports.receipts import Applied, Consequence, Result

from tests import make
from tests.clock import TestClock
from tests.tidings.conftest import Parts

ACCEPTED, DELIVERED = ReceiptKind.ACCEPTED, ReceiptKind.DELIVERED
SOFT, HARD = ReceiptKind.FAILED_SOFT, ReceiptKind.FAILED_HARD
AMBIGUOUS, TRANSIENT, PERMANENT = "ambiguous", "transient", "permanent"
NOW = TestClock()()


def row(status: Status, *, attempt: int = 1, **more: Any) -> Notification:
    return make.notification(NOW, status=status, attempt=attempt, channel="sms", **more)


def entry(status: Status, *, attempt: int = 1, generation: int = 1, **more: Any) -> TimelineEntry:
    return TimelineEntry(generation=generation, attempt=attempt, status=status, at=NOW, **more)


def ambiguous(status: Status = Status.RETRYING, **more: Any) -> TimelineEntry:
    return entry(status, error_class=AMBIGUOUS, error_code="timeout", **more)


def sent(message: str = "SM1", **more: Any) -> TimelineEntry:
    return entry(Status.SENT, provider="twilio", provider_message_id=message, **more)


def receipt(kind: ReceiptKind, *, message: str = "SM1", attempt: int | None = 1, generation: int | None = 1) -> Receipt:
    return Receipt(
        provider="twilio",
        connection="main",
        event_id=f"{message}:{kind}",
        kind=kind,
        at=NOW,
        provider_message_id=message,
        generation=generation,
        attempt=attempt,
        code="30003" if kind in PROOF_OF_FAILURE else None,
    )


def statuses(of: Notification, timeline: Sequence[TimelineEntry], *kinds: ReceiptKind) -> list[Status | None]:
    return [consequence(of, timeline, receipt(kind)).status for kind in kinds]


EVERY = (ACCEPTED, DELIVERED, SOFT, HARD)


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY)
def test_a_row_that_is_being_sent_keeps_its_receipts_until_it_is_settled(kind: ReceiptKind) -> None:
    assert consequence(row(Status.SENDING), [], receipt(kind)) == Consequence(result=Result.KEPT)


def test_retrying_after_an_ambiguous_attempt_ends_by_proof_of_acceptance() -> None:
    found = statuses(row(Status.RETRYING), [ambiguous()], *EVERY)
    assert found == [Status.SENT, Status.DELIVERED, Status.RETRYING, Status.FAILED]


def test_the_failed_attempt_of_a_retrying_row_is_no_longer_ambiguous() -> None:
    soft, hard = (consequence(row(Status.RETRYING), [ambiguous()], receipt(kind)).entry for kind in (SOFT, HARD))
    assert soft is not None
    assert (soft.error_class, soft.by, soft.attempt) == (TRANSIENT, By.RECEIPT, 1)
    assert hard is not None
    assert hard.error_class == PERMANENT


def test_an_earlier_attempts_failure_does_not_replace_the_last_ones() -> None:
    timeline = [ambiguous(), entry(Status.RETRYING, attempt=2, error_class=TRANSIENT)]
    found = consequence(row(Status.RETRYING, attempt=2), timeline, receipt(SOFT))
    assert (found.result, found.status) == (Result.RECORDED, None)


def test_an_unknown_row_is_decided() -> None:
    found = statuses(row(Status.UNKNOWN), [ambiguous(Status.UNKNOWN)], *EVERY)
    assert found == [Status.SENT, Status.DELIVERED, Status.UNDELIVERED, Status.UNDELIVERED]


def test_an_unknown_row_with_another_open_attempt_stays_unknown_after_one_failed() -> None:
    timeline = [ambiguous(), ambiguous(Status.UNKNOWN, attempt=2)]
    of = row(Status.UNKNOWN, attempt=2)
    first = consequence(of, timeline, receipt(SOFT))
    assert (first.result, first.status) == (Result.RECORDED, None)
    assert first.entry is not None
    second = consequence(of, [*timeline, first.entry], receipt(HARD, message="SM2", attempt=2))
    assert second.status is Status.UNDELIVERED


@pytest.mark.parametrize("before", [Status.FAILED, Status.UNKNOWN])
def test_a_replay_of_an_ambiguous_attempt_is_withdrawn_by_proof(before: Status) -> None:
    timeline = [ambiguous(before), entry(Status.PENDING, generation=2, attempt=0)]
    of = row(Status.PENDING, generation=2, attempt=0)
    assert statuses(of, timeline, *EVERY) == [Status.SENT, Status.DELIVERED, None, None]
    assert consequence(of, timeline, receipt(HARD)).result is Result.RECORDED


def test_a_replay_of_an_undelivered_one_is_withdrawn_by_delivery_alone() -> None:
    timeline = [sent(), sent_failed(TRANSIENT), entry(Status.PENDING, generation=2, attempt=0)]
    of = row(Status.PENDING, generation=2, attempt=0)
    assert statuses(of, timeline, *EVERY) == [None, Status.DELIVERED, None, None]


@pytest.mark.parametrize("status", [Status.FAILED, Status.EXPIRED, Status.CANCELED])
def test_what_ended_after_an_ambiguous_attempt_is_corrected(status: Status) -> None:
    timeline = [ambiguous(), entry(status)] if status is not Status.FAILED else [ambiguous(status)]
    assert statuses(row(status), timeline, *EVERY) == [Status.SENT, Status.DELIVERED, None, None]
    assert consequence(row(status), timeline, receipt(SOFT)).result is Result.RECORDED


def test_what_was_proven_not_accepted_needs_a_delivery_to_be_corrected() -> None:
    timeline = [entry(Status.FAILED, error_class=TRANSIENT)]
    assert statuses(row(Status.FAILED), timeline, ACCEPTED, DELIVERED) == [None, Status.DELIVERED]


def test_a_sent_row_becomes_delivered_or_undelivered() -> None:
    found = statuses(row(Status.SENT, provider_message_id="SM1"), [sent()], *EVERY)
    assert found == [None, Status.DELIVERED, Status.UNDELIVERED, Status.UNDELIVERED]


def test_only_a_hard_failure_comes_after_a_delivery() -> None:
    timeline = [sent(), entry(Status.DELIVERED, provider_message_id="SM1")]
    assert statuses(row(Status.DELIVERED), timeline, *EVERY) == [None, None, None, Status.UNDELIVERED]
    assert consequence(row(Status.DELIVERED), timeline, receipt(ACCEPTED)) == Consequence(result=Result.NOTHING)


def sent_failed(error_class: str) -> TimelineEntry:
    return entry(Status.UNDELIVERED, provider_message_id="SM1", error_class=error_class)


def test_a_delivery_wins_over_a_soft_failure_only() -> None:
    assert statuses(row(Status.UNDELIVERED), [sent(), sent_failed(TRANSIENT)], *EVERY) == [
        None,
        Status.DELIVERED,
        None,
        None,
    ]
    assert statuses(row(Status.UNDELIVERED), [sent(), sent_failed(PERMANENT)], *EVERY) == [None] * 4


@pytest.mark.parametrize("kind", sorted(WISHES))
def test_what_is_neither_proof_is_recorded_and_decides_nothing(kind: ReceiptKind) -> None:
    assert set(ReceiptKind) == PROOF_OF_ACCEPTANCE | PROOF_OF_FAILURE | WISHES
    found = consequence(row(Status.SENT), [sent()], receipt(kind))
    assert (found.result, found.status) == (Result.RECORDED, None)
    assert found.entry is not None
    assert found.entry.note == f"the recipient {kind.replace('_', ' ')}"
    later = consequence(row(Status.SENT), [sent(), found.entry], receipt(SOFT))
    assert later.status is Status.UNDELIVERED, "a complaint is no proof of acceptance"


def test_a_status_of_a_later_release_is_left_to_it() -> None:
    found = replace(row(Status.SENT), status="quarantined")  # type: ignore[arg-type]
    assert consequence(found, [sent()], receipt(DELIVERED)).result is Result.KEPT


# --- two messages of one notification ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "then"),
    [
        (Status.SENT, ACCEPTED, None),
        (Status.SENT, DELIVERED, Status.DELIVERED),
        (Status.DELIVERED, ACCEPTED, None),
        (Status.DELIVERED, DELIVERED, None),
    ],
)
def test_a_second_acceptance_is_doubled_and_told_once(status: Status, kind: ReceiptKind, then: Status | None) -> None:
    timeline = [ambiguous(), entry(status, attempt=2, provider_message_id="SM2")]
    of = row(status, attempt=2, provider_message_id="SM2")
    found = consequence(of, timeline, receipt(kind))
    assert (found.doubled, found.status) == (True, then)
    assert found.entry is not None
    assert (found.entry.attempt, found.entry.provider_message_id) == (1, "SM1")
    again = consequence(of, [*timeline, found.entry], receipt(DELIVERED))
    assert not again.doubled


def test_a_replay_after_a_failure_is_not_doubled() -> None:
    timeline = [sent(), sent_failed(TRANSIENT), sent("SM2", generation=2)]
    of = row(Status.SENT, generation=2, provider_message_id="SM2")
    assert not consequence(of, timeline, receipt(DELIVERED, message="SM2", generation=2)).doubled


def test_one_messages_failure_does_not_undo_the_other() -> None:
    timeline = [ambiguous(), sent("SM2", attempt=2)]
    found = consequence(row(Status.SENT, attempt=2, provider_message_id="SM2"), timeline, receipt(HARD))
    assert (found.result, found.status) == (Result.RECORDED, None)


# --- any order --------------------------------------------------------------------------------------------------------


def ended(of: Notification, timeline: Sequence[TimelineEntry], kinds: Sequence[ReceiptKind]) -> Status:
    told = [*timeline]
    for kind in kinds:
        found = consequence(of, told, receipt(kind))
        if found.entry is not None:
            told.append(found.entry)
        if found.status is not None:
            of = replace(of, status=found.status, provider_message_id="SM1")
    return of.status


@pytest.mark.parametrize(
    ("kinds", "end"),
    [
        ((ACCEPTED, ACCEPTED, DELIVERED), Status.DELIVERED),
        ((ACCEPTED, SOFT, DELIVERED), Status.DELIVERED),
        ((ACCEPTED, HARD, DELIVERED), Status.UNDELIVERED),
        ((ACCEPTED, ACCEPTED, SOFT), Status.UNDELIVERED),
    ],
)
@pytest.mark.parametrize(
    ("status", "timeline"),
    [(Status.SENT, [sent()]), (Status.UNKNOWN, [ambiguous(Status.UNKNOWN)])],
    ids=["sent", "unknown"],
)
def test_any_order_ends_the_same(
    status: Status, timeline: list[TimelineEntry], kinds: tuple[ReceiptKind, ...], end: Status
) -> None:
    for order in itertools.permutations(kinds):
        assert ended(row(status, provider_message_id="SM1"), timeline, order) is end, order


# --- a lost worker ----------------------------------------------------------------------------------------------------


def test_only_a_receipt_of_the_present_attempt_tells_how_it_ended() -> None:
    of = row(Status.SENDING, attempt=2)
    assert evidence(of, [receipt(DELIVERED), receipt(DELIVERED, attempt=None)]) is None
    own = [receipt(SOFT, attempt=2), receipt(ACCEPTED, attempt=2)]
    assert evidence(of, own) == own[1]


def test_a_receipts_failure_tells_whether_another_try_may_help() -> None:
    assert [receipt(kind).error and receipt(kind).error.kind for kind in EVERY] == [None, None, TRANSIENT, PERMANENT]  # type: ignore[union-attr]


# --- with a worker, the sweep and the observers -----------------------------------------------------------------------


def told_by(row: Notification, kind: ReceiptKind, *, message: str = "SM1", attempt: int = 1) -> Receipt:
    found = receipt(kind, message=message, attempt=attempt)
    return replace(found, notification_id=row.id, provider="scripted", event_id=f"{message}:{kind}:{attempt}")


def abandon(parts: Parts, row: Notification) -> None:
    """A worker claims it and dies; its lease runs out."""
    parts.store.claim([make.message(row)], timedelta(seconds=60))


def sweep(parts: Parts) -> None:
    for seconds in (61, 6):  # a first look, and another after the grace
        parts.clock.advance(seconds=seconds)
        Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()


@pytest.mark.parametrize(
    ("kind", "end", "code"),
    [
        (ACCEPTED, Status.SENT, None),
        (DELIVERED, Status.DELIVERED, None),
        (SOFT, Status.RETRYING, "30003"),
        (HARD, Status.FAILED, "30003"),
        (None, Status.RETRYING, "lease_expired"),
    ],
)
def test_a_receipt_decides_about_the_attempt_of_a_lost_worker(
    parts: Parts, kind: ReceiptKind | None, end: Status, code: str | None
) -> None:
    row = make.notification(parts.clock())
    parts.add(row)
    abandon(parts, row)
    if kind is not None:
        Receipts(store=parts.store).record([replace(told_by(row, kind), raw_sha256="a" * 64)])
    assert parts.row(row).status is Status.SENDING
    sweep(parts)
    found = parts.row(row)
    assert (found.status, found.error_code) == (end, code)
    said = {(entry.by, entry.raw_sha256) for entry in parts.store.events(row.id)}
    assert said == {(By.SWEEP, None) if kind is None else (By.RECEIPT, "a" * 64)}


def test_evidence_in_time_keeps_an_ambiguous_notification_from_being_sent_twice(parts: Parts) -> None:
    row = make.notification(parts.clock())
    parts.add(row)
    parts.provider.script[row.recipient] = [AmbiguousError("timeout", "no answer")]
    incoming = [IncomingMessage(queue="tidings.email", body=b"", message=make.message(row))]
    parts.delivery.deliver(incoming)
    assert parts.row(row).status is Status.RETRYING
    Receipts(store=parts.store).record([told_by(row, ACCEPTED)])
    parts.clock.advance(seconds=60)
    parts.delivery.deliver(incoming)
    assert (parts.row(row).status, len(parts.provider.calls)) == (Status.SENT, 1)


def test_a_doubled_notification_is_logged_and_counted(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    row = make.notification(parts.clock())
    parts.add(row)
    parts.provider.script[row.recipient] = [AmbiguousError("timeout", "no answer")]
    for _ in range(2):
        parts.delivery.deliver([IncomingMessage(queue="tidings.email", body=b"", message=make.message(row))])
        parts.clock.advance(seconds=60)
    meter = Counts()
    receipts = Receipts(store=parts.store, observers=Observers(observers=(LogObserver(), MetricsObserver(meter))))
    for kind in (ACCEPTED, DELIVERED):
        receipts.record([told_by(row, kind)])
    assert [record.levelname for record in caplog.records if record.getMessage() == "doubled"] == ["WARNING"]
    assert meter.counted["tidings_doubled_total", "scripted"] == 1
    assert meter.counted["tidings_receipts_total", "scripted", "delivered", "applied"] == 1


class Counts:
    """Meter."""

    def __init__(self) -> None:
        self.counted = Counter[tuple[str, ...]]()
        self.recorded: dict[tuple[str, ...], list[float]] = {}

    def add(self, metric: Metric, labels: tuple[str, ...], amount: float) -> None:
        self.counted[(metric.name, *labels)] += int(amount)

    def record(self, metric: Metric, labels: tuple[str, ...], seconds: Sequence[float]) -> None:
        self.recorded.setdefault((metric.name, *labels), []).extend(seconds)

    def flush(self) -> None:
        """Nothing is buffered."""


def test_the_time_from_the_acceptance_to_its_report_is_measured_once(parts: Parts) -> None:
    """A copy, and a report of what is known, are no delays."""
    row = make.notification(parts.clock())
    parts.add(row)
    parts.delivery.deliver([IncomingMessage(queue="tidings.email", body=b"", message=make.message(row))])
    meter = Counts()
    recorder = Receipts(store=parts.store, observers=Observers(observers=[MetricsObserver(meter)]))
    parts.clock.advance(seconds=42)
    told = replace(told_by(row, DELIVERED, message=f"receipt-{row.id}"), at=parts.clock())
    recorder.record([told])
    recorder.record([told, replace(told, event_id="of another report")])
    ((name, seconds),) = meter.recorded.items()
    assert name == ("tidings_receipt_delay_seconds", "scripted", "delivered")
    assert len(seconds) == 1
    assert 41 < seconds[0] < 44


def test_a_report_of_an_attempt_without_an_acceptance_has_no_delay() -> None:
    timeline = [ambiguous(Status.UNKNOWN)]
    assert consequence(row(Status.UNKNOWN), timeline, receipt(DELIVERED)).delay is None


def test_the_sweep_tries_kept_receipts_again(parts: Parts) -> None:
    row = make.notification(parts.clock())
    early = replace(told_by(row, DELIVERED), notification_id=None, provider_message_id=f"receipt-{row.id}")
    (applied,) = Receipts(store=parts.store).record([early])
    assert applied.consequence.result is Result.UNMATCHED
    parts.add(row)
    parts.delivery.deliver([IncomingMessage(queue="tidings.email", body=b"", message=make.message(row))])
    parts.clock.advance(seconds=6)
    Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()
    assert parts.row(row).status is Status.DELIVERED


def test_a_sweep_deletes_any_number_of_old_receipts(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page: in a second, more of them can come than a page has."""
    rows = [make.notification(parts.clock()) for _ in range(5)]
    parts.add(*rows)
    messages = [IncomingMessage(queue="tidings.email", body=b"", message=make.message(row)) for row in rows]
    parts.delivery.deliver(messages)
    Receipts(store=parts.store).record([told_by(row, DELIVERED, message=row.id) for row in rows])
    monkeypatch.setattr("tidings.pipeline.sweep.PAGE", 2)
    monkeypatch.setattr("tidings.adapters.sql.receipt_retries.PAGE", 2)
    parts.clock.advance(seconds=RECEIPTS_KEPT.total_seconds() + 1)
    Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()
    assert parts.store.purge_receipts() == 0


def test_the_lines_about_receipts_have_the_fields_of_the_catalog(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="tidings")
    row = make.notification(parts.clock())
    dropped, doubled = Consequence(result=Result.DROPPED), Consequence(result=Result.RECORDED, doubled=True)
    several = [Applied(receipt=told_by(row, SOFT), consequence=dropped)]
    several.append(Applied(receipt=told_by(row, ACCEPTED), consequence=doubled, notification=row))
    LogObserver().observe(ReceiptsRecorded(receipts=several))
    fields = {event.name: set(event.fields) for event in LIFECYCLE}
    lines = [(record.getMessage(), entry) for record in caplog.records for entry in record.__dict__.get("each", ())]
    assert [name for name, _ in lines] == ["receipt_recorded", "doubled", "receipt_dropped"]
    for name, line in lines:
        assert {field for field, value in line.items() if value is not None} <= fields[name] | {"request_id"}, name


# --- mails: their receipts have no id of the message, and all mails of a notification have the same Message-ID --------


def mail_receipt(kind: ReceiptKind, *, attempt: int = 1, generation: int = 1) -> Receipt:
    return replace(receipt(kind, attempt=attempt, generation=generation), provider="smtp", provider_message_id=None)


def mailed(**more: Any) -> TimelineEntry:
    return sent("<x@example.com>", **more)


def test_a_report_about_a_mail_keeps_its_message_id_and_is_no_second_acceptance() -> None:
    found = consequence(row(Status.SENT), [mailed()], mail_receipt(DELIVERED))
    assert (found.status, found.doubled) == (Status.DELIVERED, False)
    assert found.entry is not None
    assert found.entry.provider_message_id == "<x@example.com>"


def test_a_late_bounce_of_a_mail_that_was_replayed_says_nothing_of_the_new_one() -> None:
    timeline = [mailed(), entry(Status.UNDELIVERED, error_class=TRANSIENT), mailed(generation=2)]
    of = row(Status.SENT, generation=2)
    assert consequence(of, timeline, mail_receipt(HARD)).status is None
    assert consequence(of, timeline, mail_receipt(HARD, generation=2)).status is Status.UNDELIVERED


def test_a_mail_that_arrived_after_an_ambiguous_attempt_and_was_sent_again_is_doubled() -> None:
    timeline = [ambiguous(), mailed(attempt=2)]
    of = row(Status.SENT, attempt=2)
    first = consequence(of, timeline, mail_receipt(DELIVERED))
    assert (first.status, first.doubled) == (Status.DELIVERED, True)
    assert first.entry is not None
    again = consequence(replace(of, status=Status.DELIVERED), [*timeline, first.entry], mail_receipt(SOFT))
    assert again == Consequence(result=Result.NOTHING)


class Told(Spans):
    """Its spans, instead of a collector."""

    told: ClassVar[list[tuple[str, str | None, Mapping[str, Any]]]] = []

    def _span(self, name: str, parent: str | None, *_: Any, attributes: Mapping[str, Any], **_more: Any) -> str:
        self.told.append((name, parent, attributes))
        return ""


def test_a_receipt_is_a_span_of_the_notifications_trace_if_that_is_sampled() -> None:
    Told.told.clear()
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    sampled, other = row(Status.DELIVERED, traceparent=traceparent), row(Status.DELIVERED)
    applied = Consequence(result=Result.APPLIED, delay=timedelta(seconds=7))
    known = Consequence(result=Result.NOTHING)
    told = [(sampled, applied), (other, applied), (sampled, known)]
    items = [Applied(receipt=receipt(DELIVERED), consequence=said, notification=of) for of, said in told]
    Told(resource=None, database="sqlite", broker="tidings").observe(ReceiptsRecorded(receipts=items))
    ((name, parent, attributes),) = Told.told
    assert (name, parent) == ("receipt twilio", traceparent)
    assert (attributes["tidings.receipt"], attributes["tidings.delay_seconds"]) == ("delivered", 7)
    assert sampled.recipient not in str(attributes)

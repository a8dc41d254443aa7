"""Metrics: what a real run through the real parts leaves at Prometheus and at CloudWatch."""

import json
import re
import threading
from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tidings.adapters.sql.insight import SqlInsight
from tidings.adapters.sql.webhooks import SqlWebhooks
from tidings.domain.connection import CallEnd
from tidings.domain.errors import (
    AmbiguousError,
    BrokerUnavailable,
    NotCalled,
    OnHold,
    PermanentError,
    StoreUnavailable,
    TransientError,
)
from tidings.domain.notification import Notification, OnAmbiguous
from tidings.domain.stopwatch import Elapsed
from tidings.messaging import topology
from tidings.messaging.envelope import IncomingMessage
from tidings.observability.cloudwatch import EmfMeter
from tidings.observability.events import Answered, Claimed
from tidings.observability.gauges import SystemGauges
from tidings.observability.metrics import (
    ACCEPTED,
    ACCOUNT_REFUSED,
    METRICS,
    NOTIFICATIONS,
    QUEUE_MESSAGES,
    WAIT_SECONDS,
    Gauge,
)
from tidings.observability.metrics_observer import MetricsObserver
from tidings.observability.observers import Observers
from tidings.observability.prometheus import PrometheusMeter
from tidings.pipeline.intake import Intake
from tidings.pipeline.outgoing import message_for
from tidings.pipeline.replay import Replay
from tidings.pipeline.sweep import Sweep
from tidings.ports import Selection

from tests.make import notification
from tests.tidings.conftest import Parts, set_worker_clock
from tests.tidings.test_observers import watched

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: bytes) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, /, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def incoming(*rows: Notification) -> list[IncomingMessage]:
    return [IncomingMessage(queue="tidings.email", body=b"", message=message_for(row)) for row in rows]


def a_day(parts: Parts, observers: Observers) -> None:
    """Three sent, one retried and then sent, one refused and replayed, one unknown and resolved, one canceled."""
    intake = Intake(store=parts.store, broker=parts.broker, observers=observers)
    rows = [notification(parts.clock(), on_ambiguous=OnAmbiguous.HOLD) for _ in range(7)]
    retried, refused, unknown, canceled = rows[3:]
    parts.provider.script[retried.recipient] = [TransientError("451", "later")]
    parts.provider.script[refused.recipient] = [PermanentError("550", "no")]
    parts.provider.script[unknown.recipient] = [AmbiguousError("timeout", "?")]
    intake.accept(rows)
    intake.cancel("acme", canceled.id)
    parts.clock.advance(seconds=3)
    delivery = watched(parts, observers)
    delivery.deliver(incoming(*rows))
    parts.clock.advance(seconds=3)
    delivery.deliver(incoming(retried))
    replay = Replay(store=parts.store, broker=parts.broker, observers=observers)
    replay.mark_sent("acme", unknown.id)
    replay.replay(Selection(tenant="acme"), limit=1)
    Sweep(store=parts.store, broker=parts.broker, settler=delivery.settler, observers=observers).run()
    observers.emit(Answered(status=202, elapsed=Elapsed(0.0, 0.004)))


def gauges_of(parts: Parts) -> SystemGauges:
    return SystemGauges(
        store=parts.store,
        insight=SqlInsight(parts.store.database),
        broker=parts.broker,
        webhooks=SqlWebhooks(parts.store.database),
    )


def test_prometheus_reads_what_became_of_everything(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the machine itself takes is in no bucket: it may be busy.
    set_worker_clock(monkeypatch, lambda: 0.0)
    meter = PrometheusMeter()
    a_day(parts, Observers(observers=[MetricsObserver(meter)]))
    found = samples(meter.exposition())
    assert value(found, "tidings_accepted_total", channel="email") == 7
    assert value(found, "tidings_queued_total", channel="email") == 8
    outcomes = {
        dict(labels)["status"]: count for (name, labels), count in found.items() if name == "tidings_outcomes_total"
    }
    assert outcomes == {"sent": 4, "retrying": 1, "failed": 1, "unknown": 1, "expired": 0, "suppressed": 0}
    attempts = {
        dict(labels)["class"]: count for (name, labels), count in found.items() if name == "tidings_attempts_total"
    }
    assert attempts == {"accepted": 4, "transient": 1, "permanent": 1, "ambiguous": 1, "account": 0}
    assert value(found, "tidings_provider_seconds_count", channel="email", provider="scripted") == 7
    assert value(found, "tidings_queue_wait_seconds_bucket", channel="email", le="2.5") == 1  # the retry, 2 s late
    assert value(found, "tidings_queue_wait_seconds_bucket", channel="email", le="5.0") == 7
    assert value(found, "tidings_end_to_end_seconds_count", channel="email") == 4
    assert value(found, "tidings_end_to_end_seconds_bucket", channel="email", le="5.0") == 3
    assert value(found, "tidings_accept_seconds_bucket", status="202", le="0.005") == 1
    assert value(found, "tidings_duplicates_dropped_total", channel="email") == 1
    assert value(found, "tidings_canceled_total", channel="email") == 1
    assert value(found, "tidings_replayed_total", channel="email") == 1
    assert value(found, "tidings_resolved_total", channel="email", outcome="sent") == 1
    assert value(found, "tidings_sweeps_total") == 1
    assert value(found, "tidings_sweep_found_total", found="lost") == 0


def test_a_call_that_was_not_made_is_no_attempt_and_has_no_duration(parts: Parts) -> None:
    """An endpoint that is busy or disabled, or a recipient whose name cannot be looked up now."""
    rows = [notification(parts.clock()) for _ in range(4)]
    errors = [NotCalled("endpoint_busy", "busy"), OnHold("endpoint_disabled", "off"), OnHold("410", "gone")]
    for row, error in zip(rows, errors, strict=False):
        parts.provider.script[row.recipient] = [error]
    parts.add(*rows)
    meter = PrometheusMeter()
    watched(parts, Observers(observers=[MetricsObserver(meter)])).deliver(incoming(*rows))
    found = samples(meter.exposition())
    attempts = {
        dict(labels)["class"]: count for (name, labels), count in found.items() if name == "tidings_attempts_total"
    }
    called = {"accepted": 1, "transient": 1}  # the one that is sent, and the endpoint that answered 410
    assert {kind: count for kind, count in attempts.items() if count} == called
    assert sum(count for (name, _), count in found.items() if name == "tidings_provider_seconds_count") == 2
    by = {row.id: parts.store.events(row.id)[-1].by for row in rows}
    assert [by[row.id] for row in rows] == ["sweep", "sweep", "provider", "provider"], "who says so"


def test_a_series_of_late_settlements_begins_with_the_claim_and_not_with_the_first_late_one(parts: Parts) -> None:
    """`increase()` does not see the first count of a series that begins with it. A settlement that is late comes at
    least a lease after its claim: a scrape sees the 0 between."""
    meter = PrometheusMeter()
    row = notification(parts.clock())
    parts.store.insert([row])
    claims = parts.store.claim([message_for(row)], timedelta(seconds=15))
    MetricsObserver(meter).observe(Claimed(claims=claims, elapsed=Elapsed(0.0, 0.0)))
    assert value(samples(meter.exposition()), "tidings_settled_late_total", channel="email") == 0


def test_no_label_has_a_value_chosen_by_a_caller_or_vendor(parts: Parts) -> None:
    meter = PrometheusMeter()
    a_day(parts, Observers(observers=[MetricsObserver(meter)]))
    text = " ".join(re.findall(r"\{.*?\}", meter.exposition().decode()))
    assert "scripted" in text
    for chosen in ("acme", "@", "451", "550", "timeout", "receipt"):
        assert chosen not in text


def test_two_processes_meters_know_nothing_of_each_other() -> None:
    first, second = PrometheusMeter(), PrometheusMeter()
    first.add(ACCEPTED, ("email",), 1)
    assert b'tidings_accepted_total{channel="email"} 1.0' in first.exposition()
    assert b'tidings_accepted_total{channel="email"}' not in second.exposition()


def test_threads_lose_no_count() -> None:
    meter = PrometheusMeter()

    def work() -> None:
        for _ in range(1000):
            meter.add(ACCEPTED, ("email",), 1)
            meter.record(WAIT_SECONDS, ("email",), [0.1, 3])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples(meter.exposition())
    assert value(found, "tidings_accepted_total", channel="email") == 4000
    assert value(found, "tidings_queue_wait_seconds_count", channel="email") == 8000


# --- gauges -----------------------------------------------------------------------------------------------------------


def test_the_gauges_tell_how_the_system_stands(parts: Parts) -> None:
    rows = [notification(parts.clock()) for _ in range(3)]
    parts.provider.script[rows[0].recipient] = [PermanentError("550", "no")]
    parts.provider.script[rows[1].recipient] = [TransientError("451", "later")]
    Intake(store=parts.store, broker=parts.broker).accept(rows)
    parts.clock.advance(seconds=30)
    parts.delivery.deliver(incoming(*rows[:2]))
    gauges = gauges_of(parts)()
    found = samples(PrometheusMeter().exposition(gauges))
    queue = {"kind": "work", "channel": "email", "queue": "tidings.email"}
    assert value(found, "tidings_queue_messages", **queue) == 3
    dead = {"kind": "dead", "channel": "email", "queue": "tidings.email.dead"}
    assert value(found, "tidings_queue_messages", **dead) == 1
    assert value(found, "tidings_oldest_due_seconds", channel="email") == 30
    assert value(found, "tidings_oldest_due_seconds", channel="sms") == 0
    assert value(found, "tidings_notifications", channel="email", status="failed") == 1
    assert value(found, "tidings_notifications", channel="email", status="unknown") == 0
    assert value(found, "tidings_part_up", part="database") == value(found, "tidings_part_up", part="broker") == 1


def test_a_refused_account_is_one_figure_of_its_channel_and_provider(parts: Parts) -> None:
    def shown() -> list[tuple[object, float]]:
        gauges = gauges_of(parts)()
        return [(gauge.labels, gauge.value) for gauge in gauges if gauge.metric is ACCOUNT_REFUSED]

    assert shown() == []
    ends = [CallEnd(notification_id=to, recipient=to, refused=True, code="401") for to in ("a", "b", "c")]
    parts.store.report("twilio", "sms", ends)
    assert shown() == [(("sms", "twilio"), 0)]
    parts.clock.advance(seconds=5)
    parts.store.report("twilio", "sms", ends)
    assert shown() == [(("sms", "twilio"), 1)]


def test_every_queue_of_the_topology_is_watched(parts: Parts) -> None:
    gauges = gauges_of(parts)()
    watched = [gauge.labels[0] for gauge in gauges if gauge.metric is QUEUE_MESSAGES]
    assert sorted(watched) == sorted(queue.name for queue in topology.queues())


def test_a_part_that_is_down_has_gauge_0_and_does_not_hide_the_others(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> int:
        raise BrokerUnavailable("down")

    monkeypatch.setattr(parts.broker, "depths", down)
    gauges = gauges_of(parts)()
    found = samples(PrometheusMeter().exposition(gauges))
    assert value(found, "tidings_part_up", part="broker") == 0
    assert value(found, "tidings_part_up", part="database") == 1
    assert value(found, "tidings_notifications", channel="sms", status="failed") == 0
    assert not [name for name, _ in found if name == "tidings_queue_messages"]

    def lost(*_: object) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(SqlInsight, "backlog", lost)
    found = samples(PrometheusMeter().exposition(gauges_of(parts)()))
    assert value(found, "tidings_part_up", part="database") == 0


# --- CloudWatch -------------------------------------------------------------------------------------------------------


def embedded(text: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in text.splitlines() if line]
    assert all(line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Tidings" for line in lines)
    return lines


def numbers(lines: list[dict[str, object]], name: str, **labels: str) -> list[float]:
    found: list[float] = []
    for line in lines:
        if name in line and labels.items() <= line.items():
            deferred = line[name]
            assert isinstance(deferred, list)
            found += deferred
    return found


def test_cloudwatch_reads_the_same_at_the_end_of_the_invocation(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    observers = Observers(observers=[MetricsObserver(EmfMeter("mail"))])
    a_day(parts, observers)
    assert capsys.readouterr().out == ""
    observers.flush()
    lines = embedded(capsys.readouterr().out)
    assert numbers(lines, "tidings_accepted_total", channel="email", service="mail") == [7]
    assert numbers(lines, "tidings_outcomes_total", channel="email", status="sent") == [4]
    assert len(numbers(lines, "tidings_provider_seconds", channel="email", provider="scripted")) == 7
    observers.flush()
    assert capsys.readouterr().out == ""  # each is written once


@given(st.integers(1, 500), st.integers(1, 5))
def test_cloudwatch_loses_no_value_and_no_dimension(count: int, channels: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        written: list[str] = []
        patched.setattr("builtins.print", written.append)
        meter = EmfMeter("mail")
        for channel in range(channels):
            meter.record(WAIT_SECONDS, (str(channel),), [float(n) for n in range(count)])
            meter.show([Gauge(metric=NOTIFICATIONS, labels=(str(channel), "failed"), value=7)])
        meter.flush()
    lines = embedded("\n".join(written))
    for channel in range(channels):
        assert numbers(lines, WAIT_SECONDS.name, channel=str(channel)) == list(range(count))
        assert numbers(lines, NOTIFICATIONS.name, channel=str(channel), status="failed") == [7]


def test_a_long_invocation_keeps_a_bounded_number_of_values(capsys: pytest.CaptureFixture[str]) -> None:
    meter = EmfMeter("mail")
    for _ in range(30):
        meter.record(WAIT_SECONDS, ("email",), [timedelta(seconds=1).total_seconds()] * 1000)
    meter.flush()
    assert len(numbers(embedded(capsys.readouterr().out), WAIT_SECONDS.name)) == 30_000


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_are_those_that_prometheus_advises() -> None:
    for metric in METRICS:
        assert metric.name.startswith("tidings_")
        assert metric.name.endswith("_seconds") or not metric.buckets
        assert list(metric.buckets) == sorted(set(metric.buckets))

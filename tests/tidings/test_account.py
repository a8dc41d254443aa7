"""When a provider refuses our account: one fact, one probe at a time, no attempt that counts, and an end."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from tidings.domain.errors import AccountError, DeliveryError, PermanentError, TransientError
from tidings.domain.notification import Notification, Status
from tidings.domain.timing import FIRST_PROBE, LONGEST_PROBE, WAIT_FOR_ACCOUNT
from tidings.messaging import topology
from tidings.messaging.envelope import IncomingMessage, from_event
from tidings.pipeline.delivery import Delivery
from tidings.pipeline.outgoing import to_work
from tidings.pipeline.suppression import suppression
from tidings.pipeline.sweep import Sweep
from tidings.ports import Acceptance, Provider, Selection, SendRequest
from tidings.providers.fcm.provider import FcmProvider, FcmSettings
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.settings import SmtpSettings
from tidings.providers.twilio.provider import TwilioProvider
from tidings.providers.twilio.settings import TwilioSettings
from tidings.runtime.trigger import pauses as pauses_module
from tidings.runtime.trigger.pauses import Pauses
from tidings.runtime.trigger.trigger import to_rmq

from local.emulators.client import Failure
from tests import make
from tests.emulator import Running, emulator
from tests.tidings.conftest import Parts, set_worker_clock

WAITING, NIGHTLY = 150, 10_000
REFUSED, REFUSED_NIGHTLY = 50, 120  # of a real provider
FAILED = Selection(tenant="acme", statuses=[Status.FAILED])
Says = Callable[[SendRequest], DeliveryError | None]


@dataclass
class Vendor:
    """Answers as it is told to, and keeps every call with its time."""

    clock: Callable[[], datetime]
    says: Says = lambda _: None
    name: str = "vendor"
    timeout: timedelta = timedelta(seconds=5)
    calls: list[tuple[datetime, str]] = field(default_factory=list)

    def send(self, outbound: SendRequest) -> Acceptance:
        self.calls.append((self.clock(), outbound.recipient))
        if (error := self.says(outbound)) is not None:
            raise error
        return Acceptance(provider_message_id=outbound.id)

    def close(self) -> None:
        return


@pytest.fixture
def vendor(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    set_worker_clock(monkeypatch, lambda: parts.clock().timestamp())
    return Vendor(parts.clock)


@pytest.fixture
def worker(parts: Parts, vendor: Vendor) -> Delivery:
    return another(parts, vendor)


def another(parts: Parts, vendor: Provider) -> Delivery:
    return Delivery(
        provider=vendor,
        store=parts.store,
        broker=parts.broker,
        settler=parts.settler,
        lease=timedelta(seconds=15),
        concurrency=4,
    )


def refuses(_: SendRequest) -> DeliveryError:
    return AccountError("20003", "wrong token")


def may_refuse(_: SendRequest) -> DeliveryError:
    return TransientError("5.7.1", "denied", may_be_account=True)


def added(parts: Parts, count: int, **changes: object) -> list[Notification]:
    rows = [make.notification(parts.clock(), **changes) for _ in range(count)]
    parts.add(*rows)
    return rows


def taken(parts: Parts, limit: int = 100, channel: str = "email") -> list[IncomingMessage]:
    """What the queue gives now, as a trigger takes it and a function reads it."""
    consumer = parts.broker.consume(topology.work_queues(channel))
    try:
        received = consumer.receive(limit, timedelta(0))
        consumer.acknowledge(received)
    finally:
        consumer.close()
    return from_event(to_rmq(received), channel)


def run(parts: Parts, worker: Delivery, *, until: datetime, step: float = 1.0) -> None:
    """Deliver what comes, until this time."""
    while parts.clock() < until:
        while batch := taken(parts):
            worker.deliver(batch)
        parts.clock.advance(seconds=step)


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.msg for record in caplog.records if record.levelno >= logging.ERROR]


def statuses(parts: Parts, rows: Sequence[Notification]) -> list[Status]:
    return [parts.row(row).status for row in rows]


def refused(parts: Parts, worker: Delivery, vendor: Vendor, count: int = 20) -> list[Notification]:
    """So many wait, and the provider counts as refusing us."""
    vendor.says = refuses
    rows = added(parts, count)
    run(parts, worker, until=parts.clock() + timedelta(seconds=5))
    (connection,) = parts.store.connections()
    assert connection.is_refusing
    return rows


# --- entering ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_several_refused_recipients_close_the_connection_with_one_alarm(
    parts: Parts, worker: Delivery, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    rows = refused(parts, worker, vendor, 200)
    run(parts, worker, until=parts.clock() + timedelta(minutes=5), step=2)
    assert alarms(caplog) == ["account_refused"]
    (connection,) = parts.store.connections()
    assert (connection.name, connection.channel, connection.error_code) == ("vendor", "email", "20003")
    first = [at for at, _ in vendor.calls if at - vendor.calls[0][0] < FIRST_PROBE]
    assert len(first) <= 100, "what was claimed when the first was refused, and no more"
    assert len(vendor.calls) - len(first) <= 12, "single probes, ever further apart"
    assert all(row.attempt == row.uncounted_attempts for row in map(parts.row, rows)), "no attempt counts"
    untouched = [row for row in rows if not parts.store.events(row.id)]
    assert len(untouched) >= 85, "what waits has no call, no attempt and no line"


def test_a_worker_that_sees_several_refused_stops_claiming_before_it_is_recorded(
    parts: Parts, worker: Delivery, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.pipeline.settlement_buffer.RECORD_WITHIN", timedelta(hours=1))
    vendor.says = refuses
    added(parts, 100)
    worker.deliver(taken(parts))
    assert len(vendor.calls) <= 20


def test_one_strangers_recipient_never_closes_the_connection(
    parts: Parts, worker: Delivery, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is paged, others are sent at once, and the one is a dead letter when its attempts are used up."""
    (stranger,) = added(parts, 1, recipient="stranger@example.com", max_attempts=4)
    vendor.says = lambda outbound: refuses(outbound) if outbound.recipient == stranger.recipient else None
    others = []
    until = parts.clock() + timedelta(hours=12)
    while parts.clock() < until and parts.row(stranger).status is not Status.FAILED:
        others += added(parts, 1)
        run(parts, worker, until=parts.clock() + timedelta(minutes=1), step=30)
    assert parts.row(stranger).status is Status.FAILED
    assert sum(recipient == stranger.recipient for _, recipient in vendor.calls) <= 8, (
        "four that count, and the first few"
    )
    assert set(statuses(parts, others)) == {Status.SENT}
    assert {parts.row(row).attempt for row in others} == {1}
    assert not alarms(caplog)


@pytest.mark.parametrize("error", [refuses, may_refuse])
def test_refusals_beside_acceptances_close_nothing(
    parts: Parts, worker: Delivery, vendor: Vendor, error: Says, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither then, nor when they are tried again, among themselves."""
    bad: set[str] = set()
    vendor.says = lambda outbound: error(outbound) if outbound.recipient in bad else None
    for _ in range(10):
        others = []
        for _ in range(10):
            bad |= {row.recipient for row in added(parts, 1)}
            others += added(parts, 1)
        run(parts, worker, until=parts.clock() + timedelta(seconds=3))
        assert set(statuses(parts, others)) == {Status.SENT}
    assert not alarms(caplog)


def test_a_burst_of_refused_recipients_does_not_keep_others_from_being_tried(
    parts: Parts, worker: Delivery, vendor: Vendor
) -> None:
    """One caller's many, in front of everybody else's."""
    bad = {row.recipient for row in added(parts, 100)}
    vendor.says = lambda outbound: refuses(outbound) if outbound.recipient in bad else None
    others = added(parts, 100)
    run(parts, worker, until=parts.clock() + timedelta(minutes=5), step=5)
    assert set(statuses(parts, others)) == {Status.SENT}


@pytest.mark.slow
def test_a_refusal_that_can_mean_either_counts_until_others_are_refused_as_well(
    parts: Parts, worker: Delivery, vendor: Vendor
) -> None:
    vendor.says = may_refuse
    (one,) = added(parts, 1, max_attempts=3)
    run(parts, worker, until=parts.clock() + timedelta(minutes=5), step=5)
    assert parts.row(one).status is Status.FAILED, "alone it is bounded by its attempts"
    rows = added(parts, 30)
    run(parts, worker, until=parts.clock() + timedelta(minutes=30), step=15)
    (connection,) = parts.store.connections()
    assert connection.is_refusing
    after = [parts.row(row) for row in rows]
    assert {row.status for row in after} <= {Status.PENDING, Status.RETRYING}
    assert max(row.attempt - row.uncounted_attempts for row in after) == 1, (
        "only those that were under way at the first refusal"
    )


def test_with_little_traffic_a_refused_account_is_found_within_seconds(
    parts: Parts, worker: Delivery, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.says = refuses
    rows = added(parts, 3)
    run(parts, worker, until=parts.clock() + timedelta(seconds=15))
    assert alarms(caplog) == ["account_refused"]
    vendor.says = lambda _: None
    run(parts, worker, until=parts.clock() + timedelta(minutes=3))
    assert set(statuses(parts, rows)) == {Status.SENT}


# --- while it lasts ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_probe_at_a_time_whatever_the_number_of_workers(parts: Parts, worker: Delivery, vendor: Vendor) -> None:
    refused(parts, worker, vendor)
    workers = [another(parts, vendor) for _ in range(3)]
    try:
        vendor.calls.clear()
        until = parts.clock() + timedelta(minutes=10)
        while parts.clock() < until:
            for one in workers:
                one.deliver(taken(parts, 5))
            parts.clock.advance(seconds=2)
    finally:
        for one in workers:
            one.close()
    times = [at for at, _ in vendor.calls]
    assert 8 <= len(times) <= 18
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert min(pauses) >= FIRST_PROBE
    assert max(pauses) >= LONGEST_PROBE


def test_a_probe_under_way_keeps_others_from_being_sent(parts: Parts, worker: Delivery, vendor: Vendor) -> None:
    """However long its call takes."""
    rows = refused(parts, worker, vendor)
    parts.clock.advance(minutes=3)
    assert parts.store.claim([make.message(rows[-1])], timedelta(hours=1)).acquired, "the row is being sent"
    assert parts.store.take_probe("vendor", rows[-1].id, timedelta(seconds=15))
    parts.clock.advance(minutes=3)
    assert not parts.store.take_probe("vendor", rows[0].id, timedelta(seconds=15))
    assert parts.store.take_probe("vendor", rows[-1].id, timedelta(seconds=15)), "it is its own probe"


def test_a_stale_message_leaves_the_probes_place_to_the_next(parts: Parts, worker: Delivery, vendor: Vendor) -> None:
    rows = refused(parts, worker, vendor)
    parts.store.cancel("acme", rows[-1].id)
    parts.clock.advance(minutes=3)
    vendor.calls.clear()
    for _ in range(10):  # whichever of them is looked at first
        stale, due = rows[-1], rows[-2]
        batch = [IncomingMessage(queue="tidings.email", body=b"", message=make.message(row)) for row in (stale, due)]
        worker.deliver(batch)
        assert [recipient for _, recipient in vendor.calls] == [due.recipient]
        parts.clock.advance(minutes=11)
        vendor.calls.clear()


def test_one_that_is_refused_in_front_of_the_others_is_not_the_only_one_that_is_tried(
    parts: Parts, worker: Delivery, vendor: Vendor
) -> None:
    bad = refused(parts, worker, vendor)[-1]
    (good,) = added(parts, 1)
    vendor.says = lambda outbound: None if outbound.recipient == good.recipient else refuses(outbound)
    batch = [IncomingMessage(queue="tidings.email", body=b"", message=make.message(row)) for row in (bad, good)]
    for _ in range(30):
        parts.clock.advance(minutes=11)
        worker.deliver(batch)
    assert parts.row(good).status is Status.SENT


def test_a_probe_that_is_refused_for_its_own_sake_lets_the_next_be_tried_at_once(
    parts: Parts, worker: Delivery, vendor: Vendor
) -> None:
    rows = refused(parts, worker, vendor)
    parts.clock.advance(minutes=3)
    bad = {row.recipient for row in rows}
    vendor.says = lambda outbound: PermanentError("550", "who?") if outbound.recipient in bad else None
    good = added(parts, 1)
    run(parts, worker, until=parts.clock() + timedelta(seconds=90))
    assert statuses(parts, good) == [Status.SENT]
    assert set(statuses(parts, rows)) == {Status.FAILED}


def test_a_suppressed_recipient_leaves_the_probes_place_to_the_next(
    parts: Parts, worker: Delivery, vendor: Vendor
) -> None:
    rows = refused(parts, worker, vendor)
    vendor.says = lambda _: None
    parts.clock.advance(minutes=3)
    parts.store.add_suppressions("acme", "email", [suppression(row.recipient, "manual") for row in rows[1:]])
    for place in range(1, 8):  # each takes its place as the probe, in turn
        worker.deliver([incoming_message(rows[place])])
    worker.deliver([incoming_message(rows[0])])
    assert statuses(parts, rows[1:8]) == [Status.SUPPRESSED] * 7
    assert statuses(parts, rows[:1]) == [Status.SENT]


def incoming_message(row: Notification) -> IncomingMessage:
    return IncomingMessage(queue="tidings.email", body=b"", message=make.message(row))


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_first_acceptance_opens_it_and_all_that_waited_is_sent(
    parts: Parts, worker: Delivery, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    rows = refused(parts, worker, vendor, 120)
    run(parts, worker, until=parts.clock() + timedelta(minutes=20), step=10)
    vendor.says = lambda _: None
    run(parts, worker, until=parts.clock() + timedelta(minutes=4), step=5)
    assert set(statuses(parts, rows)) == {Status.SENT}
    told = [record for record in caplog.records if record.msg.startswith("account_")]
    assert [record.msg for record in told] == ["account_refused", "account_restored"]
    refused_line, restored_line = (line for record in told for line in record.__dict__["each"])
    said = {"channel": "email", "provider": "vendor", "code": "20003", "error": "wrong token"}
    assert refused_line == said
    assert {**said, "refused_seconds": restored_line["refused_seconds"]} == restored_line
    assert 1200 <= restored_line["refused_seconds"] <= 1300
    (connection,) = parts.store.connections()
    assert connection.is_open
    assert connection.is_clean


def test_after_a_day_what_waits_is_a_dead_letter_that_can_be_replayed(
    parts: Parts, worker: Delivery, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    rows = refused(parts, worker, vendor, 300)
    sweep = Sweep(store=parts.store, broker=parts.broker, settler=parts.settler)
    parts.clock.advance(seconds=WAIT_FOR_ACCOUNT.total_seconds() - 600)
    late = added(parts, 5)
    sweep.run()
    assert Status.FAILED not in statuses(parts, rows)
    parts.clock.advance(seconds=1200)
    for _ in range(3):
        sweep.run()
        parts.clock.advance(seconds=60)
    assert set(statuses(parts, rows)) == {Status.FAILED}
    assert set(statuses(parts, late)) == {Status.PENDING}, "these have not waited for a day"
    dead = parts.row(rows[-1])
    assert (dead.error_class, dead.error_code, dead.provider) == ("account", "20003", "vendor")
    assert parts.store.events(dead.id)[-1].error_message == "wrong token"
    assert parts.broker.depth("tidings.email.dead") == len(rows)
    vendor.says = lambda _: None
    parts.broker.publish([to_work(row) for row in parts.store.reset_for_replay(FAILED, 1000, timedelta(0))])
    run(parts, worker, until=parts.clock() + timedelta(minutes=5), step=10)
    assert set(statuses(parts, rows)) == {Status.SENT}


@pytest.mark.slow
def test_one_that_is_tried_again_and_again_is_given_up_after_a_day_as_well(
    parts: Parts, worker: Delivery, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it is alone, nothing else is refused or accepted: it waits as long, and no longer."""
    vendor.says = refuses
    (one,) = added(parts, 1, max_attempts=2)
    run(parts, worker, until=parts.clock() + WAIT_FOR_ACCOUNT - timedelta(hours=1), step=900)
    assert parts.row(one).status is Status.RETRYING
    run(parts, worker, until=parts.clock() + timedelta(hours=2), step=900)
    assert parts.row(one).status is Status.FAILED
    assert not alarms(caplog)


# --- an hour ----------------------------------------------------------------------------------------------------------


@dataclass
class Hour:
    """The trigger's loop, on the test's clock: while it is to be left alone, what waits stays in its queue."""

    parts: Parts
    worker: Delivery
    channel: str
    leave_alone: Pauses
    batches: int = 0

    def run(self, *, until: datetime, step: float = 1.0) -> None:
        while self.parts.clock() < until:
            while not self.leave_alone() and (batch := taken(self.parts, channel=self.channel)):
                self.worker.deliver(batch)
                self.batches += 1
            self.parts.clock.advance(seconds=step)


@pytest.fixture
def hour(parts: Parts, worker: Delivery, monkeypatch: pytest.MonkeyPatch) -> Hour:
    return hour_of(parts, worker, "email", monkeypatch)


def hour_of(parts: Parts, worker: Delivery, channel: str, monkeypatch: pytest.MonkeyPatch) -> Hour:
    monkeypatch.setattr(pauses_module, "time", SimpleNamespace(monotonic=lambda: parts.clock().timestamp()))
    return Hour(parts, worker, channel, Pauses(parts.store, channel))


ALL = Selection(tenant="acme")
SENT = Selection(tenant="acme", statuses=[Status.SENT])


@pytest.mark.slow
def test_an_hour_of_refusals_with_thousands_waiting(
    parts: Parts, hour: Hour, vendor: Vendor, caplog: pytest.LogCaptureFixture, nightly: bool
) -> None:
    waiting = NIGHTLY if nightly else WAITING
    vendor.says = refuses
    added(parts, waiting)
    hour.run(until=parts.clock() + timedelta(hours=1), step=5)
    Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()
    refused, batches = len(vendor.calls), hour.batches
    vendor.says = lambda _: None
    for _ in range(10):
        hour.run(until=parts.clock() + timedelta(minutes=1), step=5)
    assert parts.store.count(SENT) == waiting
    assert refused < 100 + 70, "those claimed at the first refusal, and a probe a minute"
    assert batches < 300, "a batch a probe, and those that were refused first; not every message again and again"
    assert {row.attempt - row.uncounted_attempts for row in parts.store.find(ALL, waiting)} == {1}, (
        "no attempt was burnt"
    )
    assert alarms(caplog) == ["account_refused"]
    assert len(vendor.calls) - refused == waiting


REAL: dict[str, tuple[Callable[[Running], Provider], Failure, dict[str, str]]] = {
    "email": (
        lambda at: SmtpProvider(SmtpSettings(url=at.smtp_url, sender="shop@example.org")),
        {"status": 535, "stage": "mail", "enhanced": "5.7.8"},
        {},
    ),
    "sms": (
        lambda at: TwilioProvider(
            TwilioSettings(account_sid="AC0", auth_token="secret", sender="+15005550006", url=at.http_url)
        ),
        {"status": 401, "code": "20003"},
        {"recipient": "+1500555%04d", "content": '{"text":"It is on its way."}'},
    ),
    "push": (
        lambda at: FcmProvider(FcmSettings(service_account=str(at.service_account), url=at.http_url)),
        {"status": 403, "code": "PERMISSION_DENIED"},
        {"recipient": "token:device-%d", "content": '{"title":"Shipped"}'},
    ),
}


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with emulator(tmp_path_factory.mktemp("vendors")) as running:
        yield running


def theirs(parts: Parts, channel: str, count: int, **more: Any) -> list[Notification]:
    changes = REAL[channel][2]
    rows = []
    for number in range(1000, 1000 + count):
        given = {**changes, "recipient": changes["recipient"] % number} if changes else {}
        rows.append(make.notification(parts.clock(), channel=channel, **{**given, **more}))
    parts.add(*rows)
    return rows


@pytest.mark.parametrize("channel", REAL)
def test_an_hour_of_refusals_by_a_real_provider(
    parts: Parts,
    vendors: Running,
    channel: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    nightly: bool,
) -> None:
    make_provider, failure, _ = REAL[channel]
    set_worker_clock(monkeypatch, lambda: parts.clock().timestamp())
    worker = another(parts, make_provider(vendors))
    hour = hour_of(parts, worker, channel, monkeypatch)
    vendors.client.clear()
    vendors.client.fail(channel, **failure)  # type: ignore[arg-type]
    rows = theirs(parts, channel, REFUSED_NIGHTLY if nightly else REFUSED)
    hour.run(until=parts.clock() + timedelta(hours=1), step=15)
    refused = vendors.client.call_totals()[channel]
    vendors.client.forgive()
    hour.run(until=parts.clock() + timedelta(minutes=5), step=5)
    worker.close()
    assert set(statuses(parts, rows)) == {Status.SENT}
    assert {row.attempt - row.uncounted_attempts for row in map(parts.row, rows)} == {1}
    assert refused < min(len(rows), 100) + 70, "those claimed at the first refusal, and a probe a minute"
    assert alarms(caplog) == ["account_refused"]
    assert vendors.client.totals()[channel] == len(rows)


STRANGERS = {
    "email": ("denied@example.com", {"stage": "rcpt", "status": 554, "enhanced": "5.7.1", "message": "Access denied"}),
    "sms": ("+15005550003", {"status": 400, "code": "21408"}),
    "push": ("token:of-another-project", {"status": 403, "code": "SENDER_ID_MISMATCH"}),
}


@pytest.mark.parametrize("channel", REAL)
def test_a_strangers_recipient_is_one_dead_letter_and_no_alarm(
    parts: Parts,
    vendors: Running,
    channel: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipient, failure = STRANGERS[channel]
    set_worker_clock(monkeypatch, lambda: parts.clock().timestamp())
    worker = another(parts, REAL[channel][0](vendors))
    hour = hour_of(parts, worker, channel, monkeypatch)
    vendors.client.clear()
    vendors.client.fail(channel, recipient=recipient.removeprefix("token:"), **failure)  # type: ignore[arg-type]
    (stranger,) = theirs(parts, channel, 1, recipient=recipient, max_attempts=3)
    rows = theirs(parts, channel, 20)
    hour.run(until=parts.clock() + timedelta(hours=1), step=15)
    worker.close()
    assert parts.row(stranger).status is Status.FAILED
    assert set(statuses(parts, rows)) == {Status.SENT}
    assert {parts.row(row).attempt for row in rows} == {1}
    assert not alarms(caplog)
    assert parts.broker.depth(topology.dead_queue(channel)) == 1

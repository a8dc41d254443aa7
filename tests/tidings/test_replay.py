"""What replay and sweep promise."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from tidings.domain.errors import AmbiguousError, BrokerUnavailable, PermanentError, TransientError
from tidings.domain.notification import Notification, OnAmbiguous, Priority, Status
from tidings.messaging import topology
from tidings.messaging.envelope import FAMILY, SCHEMA, IncomingMessage, parse
from tidings.pipeline.replay import Replay
from tidings.pipeline.sweep import Sweep, Swept
from tidings.ports import Acceptance, Outgoing, Selection

from tests import make
from tests.tidings.conftest import Parts
from tests.tidings.test_delivery import added, incoming, waiting

ACME = Selection(tenant="acme")


@pytest.fixture
def replay(parts: Parts) -> Replay:
    return Replay(store=parts.store, broker=parts.broker)


@pytest.fixture
def sweep(parts: Parts) -> Sweep:
    return Sweep(store=parts.store, broker=parts.broker, settler=parts.settler)


def failed(parts: Parts, count: int = 1) -> list[Notification]:
    rows = [added(parts) for _ in range(count)]
    for row in rows:
        parts.provider.script[row.recipient] = [PermanentError("550", "no")]
    parts.delivery.deliver(incoming(*rows))
    parts.provider.calls.clear()
    return rows


def drained(parts: Parts) -> None:
    """Deliver what is in the queue now."""
    consumer = parts.broker.consume(topology.work_queues("email"))
    while batch := consumer.receive(100, timedelta(0)):
        messages = [parse(item.body, item.headers, "email") for item in batch]
        parts.delivery.deliver(
            [
                IncomingMessage(queue=item.queue, body=item.body, message=message)
                for item, message in zip(batch, messages, strict=True)
            ]
        )
        consumer.acknowledge(batch)
    consumer.close()


# --- replay -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_counts_and_changes_nothing(parts: Parts, replay: Replay) -> None:
    rows = failed(parts, 3)
    dry = replay.dry_run(ACME, limit=1000, sample=2)
    assert (dry.count, dry.may_double, len(dry.sample)) == (3, 0, 2)
    assert {parts.row(row).status for row in rows} == {Status.FAILED}
    assert not waiting(parts, "tidings.email")


def test_a_dry_run_counts_those_that_may_be_sent_twice(parts: Parts, replay: Replay) -> None:
    failed(parts)
    row = added(parts, on_ambiguous=OnAmbiguous.HOLD)
    parts.provider.script[row.recipient] = [AmbiguousError("timeout", "no answer")]
    parts.delivery.deliver(incoming(row))
    dry = replay.dry_run(ACME, limit=1000)
    assert (dry.count, dry.may_double, dry.unknown) == (1, 0, 1)
    named = replay.dry_run(replace(ACME, statuses=[Status.FAILED, Status.UNKNOWN]), limit=1000)
    assert (named.count, named.may_double, named.unknown) == (2, 1, 0)


def test_what_failed_after_an_ambiguous_attempt_may_double(parts: Parts, replay: Replay) -> None:
    row = added(parts)
    parts.provider.script[row.recipient] = [AmbiguousError("timeout", "no answer"), PermanentError("550", "no")]
    parts.delivery.deliver(incoming(row))
    parts.clock.advance(minutes=1)
    parts.delivery.deliver(incoming(parts.row(row)))
    dry = replay.dry_run(ACME, limit=1000)
    assert (dry.count, dry.may_double) == (1, 1)


def test_a_replay_skips_unknown_ones_unless_the_status_is_named(parts: Parts, replay: Replay) -> None:
    (dead,) = failed(parts)
    deferred = added(parts, on_ambiguous=OnAmbiguous.HOLD)
    parts.provider.script[deferred.recipient] = [AmbiguousError("timeout", "no answer")]
    parts.delivery.deliver(incoming(deferred))
    for selection in (ACME, replace(ACME, ids=[deferred.id])):
        assert replay.replay(selection, limit=10).unknown == 1
    assert (parts.row(dead).status, parts.row(deferred).status) == (Status.PENDING, Status.UNKNOWN)
    named = replay.replay(replace(ACME, statuses=[Status.UNKNOWN]), limit=10)
    assert (named.ids, named.unknown) == ([deferred.id], 0)


def test_a_dry_run_samples_the_oldest(parts: Parts, replay: Replay) -> None:
    rows = []
    for _ in range(4):
        parts.clock.advance(milliseconds=1)
        rows += failed(parts)
    dry = replay.dry_run(ACME, limit=1000, sample=2)
    assert [row.id for row in dry.sample] == replay.replay(ACME, limit=2).ids
    assert dry.newest == rows[3].id


def test_a_replayed_dead_letter_is_sent_one_generation_later(parts: Parts, replay: Replay) -> None:
    (row,) = failed(parts)
    assert replay.replay(ACME, limit=10).queued == 1
    drained(parts)
    after = parts.row(row)
    assert (after.status, after.generation) == (Status.SENT, 2)


def test_replaying_twice_sends_once(parts: Parts, replay: Replay) -> None:
    failed(parts, 5)
    assert len(replay.replay(ACME, limit=10).ids) == 5
    assert len(replay.replay(ACME, limit=10).ids) == 0
    drained(parts)
    assert len(parts.provider.calls) == 5


def test_a_limit_takes_the_oldest(parts: Parts, replay: Replay) -> None:
    rows = []
    for _ in range(4):
        parts.clock.advance(milliseconds=1)
        rows += failed(parts)
    assert list(replay.replay(ACME, limit=2).ids) == [row.id for row in rows[:2]]


def test_what_fails_again_meanwhile_is_not_replayed_twice(
    parts: Parts, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = failed(parts, 4)
    monkeypatch.setattr("tidings.pipeline.replay.PAGE", 2)
    publish = parts.broker.publish

    def delivered_at_once(wave: Sequence[Outgoing]) -> None:
        publish(wave)
        for row in rows:
            parts.provider.script[row.recipient] = [PermanentError("550", "no, again")]
        if wave:
            drained(parts)

    monkeypatch.setattr(parts.broker, "publish", delivered_at_once)
    done = replay.replay(ACME, limit=100)
    assert list(done.ids) == sorted(row.id for row in rows)


def test_a_rate_spreads_the_work_over_seconds_without_waiting(parts: Parts, replay: Replay, sweep: Sweep) -> None:
    failed(parts, 7)
    done = replay.replay(ACME, limit=100, rate=3)
    assert (len(done.ids), done.queued) == (7, 3)
    sent = []
    for _ in range(3):
        drained(parts)
        sent.append(len(parts.provider.calls))
        parts.clock.advance(seconds=1)
        sweep.run()
    assert sent == [3, 6, 7]


def test_without_the_broker_a_replay_is_left_to_the_sweep(parts: Parts, replay: Replay, sweep: Sweep) -> None:
    (row,) = failed(parts)
    parts.broker.down = True
    assert replay.replay(ACME, limit=10).queued == 0
    parts.broker.down = False
    parts.clock.advance(seconds=10)
    assert sweep.run().published == 1
    drained(parts)
    assert parts.row(row).status is Status.SENT


def test_only_what_failed_or_is_unknown_is_replayed(parts: Parts, replay: Replay) -> None:
    row = added(parts)
    parts.delivery.deliver(incoming(row))
    assert not replay.replay(replace(ACME, ids=[row.id]), limit=10).ids
    assert not replay.replay(replace(ACME, statuses=[Status.SENT]), limit=10).ids


def test_a_replay_drops_its_dead_letters_and_keeps_the_others(parts: Parts, replay: Replay) -> None:
    first, second = failed(parts, 2)
    assert len(waiting(parts, "tidings.email.dead")) == 2
    replay.replay(replace(ACME, ids=[first.id]), limit=10)
    (left,) = waiting(parts, "tidings.email.dead")
    assert left.message_id == f"{second.id}:1:1"
    assert left.headers["tidings-code"] == "550"


def test_a_newer_releases_dead_letter_is_kept_unchanged(parts: Parts, replay: Replay) -> None:
    (row,) = failed(parts)
    headers = {"ce-type": f"{FAMILY}{SCHEMA + 1}", "ce-id": "theirs", "tidings-code": "550"}
    parts.broker.publish([Outgoing(to=topology.dead("email"), raw=b"theirs", headers=headers)])
    assert replay.replay(replace(ACME, ids=[row.id]), limit=10).ids == [row.id]
    (left,) = waiting(parts, "tidings.email.dead")
    assert (left.body, left.headers, left.message_id) == (b"theirs", headers, "theirs")


# --- sweep ------------------------------------------------------------------------------------------------------------


def test_the_sweep_publishes_a_message_that_was_never_published(parts: Parts, sweep: Sweep) -> None:
    """The intake died between the commit and the publish."""
    row = make.notification(parts.clock())
    parts.store.insert([row])
    parts.clock.advance(seconds=14)
    assert sweep.run() == Swept()
    parts.clock.advance(seconds=1)
    assert sweep.run() == Swept(published=1)
    drained(parts)
    assert parts.row(row).status is Status.SENT


def test_the_sweep_publishes_again_a_message_of_a_newer_release(parts: Parts, sweep: Sweep) -> None:
    """By this one, after a rollback: what goes round unread is only a wake-up call."""
    row = make.notification(parts.clock())
    parts.store.insert([row])
    parts.delivery.deliver([IncomingMessage(queue="tidings.email", body=b"", message=None, channel="email", later={})])
    parts.clock.advance(seconds=15)
    assert sweep.run() == Swept(published=1)
    drained(parts)
    assert parts.row(row).status is Status.SENT


def test_the_sweep_publishes_a_lost_message_again(parts: Parts, sweep: Sweep) -> None:
    """The queue was deleted with what it held."""
    parts.add(make.notification(parts.clock()))
    consumer = parts.broker.consume(("tidings.email",))
    consumer.acknowledge(consumer.receive(1, timedelta(0)))
    consumer.close()
    parts.clock.advance(seconds=15)
    assert sweep.run() == Swept(published=1)


def test_a_backlog_is_not_published_again(parts: Parts, sweep: Sweep) -> None:
    parts.add(*[make.notification(parts.clock()) for _ in range(5)])
    looks = 0
    for _ in range(120):
        parts.clock.advance(seconds=5)
        swept = sweep.run()
        assert swept in (Swept(), Swept(waiting=5))
        looks += swept.waiting // 5
    assert looks == 5  # after 15 s, and then ever more seldom: a backlog of a million is not looked at all the time
    assert len(waiting(parts, "tidings.email")) == 5


def test_a_paused_channels_messages_are_not_published_again_wherever_they_are(parts: Parts, sweep: Sweep) -> None:
    row = added(parts)
    parts.store.pause("email")
    for _ in range(5):
        parts.clock.advance(minutes=1)
        assert sweep.run().published == 0
    parts.store.resume("email")
    parts.clock.advance(minutes=11)
    assert sweep.run().published == 1
    drained(parts)
    assert [call.id for call in parts.provider.calls] == [row.id]


def test_a_worker_whose_database_was_away_for_longer_than_its_lease_still_settles(parts: Parts, sweep: Sweep) -> None:
    row = added(parts)
    claims = parts.store.claim([make.message(row)], timedelta(seconds=60))
    parts.clock.advance(minutes=10)  # nobody could write anything; then the sweep comes before the worker
    assert sweep.run() == Swept()
    assert not parts.store.settle(
        [parts.settler.settlement_for(claims, claims.acquired[0], Acceptance(provider_message_id="receipt"))]
    )
    parts.clock.advance(minutes=10)
    assert sweep.run() == Swept()
    assert parts.row(row).status is Status.SENT


def test_a_message_lost_from_a_queue_that_never_runs_empty_is_published_again(parts: Parts, sweep: Sweep) -> None:
    lost = make.notification(parts.clock())
    parts.store.insert([lost])
    parts.clock.advance(seconds=30)
    passed = make.notification(parts.clock())
    parts.add(passed, make.notification(parts.clock()))
    parts.delivery.deliver(incoming(passed))
    parts.clock.advance(seconds=14)
    assert sweep.run() == Swept(published=1)
    parts.clock.advance(seconds=1)
    assert sweep.run() == Swept(waiting=1)


@pytest.mark.parametrize(("policy", "end"), [(OnAmbiguous.RESEND, Status.RETRYING), (OnAmbiguous.HOLD, Status.UNKNOWN)])
def test_an_attempt_of_a_dead_worker_is_ambiguous(parts: Parts, sweep: Sweep, policy: OnAmbiguous, end: Status) -> None:
    row = added(parts, on_ambiguous=policy)
    parts.store.claim([make.message(row)], timedelta(seconds=60))  # and the worker dies
    parts.clock.advance(seconds=30)
    assert sweep.run() == Swept()
    parts.clock.advance(seconds=40)
    assert sweep.run() == Swept()  # the first to see that the lease is over
    parts.clock.advance(seconds=5)
    assert sweep.run() == Swept(abandoned=1)
    after = parts.row(row)
    assert (after.status, after.error_code) == (end, "lease_expired")


def test_a_notification_that_kills_every_worker_ends(parts: Parts, sweep: Sweep) -> None:
    row = added(parts, max_attempts=2)
    for _ in range(2):
        parts.clock.advance(seconds=1)
        parts.store.claim([make.message(row)], timedelta(seconds=60), isolated=True)
        for _ in range(2):
            parts.clock.advance(minutes=10)
            sweep.run()
    assert parts.row(row).status is Status.FAILED
    assert len(waiting(parts, "tidings.email.dead")) == 1


def test_a_dead_letter_that_is_owed_is_published_once_the_broker_is_back(parts: Parts, sweep: Sweep) -> None:
    row = added(parts)
    claims = parts.store.claim([make.message(row)], timedelta(seconds=60))
    end = parts.settler.settlement_for(claims, claims.acquired[0], PermanentError("550", "no"))
    parts.store.settle([end], dead_letters_owed=True)
    parts.clock.advance(seconds=10)
    assert sweep.run() == Swept(dead_lettered=1)
    assert sweep.run() == Swept()
    (letter,) = waiting(parts, "tidings.email.dead")
    assert letter.headers["tidings-code"] == "550"


def test_a_queue_that_refuses_messages_does_not_stop_the_others(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    row, stuck = added(parts), added(parts, priority=Priority.HIGH)
    failing = added(parts)
    claims = parts.store.claim([make.message(failing)], timedelta(seconds=60))
    end = parts.settler.settlement_for(claims, claims.acquired[0], PermanentError("550", "no"))
    parts.store.settle([end], dead_letters_owed=True)
    publish = parts.broker.publish
    full = {"email.dead", "email.high"}

    def refusing(wave: Sequence[Outgoing]) -> None:
        if any(item.to.routing_key in full for item in wave):
            raise BrokerUnavailable("full")
        publish(wave)

    monkeypatch.setattr(parts.broker, "publish", refusing)
    sweep = Sweep(store=parts.store, broker=parts.broker, settler=parts.settler)
    parts.clock.advance(seconds=15)
    assert sweep.run() == Swept(published=1, refused=2)
    assert [item.message_id for item in waiting(parts, "tidings.email")] == [f"{row.id}:1:0"]
    full.clear()
    parts.clock.advance(seconds=10)
    assert sweep.run() == Swept(published=1, dead_lettered=1)
    assert [item.message_id for item in waiting(parts, "tidings.email.high")] == [f"{stuck.id}:1:0"]


def test_a_worker_quicker_than_the_sweeps_mark_keeps_its_next_attempt(
    parts: Parts, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = added(parts)
    later = TransientError("451", "later", retry_after=timedelta(hours=1))
    parts.provider.script[row.recipient] = [later]
    drop = parts.broker.consume(topology.work_queues("email"))
    drop.acknowledge(drop.receive(100, timedelta(0)))
    drop.close()
    publish, waves = parts.broker.publish, list[int]()

    def delivered_at_once(wave: Sequence[Outgoing]) -> None:
        publish(wave)
        if wave and not waves:
            waves.append(len(wave))
            drained(parts)

    parts.clock.advance(minutes=1)
    with monkeypatch.context() as patched:
        patched.setattr(parts.broker, "publish", delivered_at_once)
        assert sweep.run() == Swept(published=1)
    assert parts.row(row).status is Status.RETRYING
    for _ in range(100):
        parts.clock.advance(seconds=30)
        assert sweep.run() == Swept()


def test_a_sweep_works_through_more_than_a_page(parts: Parts, sweep: Sweep) -> None:
    rows = [make.notification(parts.clock()) for _ in range(1200)]
    parts.store.insert(rows)
    parts.store.mark_unqueued(rows)  # the broker was down
    parts.clock.advance(seconds=10)
    assert sweep.run() == Swept(published=1200)


class Enough(Exception):
    pass


def test_run_for_sweeps_again_what_became_due(parts: Parts, sweep: Sweep) -> None:
    added(parts)
    paused: list[float] = []

    def meanwhile(seconds: float) -> None:
        if paused:
            raise Enough
        paused.append(seconds)
        parts.clock.advance(seconds=15)

    with pytest.raises(Enough):
        replace(sweep, sleep=meanwhile).run_for(timedelta(hours=1))
    assert [paused, len(waiting(parts, "tidings.email"))] == [[1.0], 1]


def test_run_for_zero_time_sweeps_once(parts: Parts, sweep: Sweep) -> None:
    added(parts)
    parts.clock.advance(seconds=15)
    pauses: list[float] = []
    assert replace(sweep, sleep=pauses.append).run_for(timedelta(0)) == Swept(published=1)
    assert pauses == []


@pytest.mark.slow
def test_a_sweep_deletes_what_ended_long_ago_and_pauses_as_long_as_it_worked(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.store.insert([make.notification(parts.clock()) for _ in range(1200)])
    for row in parts.store.find(ACME, 1200):
        parts.store.cancel("acme", row.id)
    parts.clock.advance(days=8)
    added(parts)
    kept = Sweep(store=parts.store, broker=parts.broker, settler=parts.settler)
    assert kept.run() == Swept()  # not told how long, it keeps everything
    monkeypatch.setattr(
        "tidings.pipeline.retention.PURGE_FOR", timedelta(minutes=5)
    )  # a busy machine comes to the last page too
    pauses: list[float] = []
    sweep = replace(kept, keep=timedelta(days=7), sleep=pauses.append)
    assert sweep.run() == Swept(purged=1200)
    assert parts.store.count(ACME) == 1
    assert len(pauses) == 2
    assert min(pauses) > 0

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
from tests.tidings.conftest import House
from tests.tidings.test_delivery import added, letters, waiting

ACME = Selection(tenant="acme")


@pytest.fixture
def replay(house: House) -> Replay:
    return Replay(store=house.store, broker=house.broker)


@pytest.fixture
def sweep(house: House) -> Sweep:
    return Sweep(store=house.store, broker=house.broker, settler=house.settler)


def failed(house: House, count: int = 1) -> list[Notification]:
    rows = [added(house) for _ in range(count)]
    for row in rows:
        house.provider.script[row.recipient] = [PermanentError("550", "no")]
    house.delivery.deliver(letters(*rows))
    house.provider.calls.clear()
    return rows


def drained(house: House) -> None:
    """Deliver what is in the queue now."""
    consumer = house.broker.consume(topology.work_queues("email"))
    while batch := consumer.receive(100, timedelta(0)):
        messages = [parse(item.body, item.headers, "email") for item in batch]
        house.delivery.deliver(
            [
                IncomingMessage(queue=item.queue, body=item.body, message=message)
                for item, message in zip(batch, messages, strict=True)
            ]
        )
        consumer.acknowledge(batch)
    consumer.close()


# --- replay -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_counts_and_changes_nothing(house: House, replay: Replay) -> None:
    rows = failed(house, 3)
    dry = replay.dry_run(ACME, limit=1000, sample=2)
    assert (dry.count, dry.may_double, len(dry.sample)) == (3, 0, 2)
    assert {house.row(row).status for row in rows} == {Status.FAILED}
    assert not waiting(house, "tidings.email")


def test_a_dry_run_tells_how_many_may_double(house: House, replay: Replay) -> None:
    failed(house)
    row = added(house, on_ambiguous=OnAmbiguous.HOLD)
    house.provider.script[row.recipient] = [AmbiguousError("timeout", "no answer")]
    house.delivery.deliver(letters(row))
    dry = replay.dry_run(ACME, limit=1000)
    assert (dry.count, dry.may_double, dry.unknown) == (1, 0, 1)
    named = replay.dry_run(replace(ACME, statuses=[Status.FAILED, Status.UNKNOWN]), limit=1000)
    assert (named.count, named.may_double, named.unknown) == (2, 1, 0)


def test_what_failed_after_an_ambiguous_attempt_may_double(house: House, replay: Replay) -> None:
    row = added(house)
    house.provider.script[row.recipient] = [AmbiguousError("timeout", "no answer"), PermanentError("550", "no")]
    house.delivery.deliver(letters(row))
    house.clock.advance(minutes=1)
    house.delivery.deliver(letters(house.row(row)))
    dry = replay.dry_run(ACME, limit=1000)
    assert (dry.count, dry.may_double) == (1, 1)


def test_a_replay_leaves_out_what_is_unknown_unless_it_is_named(house: House, replay: Replay) -> None:
    (dead,) = failed(house)
    deferred = added(house, on_ambiguous=OnAmbiguous.HOLD)
    house.provider.script[deferred.recipient] = [AmbiguousError("timeout", "no answer")]
    house.delivery.deliver(letters(deferred))
    for selection in (ACME, replace(ACME, ids=[deferred.id])):
        assert replay.replay(selection, limit=10).unknown == 1
    assert (house.row(dead).status, house.row(deferred).status) == (Status.PENDING, Status.UNKNOWN)
    named = replay.replay(replace(ACME, statuses=[Status.UNKNOWN]), limit=10)
    assert (named.ids, named.unknown) == ([deferred.id], 0)


def test_a_dry_run_shows_what_goes_first(house: House, replay: Replay) -> None:
    rows = []
    for _ in range(4):
        house.clock.advance(milliseconds=1)
        rows += failed(house)
    dry = replay.dry_run(ACME, limit=1000, sample=2)
    assert [row.id for row in dry.sample] == replay.replay(ACME, limit=2).ids
    assert dry.newest == rows[3].id


def test_a_replayed_dead_letter_is_sent_one_generation_later(house: House, replay: Replay) -> None:
    (row,) = failed(house)
    assert replay.replay(ACME, limit=10).queued == 1
    drained(house)
    after = house.row(row)
    assert (after.status, after.generation) == (Status.SENT, 2)


def test_replaying_twice_sends_once(house: House, replay: Replay) -> None:
    failed(house, 5)
    assert len(replay.replay(ACME, limit=10).ids) == 5
    assert len(replay.replay(ACME, limit=10).ids) == 0
    drained(house)
    assert len(house.provider.calls) == 5


def test_a_limit_takes_the_oldest(house: House, replay: Replay) -> None:
    rows = []
    for _ in range(4):
        house.clock.advance(milliseconds=1)
        rows += failed(house)
    assert list(replay.replay(ACME, limit=2).ids) == [row.id for row in rows[:2]]


def test_what_fails_again_meanwhile_is_not_replayed_twice(
    house: House, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = failed(house, 4)
    monkeypatch.setattr("tidings.pipeline.replay.PAGE", 2)
    publish = house.broker.publish

    def delivered_at_once(wave: Sequence[Outgoing]) -> None:
        publish(wave)
        for row in rows:
            house.provider.script[row.recipient] = [PermanentError("550", "no, again")]
        if wave:
            drained(house)

    monkeypatch.setattr(house.broker, "publish", delivered_at_once)
    done = replay.replay(ACME, limit=100)
    assert list(done.ids) == sorted(row.id for row in rows)


def test_a_rate_spreads_the_work_over_seconds_without_waiting(house: House, replay: Replay, sweep: Sweep) -> None:
    failed(house, 7)
    done = replay.replay(ACME, limit=100, rate=3)
    assert (len(done.ids), done.queued) == (7, 3)
    sent = []
    for _ in range(3):
        drained(house)
        sent.append(len(house.provider.calls))
        house.clock.advance(seconds=1)
        sweep.run()
    assert sent == [3, 6, 7]


def test_without_the_broker_a_replay_is_left_to_the_sweep(house: House, replay: Replay, sweep: Sweep) -> None:
    (row,) = failed(house)
    house.broker.down = True
    assert replay.replay(ACME, limit=10).queued == 0
    house.broker.down = False
    house.clock.advance(seconds=10)
    assert sweep.run().published == 1
    drained(house)
    assert house.row(row).status is Status.SENT


def test_only_what_failed_or_is_unknown_is_replayed(house: House, replay: Replay) -> None:
    row = added(house)
    house.delivery.deliver(letters(row))
    assert not replay.replay(replace(ACME, ids=[row.id]), limit=10).ids
    assert not replay.replay(replace(ACME, statuses=[Status.SENT]), limit=10).ids


def test_a_replay_drops_its_letters_and_keeps_the_others(house: House, replay: Replay) -> None:
    first, second = failed(house, 2)
    assert len(waiting(house, "tidings.email.dead")) == 2
    replay.replay(replace(ACME, ids=[first.id]), limit=10)
    (left,) = waiting(house, "tidings.email.dead")
    assert left.message_id == f"{second.id}:1:1"
    assert left.headers["tidings-code"] == "550"


def test_a_letter_that_a_later_version_wrote_is_kept_as_it_came(house: House, replay: Replay) -> None:
    (row,) = failed(house)
    headers = {"ce-type": f"{FAMILY}{SCHEMA + 1}", "ce-id": "theirs", "tidings-code": "550"}
    house.broker.publish([Outgoing(to=topology.dead("email"), raw=b"theirs", headers=headers)])
    assert replay.replay(replace(ACME, ids=[row.id]), limit=10).ids == [row.id]
    (left,) = waiting(house, "tidings.email.dead")
    assert (left.body, left.headers, left.message_id) == (b"theirs", headers, "theirs")


# --- sweep ------------------------------------------------------------------------------------------------------------


def test_a_row_whose_message_was_never_published_is_sent_after_all(house: House, sweep: Sweep) -> None:
    """The intake died between the commit and the publish."""
    row = make.notification(house.clock())
    house.store.insert([row])
    house.clock.advance(seconds=14)
    assert sweep.run() == Swept()
    house.clock.advance(seconds=1)
    assert sweep.run() == Swept(published=1)
    drained(house)
    assert house.row(row).status is Status.SENT


def test_a_row_whose_message_a_later_version_wrote_is_sent_after_all(house: House, sweep: Sweep) -> None:
    """By this one, after a rollback: what goes round unread is only a wake-up call."""
    row = make.notification(house.clock())
    house.store.insert([row])
    house.delivery.deliver([IncomingMessage(queue="tidings.email", body=b"", message=None, channel="email", later={})])
    house.clock.advance(seconds=15)
    assert sweep.run() == Swept(published=1)
    drained(house)
    assert house.row(row).status is Status.SENT


def test_a_row_whose_message_was_lost_is_sent_after_all(house: House, sweep: Sweep) -> None:
    """The queue was deleted with what it held."""
    house.add(make.notification(house.clock()))
    consumer = house.broker.consume(("tidings.email",))
    consumer.acknowledge(consumer.receive(1, timedelta(0)))
    consumer.close()
    house.clock.advance(seconds=15)
    assert sweep.run() == Swept(published=1)


def test_a_backlog_is_not_published_again(house: House, sweep: Sweep) -> None:
    house.add(*[make.notification(house.clock()) for _ in range(5)])
    looks = 0
    for _ in range(600):
        house.clock.advance(seconds=1)
        swept = sweep.run()
        assert swept in (Swept(), Swept(waiting=5))
        looks += swept.waiting // 5
    assert looks == 5  # after 15 s, and then ever more seldom: a backlog of a million is not looked at all the time
    assert len(waiting(house, "tidings.email")) == 5


def test_a_paused_channels_messages_are_not_published_again_wherever_they_are(house: House, sweep: Sweep) -> None:
    row = added(house)
    house.store.pause("email")
    for _ in range(5):
        house.clock.advance(minutes=1)
        assert sweep.run().published == 0
    house.store.resume("email")
    house.clock.advance(minutes=11)
    assert sweep.run().published == 1
    drained(house)
    assert [call.id for call in house.provider.calls] == [row.id]


def test_a_worker_whose_database_was_away_for_longer_than_its_lease_still_settles(house: House, sweep: Sweep) -> None:
    row = added(house)
    claims = house.store.claim([make.message(row)], timedelta(seconds=60))
    house.clock.advance(minutes=10)  # nobody could write anything; then the sweep comes before the worker
    assert sweep.run() == Swept()
    assert not house.store.settle(
        [house.settler.settlement_for(claims, claims.acquired[0], Acceptance(provider_message_id="receipt"))]
    )
    house.clock.advance(minutes=10)
    assert sweep.run() == Swept()
    assert house.row(row).status is Status.SENT


def test_a_message_lost_from_a_queue_that_never_runs_empty_is_published_again(house: House, sweep: Sweep) -> None:
    lost = make.notification(house.clock())
    house.store.insert([lost])
    house.clock.advance(seconds=30)
    passed = make.notification(house.clock())
    house.add(passed, make.notification(house.clock()))
    house.delivery.deliver(letters(passed))
    house.clock.advance(seconds=14)
    assert sweep.run() == Swept(published=1)
    house.clock.advance(seconds=1)
    assert sweep.run() == Swept(waiting=1)


@pytest.mark.parametrize(("policy", "end"), [(OnAmbiguous.RESEND, Status.RETRYING), (OnAmbiguous.HOLD, Status.UNKNOWN)])
def test_what_a_dead_worker_left_is_ambiguous(house: House, sweep: Sweep, policy: OnAmbiguous, end: Status) -> None:
    row = added(house, on_ambiguous=policy)
    house.store.claim([make.message(row)], timedelta(seconds=60))  # and the worker dies
    house.clock.advance(seconds=30)
    assert sweep.run() == Swept()
    house.clock.advance(seconds=40)
    assert sweep.run() == Swept()  # the first to see that the lease is over
    house.clock.advance(seconds=5)
    assert sweep.run() == Swept(abandoned=1)
    after = house.row(row)
    assert (after.status, after.error_code) == (end, "lease_expired")


def test_what_kills_its_worker_each_time_comes_to_an_end(house: House, sweep: Sweep) -> None:
    row = added(house, max_attempts=2)
    for _ in range(2):
        house.clock.advance(seconds=1)
        house.store.claim([make.message(row)], timedelta(seconds=60), isolated=True)
        for _ in range(2):
            house.clock.advance(minutes=10)
            sweep.run()
    assert house.row(row).status is Status.FAILED
    assert len(waiting(house, "tidings.email.dead")) == 1


def test_a_dead_letter_that_is_owed_is_published_once_the_broker_is_back(house: House, sweep: Sweep) -> None:
    row = added(house)
    claims = house.store.claim([make.message(row)], timedelta(seconds=60))
    end = house.settler.settlement_for(claims, claims.acquired[0], PermanentError("550", "no"))
    house.store.settle([end], dead_letters_owed=True)
    house.clock.advance(seconds=10)
    assert sweep.run() == Swept(dead_lettered=1)
    assert sweep.run() == Swept()
    (letter,) = waiting(house, "tidings.email.dead")
    assert letter.headers["tidings-code"] == "550"


def test_a_queue_that_takes_nothing_holds_up_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    row, stuck = added(house), added(house, priority=Priority.HIGH)
    failing = added(house)
    claims = house.store.claim([make.message(failing)], timedelta(seconds=60))
    end = house.settler.settlement_for(claims, claims.acquired[0], PermanentError("550", "no"))
    house.store.settle([end], dead_letters_owed=True)
    publish = house.broker.publish
    full = {"email.dead", "email.high"}

    def refusing(wave: Sequence[Outgoing]) -> None:
        if any(item.to.routing_key in full for item in wave):
            raise BrokerUnavailable("full")
        publish(wave)

    monkeypatch.setattr(house.broker, "publish", refusing)
    sweep = Sweep(store=house.store, broker=house.broker, settler=house.settler)
    house.clock.advance(seconds=15)
    assert sweep.run() == Swept(published=1, refused=2)
    assert [item.message_id for item in waiting(house, "tidings.email")] == [f"{row.id}:1:0"]
    full.clear()
    house.clock.advance(seconds=10)
    assert sweep.run() == Swept(published=1, dead_lettered=1)
    assert [item.message_id for item in waiting(house, "tidings.email.high")] == [f"{stuck.id}:1:0"]


def test_a_worker_quicker_than_the_sweeps_mark_keeps_its_next_attempt(
    house: House, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = added(house)
    later = TransientError("451", "later", retry_after=timedelta(hours=1))
    house.provider.script[row.recipient] = [later]
    drop = house.broker.consume(topology.work_queues("email"))
    drop.acknowledge(drop.receive(100, timedelta(0)))
    drop.close()
    publish, waves = house.broker.publish, list[int]()

    def delivered_at_once(wave: Sequence[Outgoing]) -> None:
        publish(wave)
        if wave and not waves:
            waves.append(len(wave))
            drained(house)

    house.clock.advance(minutes=1)
    with monkeypatch.context() as patched:
        patched.setattr(house.broker, "publish", delivered_at_once)
        assert sweep.run() == Swept(published=1)
    assert house.row(row).status is Status.RETRYING
    for _ in range(100):
        house.clock.advance(seconds=30)
        assert sweep.run() == Swept()


def test_a_sweep_works_through_more_than_a_page(house: House, sweep: Sweep) -> None:
    rows = [make.notification(house.clock()) for _ in range(1200)]
    house.store.insert(rows)
    house.store.mark_unqueued(rows)  # the broker was down
    house.clock.advance(seconds=10)
    assert sweep.run() == Swept(published=1200)


class Enough(Exception):
    pass


def test_a_sweep_that_is_to_go_on_finds_what_is_due_since(house: House, sweep: Sweep) -> None:
    added(house)
    paused: list[float] = []

    def meanwhile(seconds: float) -> None:
        if paused:
            raise Enough
        paused.append(seconds)
        house.clock.advance(seconds=15)

    with pytest.raises(Enough):
        replace(sweep, sleep=meanwhile).run_for(timedelta(hours=1))
    assert [paused, len(waiting(house, "tidings.email"))] == [[1.0], 1]


def test_a_sweep_that_is_to_go_on_for_no_time_runs_once(house: House, sweep: Sweep) -> None:
    added(house)
    house.clock.advance(seconds=15)
    pauses: list[float] = []
    assert replace(sweep, sleep=pauses.append).run_for(timedelta(0)) == Swept(published=1)
    assert pauses == []


@pytest.mark.slow
def test_a_sweep_deletes_what_is_over_for_longer_than_it_is_kept_and_leaves_as_much_time_to_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.store.insert([make.notification(house.clock()) for _ in range(1200)])
    for row in house.store.find(ACME, 1200):
        house.store.cancel("acme", row.id)
    house.clock.advance(days=8)
    added(house)
    kept = Sweep(store=house.store, broker=house.broker, settler=house.settler)
    assert kept.run() == Swept()  # not told how long, it keeps everything
    monkeypatch.setattr(
        "tidings.pipeline.retention.PURGE_FOR", timedelta(minutes=5)
    )  # a busy machine comes to the last page too
    pauses: list[float] = []
    sweep = replace(kept, keep=timedelta(days=7), sleep=pauses.append)
    assert sweep.run() == Swept(purged=1200)
    assert house.store.count(ACME) == 1
    assert len(pauses) == 2
    assert min(pauses) > 0

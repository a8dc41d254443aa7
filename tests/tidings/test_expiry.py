"""`expires_at` holds at every hop: nothing is begun after it.

At the door: tests/functions/test_intake.py. Handed on as Twilio's `validity_period` and FCM's `ttl`:
tests/functions/test_twilio.py and test_fcm.py.
"""

from datetime import timedelta

import pytest
from tidings.domain.errors import AmbiguousError, PermanentError, TransientError
from tidings.domain.notification import Notification, OnAmbiguous, Status
from tidings.pipeline.replay import Replay
from tidings.pipeline.sweep import Sweep, Swept
from tidings.ports import Selection

from tests.tidings.conftest import House
from tests.tidings.test_delivery import added, letters

LIFE = 30  # seconds; a worker counts what it takes itself, which a busy machine must not use up


@pytest.fixture
def sweep(house: House) -> Sweep:
    return Sweep(store=house.store, broker=house.broker, settler=house.settler)


def short_lived(house: House, **changes: object) -> Notification:
    return added(house, expires_at=house.clock() + timedelta(seconds=LIFE), **changes)


def ended(house: House, row: Notification) -> list[Status]:
    return [event.status for event in house.store.events(row.id)]


def test_in_the_sweep(house: House, sweep: Sweep) -> None:
    row = short_lived(house)
    house.clock.advance(seconds=LIFE)
    assert sweep.run() == Swept(expired=1)
    assert house.row(row).status is Status.EXPIRED


def test_at_the_claim_and_the_sweep_writes_it_down(house: House, sweep: Sweep) -> None:
    row = short_lived(house)
    house.clock.advance(seconds=LIFE)
    house.delivery.deliver(letters(row))
    assert sweep.run() == Swept(expired=1)
    assert not house.provider.calls
    assert ended(house, row) == [Status.EXPIRED]


def test_between_two_attempts(house: House, sweep: Sweep) -> None:
    row = short_lived(house)
    house.provider.script[row.recipient] = [TransientError("451", "later", retry_after=timedelta(minutes=5))]
    house.delivery.deliver(letters(row))
    assert sweep.run() == Swept()
    house.clock.advance(seconds=LIFE)  # long before the attempt that will not be
    assert sweep.run() == Swept(expired=1)
    house.clock.advance(minutes=5)
    house.delivery.deliver(letters(row))
    assert len(house.provider.calls) == 1
    assert ended(house, row) == [Status.RETRYING, Status.EXPIRED]


def test_scheduled_and_expired_while_nobody_swept(house: House, sweep: Sweep) -> None:
    due = house.clock() + timedelta(seconds=1)
    row = short_lived(house, send_at=due, next_attempt_at=due)
    house.clock.advance(minutes=1)
    assert sweep.run() == Swept(expired=1)
    assert ended(house, row) == [Status.EXPIRED]


def test_after_the_worker_died(house: House, sweep: Sweep) -> None:
    row = short_lived(house)
    house.store.claim([message for letter in letters(row) if (message := letter.message)], timedelta(seconds=60))
    for _ in range(3):  # the lease is seen to be over, then taken over, then the row is past its expiry
        house.clock.advance(minutes=2)
        sweep.run()
    assert ended(house, row) == [Status.RETRYING, Status.EXPIRED]
    assert not house.provider.calls


@pytest.mark.parametrize(
    ("error", "end"),
    [(PermanentError("550", "no"), Status.FAILED), (AmbiguousError("timeout", "no answer"), Status.UNKNOWN)],
)
def test_a_replay_of_what_expired_while_it_was_dead(house: House, sweep: Sweep, error: Exception, end: Status) -> None:
    row = short_lived(house, on_ambiguous=OnAmbiguous.HOLD)
    house.provider.script[row.recipient] = [error]
    house.delivery.deliver(letters(row))
    house.clock.advance(minutes=1)
    assert sweep.run() == Swept()  # a dead letter does not expire: it is kept for an operator
    assert house.row(row).status is end
    replay, named = Replay(store=house.store, broker=house.broker), Selection(tenant="acme", statuses=[end])
    assert (replay.dry_run(named, limit=1000).count, replay.dry_run(named, limit=1000).expired) == (0, 1)
    left = replay.replay(named, limit=10)
    assert (left.ids, left.expired) == ([], 1)
    assert house.row(row).status is end  # nothing is discarded in silence
    later = house.clock() + timedelta(hours=1)
    assert (
        replay.dry_run(named, limit=1000, expires_at=later).count,
        replay.dry_run(named, limit=1000, expires_at=later).expired,
    ) == (1, 0)
    done = replay.replay(named, limit=10, expires_at=later)
    assert (done.ids, done.expired) == ([row.id], 0)
    house.delivery.deliver(letters(house.row(row)))
    assert (len(house.provider.calls), house.row(row).status) == (2, Status.SENT)

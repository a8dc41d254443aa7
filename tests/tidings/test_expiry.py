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

from tests.tidings.conftest import Parts
from tests.tidings.test_delivery import added, incoming

LIFE = 30  # seconds; a worker counts what it takes itself, which a busy machine must not use up


@pytest.fixture
def sweep(parts: Parts) -> Sweep:
    return Sweep(store=parts.store, broker=parts.broker, settler=parts.settler)


def short_lived(parts: Parts, **changes: object) -> Notification:
    return added(parts, expires_at=parts.clock() + timedelta(seconds=LIFE), **changes)


def ended(parts: Parts, row: Notification) -> list[Status]:
    return [event.status for event in parts.store.events(row.id)]


def test_the_sweep_expires_a_notification(parts: Parts, sweep: Sweep) -> None:
    row = short_lived(parts)
    parts.clock.advance(seconds=LIFE)
    assert sweep.run() == Swept(expired=1)
    assert parts.row(row).status is Status.EXPIRED


def test_an_expired_notification_is_not_claimed_and_the_sweep_expires_it(parts: Parts, sweep: Sweep) -> None:
    row = short_lived(parts)
    parts.clock.advance(seconds=LIFE)
    parts.delivery.deliver(incoming(row))
    assert sweep.run() == Swept(expired=1)
    assert not parts.provider.calls
    assert ended(parts, row) == [Status.EXPIRED]


def test_a_notification_expires_between_two_attempts(parts: Parts, sweep: Sweep) -> None:
    row = short_lived(parts)
    parts.provider.script[row.recipient] = [TransientError("451", "later", retry_after=timedelta(minutes=5))]
    parts.delivery.deliver(incoming(row))
    assert sweep.run() == Swept()
    parts.clock.advance(seconds=LIFE)  # long before the attempt that will not be
    assert sweep.run() == Swept(expired=1)
    parts.clock.advance(minutes=5)
    parts.delivery.deliver(incoming(row))
    assert len(parts.provider.calls) == 1
    assert ended(parts, row) == [Status.RETRYING, Status.EXPIRED]


def test_a_scheduled_notification_that_expired_before_the_first_sweep_is_not_sent(parts: Parts, sweep: Sweep) -> None:
    due = parts.clock() + timedelta(seconds=1)
    row = short_lived(parts, send_at=due, next_attempt_at=due)
    parts.clock.advance(minutes=1)
    assert sweep.run() == Swept(expired=1)
    assert ended(parts, row) == [Status.EXPIRED]


def test_a_notification_expires_after_its_worker_died(parts: Parts, sweep: Sweep) -> None:
    row = short_lived(parts)
    parts.store.claim([message for letter in incoming(row) if (message := letter.message)], timedelta(seconds=60))
    for _ in range(3):  # the lease is seen to be over, then taken over, then the row is past its expiry
        parts.clock.advance(minutes=2)
        sweep.run()
    assert ended(parts, row) == [Status.RETRYING, Status.EXPIRED]
    assert not parts.provider.calls


@pytest.mark.parametrize(
    ("error", "end"),
    [(PermanentError("550", "no"), Status.FAILED), (AmbiguousError("timeout", "no answer"), Status.UNKNOWN)],
)
def test_a_replay_of_an_expired_dead_letter_needs_a_new_expiry(
    parts: Parts, sweep: Sweep, error: Exception, end: Status
) -> None:
    row = short_lived(parts, on_ambiguous=OnAmbiguous.HOLD)
    parts.provider.script[row.recipient] = [error]
    parts.delivery.deliver(incoming(row))
    parts.clock.advance(minutes=1)
    assert sweep.run() == Swept()  # a dead letter does not expire: it is kept for an operator
    assert parts.row(row).status is end
    replay, named = Replay(store=parts.store, broker=parts.broker), Selection(tenant="acme", statuses=[end])
    assert (replay.dry_run(named, limit=1000).count, replay.dry_run(named, limit=1000).expired) == (0, 1)
    left = replay.replay(named, limit=10)
    assert (left.ids, left.expired) == ([], 1)
    assert parts.row(row).status is end  # nothing is discarded in silence
    later = parts.clock() + timedelta(hours=1)
    assert (
        replay.dry_run(named, limit=1000, expires_at=later).count,
        replay.dry_run(named, limit=1000, expires_at=later).expired,
    ) == (1, 0)
    done = replay.replay(named, limit=10, expires_at=later)
    assert (done.ids, done.expired) == ([row.id], 0)
    parts.delivery.deliver(incoming(parts.row(row)))
    assert (len(parts.provider.calls), parts.row(row).status) == (2, Status.SENT)

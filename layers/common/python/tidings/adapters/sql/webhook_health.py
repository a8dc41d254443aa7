"""What the settlements of webhooks say about their endpoints: one that is gone, or fails for too long, is disabled, and
what is held for one that is not disabled is to be released.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, or_, update

from tidings.adapters.sql.schema import webhooks
from tidings.adapters.sql.webhook_release import RELEASES_FOR
from tidings.domain.errors import NotCalled, OnHold
from tidings.domain.notification import Status
from tidings.domain.webhook import CHANNEL, FAILING_FOR, EndpointState, is_status_webhook
from tidings.ports import Settlement

w = webhooks.c

WRITTEN_EVERY = timedelta(seconds=30)
"""How often a success is written to an endpoint that does well."""


def note(connection: Connection, now: datetime, settled: Sequence[Settlement]) -> None:
    """In the transaction of the settlement. The number of statements does not depend on the batch."""
    of_channel = [s for s in settled if s.notification.channel == CHANNEL]
    ours = [s for s in of_channel if is_status_webhook(CHANNEL, s.notification.recipient)]
    calls = [s for s in ours if s.elapsed is not None]
    gone = _endpoints(s for s in calls if isinstance(s.error, OnHold) and s.error.is_gone)
    failed = _endpoints(s for s in calls if s.error is not None and not isinstance(s.error, NotCalled))
    succeeded = _endpoints(s for s in calls if s.status is Status.SENT)
    is_enabled = w.state == EndpointState.ENABLED
    off = {"state": EndpointState.DISABLED, "changed_at": now}
    if failed or gone:
        both = sorted({*failed, *gone})
        since = {"failing_since": func.coalesce(w.failing_since, now), "last_failure_at": now}
        connection.execute(update(webhooks).where(w.id.in_(both)).values(**since))
    if succeeded:
        is_news = or_(
            w.failing_since.is_not(None), w.last_success_at.is_(None), w.last_success_at < now - WRITTEN_EVERY
        )
        done = {"failing_since": None, "last_success_at": now}
        connection.execute(update(webhooks).where(w.id.in_(succeeded), is_news).values(**done))
    if gone:
        connection.execute(update(webhooks).where(w.id.in_(gone), is_enabled).values(**off, reason="gone"))
    if failed:
        too_long = w.failing_since <= now - FAILING_FOR
        connection.execute(
            update(webhooks).where(w.id.in_(failed), is_enabled, too_long).values(**off, reason="failing")
        )
    if held := _endpoints(s for s in ours if s.held):
        # It was enabled or deleted meanwhile, perhaps long ago: a retry may come back after hours.
        is_off = w.state == EndpointState.DISABLED
        connection.execute(update(webhooks).where(w.id.in_(held), ~is_off).values(release_until=now + RELEASES_FOR))


def _endpoints(settlements: Iterable[Settlement]) -> list[str]:
    return sorted({settlement.notification.recipient for settlement in settlements})

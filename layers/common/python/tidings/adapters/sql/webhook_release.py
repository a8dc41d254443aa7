"""Notifications that were held for an endpoint: released when it is enabled, canceled when it is deleted.

The sweep does it, page by page, for some time after the change, and after each settlement that holds one more: a worker
may have seen the endpoint as it was before, and a retry may come back hours after the endpoint was deleted.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, select, update

from tidings.adapters.sql import timeline
from tidings.adapters.sql.rows import WITHOUT_CONTENT, notification_of, set_columns, timeline_entry
from tidings.adapters.sql.schema import notifications, webhooks
from tidings.adapters.sql.wake_time import not_after_expiry
from tidings.domain.notification import CLAIMABLE, Status
from tidings.domain.receipt import By
from tidings.domain.timing import SWEEP_GRACE
from tidings.domain.webhook import CHANNEL, HELD, EndpointState

n, w = notifications.c, webhooks.c

RELEASES_FOR = timedelta(minutes=2)
"""After the last one was found: longer than a worker remembers an endpoint, and than it takes to settle."""


def by_status(statement: Select[Any]) -> Select[Any]:
    """Few rows of a tenant wait at a time; the index on the recipient has all that an endpoint ever got."""
    for dialect in ("mysql", "mariadb"):
        statement = statement.with_hint(notifications, "FORCE INDEX (ix_notifications_status)", dialect)
    return statement


def release(connection: Connection, now: datetime, limit: int) -> int:
    changed = connection.execute(
        select(w.id, w.tenant, w.state, w.release_until).where(w.release_until.is_not(None)).order_by(w.id)
    ).all()
    done = 0
    for endpoint in changed:
        if endpoint.state == EndpointState.DISABLED or done >= limit:
            continue
        found = _page(connection, now, endpoint, limit - done)
        done += found
        if found and endpoint.state == EndpointState.ENABLED:
            _set_until(connection, endpoint, now + RELEASES_FOR)
        elif not found and endpoint.release_until <= now:
            _set_until(connection, endpoint, None)
    return done


def _set_until(connection: Connection, endpoint: Any, until: datetime | None) -> None:
    """Unless its state has changed meanwhile."""
    unchanged = w.id == endpoint.id, w.state == endpoint.state
    connection.execute(update(webhooks).where(*unchanged).values(release_until=until))


def _page(connection: Connection, now: datetime, endpoint: Any, limit: int) -> int:
    held = by_status(select(*WITHOUT_CONTENT)).where(
        n.tenant == endpoint.tenant,
        n.status.in_(CLAIMABLE),
        n.channel == CHANNEL,
        n.recipient == endpoint.id,
        n.next_attempt_at == HELD,
    )
    rows = [notification_of(row) for row in connection.execute(held.limit(limit).with_for_update(skip_locked=True))]
    if not rows:
        return 0
    if endpoint.state == EndpointState.ENABLED:
        due = {"next_attempt_at": None, "queued_at": None, "wake_at": not_after_expiry(now - SWEEP_GRACE)}
        set_columns(connection, rows, **due)
    else:
        entries = [timeline_entry(row, Status.CANCELED, now, By.OPERATOR) for row in rows]
        timeline.write_rows(connection, now, entries, rows)
        set_columns(connection, rows, status=Status.CANCELED, next_attempt_at=None, wake_at=None, updated_at=now)
    return len(rows)

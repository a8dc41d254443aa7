"""The sweep: find rows that should have moved and have not, and give up on a provider that keeps refusing us."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from tidings.adapters.sql import timeline
from tidings.adapters.sql.rows import SUPPORTED, WITHOUT_CONTENT, as_seen, notification_of, set_columns, timeline_entry
from tidings.adapters.sql.schema import notifications
from tidings.adapters.sql.wake_time import not_after_expiry
from tidings.domain.connection import Connection as ProviderConnection
from tidings.domain.errors import AccountError
from tidings.domain.notification import CLAIMABLE, Notification, Status
from tidings.domain.receipt import By
from tidings.domain.timing import SWEEP_GRACE
from tidings.ports import Claims, Overdue

n = notifications.c


def overdue(connection: Connection, now: datetime, limit: int, lease: timedelta, token: str) -> Overdue:
    # A lease counts as expired when one look saw that it had run out, and another, after the grace, sees the same. If
    # the database was away for longer than the lease, a worker can thus still settle what it has sent.
    first_look = and_(n.status == Status.SENDING, n.wake_at == n.lease_until)
    # A row past its expiry gets no grace: no worker will move it.
    has_expired = and_(n.status.in_(CLAIMABLE), n.expires_at <= now)
    columns: list[Any] = [*WITHOUT_CONTENT, first_look.label("first_look")]
    found = connection.execute(
        select(*columns)
        .where(n.wake_at <= now, SUPPORTED, or_(n.wake_at <= now - SWEEP_GRACE, has_expired, first_look))
        .order_by(n.wake_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    seen = [notification_of(row) for row in found if row.first_look]
    rows = [notification_of(row) for row in found if not row.first_look]
    expired = [row for row in rows if row.status in CLAIMABLE and row.expires_at is not None and row.expires_at <= now]
    abandoned = [row for row in rows if row.status is Status.SENDING]
    expired_ids = {row.id for row in expired}
    wake = [row for row in rows if row.status in CLAIMABLE and row.id not in expired_ids]
    dead_letters_owed = [row for row in rows if row.status is Status.FAILED]
    if expired:
        entries = [timeline_entry(row, Status.EXPIRED, now, By.SWEEP) for row in expired]
        timeline.write_rows(connection, now, entries, expired)
        set_columns(connection, expired, status=Status.EXPIRED, wake_at=None, updated_at=now)
    if seen:
        set_columns(connection, seen, wake_at=now)
    if abandoned:
        set_columns(connection, abandoned, token=token, lease_until=now + lease, wake_at=now + lease)
    # If publishing fails now, a later sweep finds these again, behind rows that have waited longer.
    if wake:
        set_columns(connection, wake, wake_at=not_after_expiry(now))
    if dead_letters_owed:
        set_columns(connection, dead_letters_owed, wake_at=now)
    return Overdue(
        wake=wake,
        abandoned=Claims(token=token, at=now, acquired=abandoned) if abandoned else None,
        dead_letters_owed=dead_letters_owed,
        expired=len(expired),
        at=now,
        more=len(found) == limit,
    )


def give_up(
    connection: Connection, now: datetime, waiting: Sequence[Notification], refusing: ProviderConnection
) -> Sequence[Notification]:
    unmoved = select(*WITHOUT_CONTENT).where(as_seen(waiting), n.status.in_(CLAIMABLE)).order_by(n.id)
    rows = [notification_of(row) for row in connection.execute(unmoved.with_for_update())]
    error: dict[str, Any] = {
        "provider": refusing.name,
        "error_class": AccountError.kind,
        "error_code": refusing.error_code,
        "error_message": refusing.error_message,
    }
    if rows:
        entries = [timeline_entry(row, Status.FAILED, now, By.SWEEP) | error for row in rows]
        timeline.write_rows(connection, now, entries, rows)
        # The sweep looks again until the dead letter is confirmed.
        set_columns(connection, rows, status=Status.FAILED, wake_at=now, updated_at=now, **error)
    return [replace(row, status=Status.FAILED, updated_at=now, **error) for row in rows]

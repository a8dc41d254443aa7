"""What the sweep, a replay and a cancel change."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, case, delete, insert, or_, select, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tidings.adapters.sql.reads import SUPPORTED, WITHOUT_CONTENT, as_seen, narrowed, notification_of
from tidings.adapters.sql.schema import events, notifications, pauses, suppressions
from tidings.adapters.sql.wake_time import not_after_expiry
from tidings.domain.connection import Connection as ProviderConnection
from tidings.domain.errors import AccountError
from tidings.domain.notification import CLAIMABLE, OPERATOR, REPLAYABLE, TERMINAL, Notification, Status, first_id
from tidings.domain.timing import REQUEUE_AFTER, SWEEP_GRACE
from tidings.ports import Changed, Claims, Overdue, Purged, Selection

n, e = notifications.c, events.c


def overdue(connection: Connection, now: datetime, limit: int, lease: timedelta, token: str) -> Overdue:
    # A lease is over when it was seen to be, and still is after the grace. Where the database was away for longer than
    # the lease, the worker gets to settle what it has sent, before that counts as ambiguous.
    first_look = and_(n.status == Status.SENDING, n.wake_at == n.lease_until)
    # What has expired will not move by itself: it gets no grace.
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
    gone = {row.id for row in expired}
    wake = [row for row in rows if row.status in CLAIMABLE and row.id not in gone]
    if expired:
        connection.execute(insert(events), [_change(row, Status.EXPIRED, now) for row in expired])
        _set(connection, expired, status=Status.EXPIRED, wake_at=None, updated_at=now)
    if seen:
        _set(connection, seen, wake_at=now)
    if abandoned:
        _set(connection, abandoned, token=token, lease_until=now + lease, wake_at=now + lease)
    # Were the publishing to fail now, the next sweep but one would find them again, after what others wait for.
    dead_letters_owed = [row for row in rows if row.status is Status.FAILED]
    if wake:
        _set(connection, wake, wake_at=not_after_expiry(now))
    if dead_letters_owed:
        _set(connection, dead_letters_owed, wake_at=now)
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
    still = select(*WITHOUT_CONTENT).where(as_seen(waiting), n.status.in_(CLAIMABLE)).order_by(n.id).with_for_update()
    rows = [notification_of(row) for row in connection.execute(still)]
    error: dict[str, Any] = {
        "provider": refusing.name,
        "error_class": AccountError.kind,
        "error_code": refusing.error_code,
        "error_message": refusing.error_message,
    }
    if rows:
        connection.execute(insert(events), [_change(row, Status.FAILED, now) | error for row in rows])
        # Until its letter is confirmed the sweep looks again.
        _set(connection, rows, status=Status.FAILED, wake_at=now, updated_at=now, **error)
    return [replace(row, status=Status.FAILED, updated_at=now, **error) for row in rows]


def mark_queued(connection: Connection, now: datetime, rows: Sequence[Notification]) -> None:
    connection.execute(
        update(notifications)
        .where(as_seen(rows), n.status.in_(CLAIMABLE))
        .values(queued_at=now, wake_at=not_after_expiry(now + REQUEUE_AFTER))
    )


def mark_waiting(connection: Connection, now: datetime, rows: Sequence[Notification], pause: timedelta) -> None:
    connection.execute(
        update(notifications)
        .where(as_seen(rows), n.status.in_(CLAIMABLE))
        .values(wake_at=not_after_expiry(now + pause))
    )


def mark_dead_letter_published(connection: Connection, _now: datetime, rows: Sequence[Notification]) -> None:
    connection.execute(update(notifications).where(as_seen(rows), n.status == Status.FAILED).values(wake_at=None))


def reset_for_replay(
    connection: Connection,
    now: datetime,
    selection: Selection,
    limit: int,
    due_in: timedelta,
    *,
    after: str,
    expires_at: datetime | None,
    earlier: list[Notification],
) -> Sequence[Notification]:
    """`earlier`: empty; a second run of the same call finds there what the first has chosen."""
    if earlier and _is_written(connection, earlier[0]):
        return earlier
    due = now + due_in
    lasting = selection if expires_at is not None and expires_at > due else replace(selection, lasts=due_in)
    statement = narrowed(select(*WITHOUT_CONTENT), lasting, now).where(n.status.in_(REPLAYABLE), n.id > after)
    rows = [
        notification_of(row)
        for row in connection.execute(statement.order_by(n.id).limit(limit).with_for_update(skip_locked=True))
    ]
    if not rows:
        return []
    revived = [
        replace(
            row,
            status=Status.PENDING,
            generation=row.generation + 1,
            attempt=0,
            uncounted_attempts=0,
            refused_at=None,
            next_attempt_at=due,
            updated_at=now,
            expires_at=expires_at if row.expires_at is not None and row.expires_at <= due else row.expires_at,
        )
        for row in rows
    ]
    connection.execute(insert(events), [_change(row, Status.PENDING, now) for row in revived])
    new_end = (
        {"expires_at": case((n.expires_at <= due, expires_at), else_=n.expires_at)} if lasting is selection else {}
    )
    _set(
        connection,
        rows,
        status=Status.PENDING,
        generation=n.generation + 1,
        attempt=0,
        uncounted_attempts=0,
        refused_at=None,
        next_attempt_at=due if due_in else None,
        queued_at=None if due_in else now,
        wake_at=not_after_expiry(due - SWEEP_GRACE if due_in else now + REQUEUE_AFTER),
        updated_at=now,
        **new_end,
    )
    earlier[:] = revived
    return revived


def _is_written(connection: Connection, revived: Notification) -> bool:
    """Its line of the timeline stays, whatever a worker has made of the row since."""
    line = select(e.seq).where(e.notification_id == revived.id, e.generation == revived.generation, e.attempt == 0)
    mine = line.where(e.status == Status.PENDING, e.at == revived.updated_at)
    return connection.execute(mine).first() is not None


def cancel(connection: Connection, now: datetime, tenant: str, id: str) -> Changed | None:
    notification = _locked(connection, tenant, id)
    if notification is None:
        return None
    if notification.status not in CLAIMABLE:
        return Changed(notification=notification, by_this_call=False)
    connection.execute(insert(events), [_change(notification, Status.CANCELED, now)])
    _set(connection, [notification], status=Status.CANCELED, wake_at=None, updated_at=now)
    return Changed(notification=replace(notification, status=Status.CANCELED, updated_at=now), by_this_call=True)


def resolve(connection: Connection, now: datetime, tenant: str, id: str) -> Changed | None:
    """The row keeps the error that left it open: no provider has said that it was sent."""
    notification = _locked(connection, tenant, id)
    if notification is None:
        return None
    if notification.status is not Status.UNKNOWN:
        return Changed(notification=notification, by_this_call=False)
    said: dict[str, Any] = {"status": Status.SENT, "provider": OPERATOR}
    connection.execute(insert(events), [_change(notification, Status.SENT, now) | said])
    _set(connection, [notification], **said, updated_at=now)
    return Changed(notification=replace(notification, **said, updated_at=now), by_this_call=True)


def pause(connection: Connection, now: datetime, channel: str) -> None:
    new = {"channel": channel, "at": now}
    if connection.dialect.name == "sqlite":
        connection.execute(sqlite_insert(pauses).on_conflict_do_nothing(), new)
    else:
        connection.execute(mysql_insert(pauses).on_duplicate_key_update(channel=pauses.c.channel), new)


def resume(connection: Connection, _now: datetime, channel: str) -> None:
    connection.execute(delete(pauses).where(pauses.c.channel == channel))


def purge(connection: Connection, now: datetime, keep: timedelta, limit: int, after: str) -> Purged:
    # A row that is over has no wake_at; that index is in the order of the ids, which is that of creation.
    over = n.wake_at.is_(None), n.status.in_(TERMINAL), n.updated_at < now - keep
    ids = list(
        connection.scalars(
            select(n.id)
            .where(n.id > after, n.id < first_id(now - keep), *over)
            .order_by(n.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )
    if ids:
        connection.execute(delete(events).where(events.c.notification_id.in_(ids)))
        connection.execute(delete(notifications).where(n.id.in_(ids)))
    return Purged(rows=len(ids), last=ids[-1] if len(ids) == limit else None)


def purge_suppressions(connection: Connection, now: datetime, keep: timedelta, limit: int) -> int:
    at = suppressions.c.at
    last = connection.scalar(select(at).where(at < now - keep).order_by(at).offset(limit - 1).limit(1))
    old = at < now - keep if last is None else at <= last
    return connection.execute(delete(suppressions).where(old)).rowcount


def _locked(connection: Connection, tenant: str, id: str) -> Notification | None:
    row = connection.execute(
        select(notifications).where(n.id == id, n.tenant == tenant).with_for_update()
    ).one_or_none()
    return None if row is None else notification_of(row)


def _set(connection: Connection, rows: Iterable[Notification], **values: Any) -> None:
    connection.execute(update(notifications).where(n.id.in_(sorted(row.id for row in rows))).values(**values))


def _change(notification: Notification, status: Status, now: datetime) -> dict[str, Any]:
    """An event that no claim made."""
    return {
        "notification_id": notification.id,
        "generation": notification.generation,
        "attempt": notification.attempt,
        "status": status,
        "at": now,
        "uncounted": 0,
    }

"""Replay: set rows that can be replayed back to pending, one generation later."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, select

from tidings.adapters.sql import timeline
from tidings.adapters.sql.rows import WITHOUT_CONTENT, notification_of, set_columns, timeline_entry
from tidings.adapters.sql.schema import events, notifications
from tidings.adapters.sql.selection import narrowed
from tidings.adapters.sql.wake_time import not_after_expiry
from tidings.domain.notification import REPLAYABLE, Notification, Status
from tidings.domain.receipt import By
from tidings.domain.timing import REQUEUE_AFTER, SWEEP_GRACE
from tidings.ports import Selection

n, e = notifications.c, events.c


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
    """`earlier`: empty at first. A second run of the same call finds there the rows that the first one reset."""
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
    reset_rows = [
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
    entries = [timeline_entry(row, Status.PENDING, now, By.OPERATOR) for row in reset_rows]
    timeline.write_rows(connection, now, entries, reset_rows)
    new_expiry = (
        {"expires_at": case((n.expires_at <= due, expires_at), else_=n.expires_at)} if lasting is selection else {}
    )
    set_columns(
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
        **new_expiry,
    )
    earlier[:] = reset_rows
    return reset_rows


def _is_written(connection: Connection, reset: Notification) -> bool:
    """Whether an earlier run was committed: its timeline entry stays, whatever a worker has done with the row since."""
    entry = select(e.seq).where(e.notification_id == reset.id, e.generation == reset.generation, e.attempt == 0)
    ours = entry.where(e.status == Status.PENDING, e.at == reset.updated_at)
    return connection.execute(ours).first() is not None

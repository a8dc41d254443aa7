"""Retention: delete old rows that are over, with their timelines."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select

from tidings.adapters.sql.schema import awaited_receipts, events, notifications
from tidings.domain.notification import TERMINAL, Status, first_id
from tidings.domain.timing import RECEIPT_WINDOW
from tidings.ports import Purged

n = notifications.c


def purge(connection: Connection, now: datetime, keep: timedelta, limit: int, after: str) -> Purged:
    # A terminal row has no wake_at. The index on wake_at has its rows in the order of their ids, that of creation.
    ended = and_(n.status.in_(TERMINAL - {Status.UNDELIVERED}), n.updated_at < now - keep)
    undelivered = and_(n.status == Status.UNDELIVERED, n.updated_at < now - max(keep, RECEIPT_WINDOW))
    is_over = n.wake_at.is_(None), or_(ended, undelivered)
    ids = list(
        connection.scalars(
            select(n.id)
            .where(n.id > after, n.id < first_id(now - keep), *is_over)
            .order_by(n.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )
    if ids:
        connection.execute(delete(awaited_receipts).where(awaited_receipts.c.notification_id.in_(ids)))
        old: ColumnElement[bool] = events.c.notification_id.in_(ids)
        if connection.dialect.name == "sqlite":
            # SQLite reuses the highest `seq` once its row is deleted: a reader of the feed would miss the new event.
            old = and_(old, events.c.seq < (connection.scalar(select(func.max(events.c.seq))) or 0))
        connection.execute(delete(events).where(old))
        connection.execute(delete(notifications).where(n.id.in_(ids)))
    return Purged(rows=len(ids), last=ids[-1] if len(ids) == limit else None)

"""Retention: delete old rows that are over, with their timelines."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select

from tidings.adapters.sql.schema import events, notifications
from tidings.domain.notification import TERMINAL, first_id
from tidings.ports import Purged

n = notifications.c


def purge(connection: Connection, now: datetime, keep: timedelta, limit: int, after: str) -> Purged:
    # A terminal row has no wake_at. The index on wake_at has its rows in the order of their ids, that of creation.
    is_over = n.wake_at.is_(None), n.status.in_(TERMINAL), n.updated_at < now - keep
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
        old: ColumnElement[bool] = events.c.notification_id.in_(ids)
        if connection.dialect.name == "sqlite":
            # It gives the highest number anew once it is deleted, and who follows the events would miss that one.
            old = and_(old, events.c.seq < (connection.scalar(select(func.max(events.c.seq))) or 0))
        connection.execute(delete(events).where(old))
        connection.execute(delete(notifications).where(n.id.in_(ids)))
    return Purged(rows=len(ids), last=ids[-1] if len(ids) == limit else None)

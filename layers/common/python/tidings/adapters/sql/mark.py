"""Marks on rows: what became of their messages."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, update

from tidings.adapters.sql.rows import as_seen
from tidings.adapters.sql.schema import notifications
from tidings.adapters.sql.wake_time import not_after_expiry
from tidings.domain.notification import CLAIMABLE, Notification, Status
from tidings.domain.timing import REQUEUE_AFTER

n = notifications.c


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

"""Inserts: rows that are new, and rows whose idempotency key is taken."""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tidings.adapters.sql.bulk_insert import insert_many
from tidings.adapters.sql.rows import FIELDS, WITHOUT_CONTENT, as_seen, notification_of
from tidings.adapters.sql.schema import notifications
from tidings.adapters.sql.wake_time import not_after_expiry
from tidings.domain.errors import RowTooLarge
from tidings.domain.notification import Notification, Status
from tidings.domain.timing import REQUEUE_AFTER, SWEEP_GRACE
from tidings.ports import Inserted

n = notifications.c

_INSERT = insert(notifications)
_UNLESS_TAKEN = {
    "sqlite": sqlite_insert(notifications).on_conflict_do_nothing(),
    "mysql": mysql_insert(notifications).on_duplicate_key_update(id=n.id),
}


LARGE = 256 * 1024  # characters or bytes of a content; each server takes statements of smaller ones
OVERHEAD = 256 * 1024  # bytes of a statement besides one content: metadata is most of it, and each may be escaped


def insert_new(connection: Connection, now: datetime, batch: Sequence[Notification]) -> Sequence[Inserted]:
    """Raise IntegrityError where the key or the id of one is taken."""
    _check_sizes(connection, batch)
    insert_many(connection, _INSERT, _columns(batch, now))
    return [Inserted(notification) for notification in batch]


def insert_unless_taken(connection: Connection, now: datetime, batch: Sequence[Notification]) -> Sequence[Inserted]:
    """Also where a row of ours is there already: the COMMIT of a first try arrived and its answer was lost."""
    kind = "sqlite" if connection.dialect.name == "sqlite" else "mysql"
    insert_many(connection, _UNLESS_TAKEN[kind], _columns(batch, now))
    hashes = [notification.idempotency_hash for notification in batch if notification.idempotency_hash is not None]
    # Locking, so that it sees what another transaction has just committed.
    rows = connection.execute(select(*WITHOUT_CONTENT).where(n.idempotency_hash.in_(hashes)).with_for_update())
    holders = {row.idempotency_hash: notification_of(row) for row in rows}
    answers = []
    for notification in batch:
        holder = holders.get(notification.idempotency_hash)
        is_ours = holder is None or holder.id == notification.id
        answers.append(Inserted(notification, None if is_ours else holder))
    return answers


def largest_statement(connection: Connection) -> int | None:
    """Bytes, as the server is set now; None: it has no limit that we could reach."""
    if connection.dialect.name == "sqlite":
        return None
    limit: int = connection.scalar(text("SELECT @@max_allowed_packet"))
    return limit


def _check_sizes(connection: Connection, batch: Sequence[Notification]) -> None:
    """Raise RowTooLarge before the server sees it: it would close the connection, as if it were gone."""
    large = [one.size_in_statement for one in batch if len(one.content) > LARGE]
    if not large:
        return
    limit = largest_statement(connection)
    if limit is not None and max(large) + OVERHEAD > limit:
        raise RowTooLarge(limit)


def mark_unqueued(connection: Connection, now: datetime, rows: Sequence[Notification]) -> None:
    connection.execute(
        update(notifications)
        .where(as_seen(rows), n.status == Status.PENDING)
        .values(queued_at=None, wake_at=not_after_expiry(now))
    )


def _columns(batch: Sequence[Notification], now: datetime) -> dict[str, Sequence[Any]]:
    columns: dict[str, Sequence[Any]] = {name: [*map(attrgetter(name), batch)] for name in FIELDS}
    queued_at, wake_at = zip(*(_queued_and_wake(notification, now) for notification in batch), strict=True)
    return {**columns, "queued_at": queued_at, "wake_at": wake_at}


def _queued_and_wake(notification: Notification, now: datetime) -> tuple[datetime | None, datetime]:
    queued_at: datetime | None
    if notification.is_for_now or notification.send_at is None:
        queued_at, wake_at = now, now + REQUEUE_AFTER
    else:  # not queued yet: the sweep finds it when it is due, and not some seconds after
        queued_at, wake_at = None, notification.send_at - SWEEP_GRACE
    if notification.expires_at is not None:
        wake_at = min(wake_at, notification.expires_at)
    return queued_at, wake_at

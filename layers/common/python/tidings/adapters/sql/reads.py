"""The Store's reads. Where one needs the time, it takes the Database, whose clock decides."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, func, select

from tidings.adapters.sql.database import Database, see_one_moment
from tidings.adapters.sql.rows import ALL_COLUMNS, WITHOUT_CONTENT, notification_of
from tidings.adapters.sql.schema import events, metadata, notifications
from tidings.adapters.sql.selection import is_doubtful, narrowed
from tidings.adapters.sql.timeline import IS_ENTRY
from tidings.domain.notification import Notification, Priority, Status, TimelineEntry, first_id, read
from tidings.messaging.envelope import Message
from tidings.ports import LOOK_AHEAD, Selection

n, e = notifications.c, events.c

_ENTRY_NAMES = tuple(field.name for field in fields(TimelineEntry))
_ENTRY_COLUMNS: list[Any] = [e[name] for name in _ENTRY_NAMES]


def get(connection: Connection, tenant: str, id: str) -> Notification | None:
    row = connection.execute(select(*ALL_COLUMNS).where(n.id == id, n.tenant == tenant)).one_or_none()
    return None if row is None else notification_of(row)


def timeline(connection: Connection, id: str) -> Sequence[TimelineEntry]:
    rows = connection.execute(select(*_ENTRY_COLUMNS).where(e.notification_id == id, IS_ENTRY).order_by(e.seq))
    return [TimelineEntry(**{**row._mapping, "status": read(Status, row.status)}) for row in rows]


def timelines(connection: Connection, ids: Collection[str]) -> Mapping[str, list[TimelineEntry]]:
    statement = select(e.notification_id, *_ENTRY_COLUMNS).where(e.notification_id.in_(sorted(ids)), IS_ENTRY)
    found: dict[str, list[TimelineEntry]] = {id: [] for id in ids}
    for row in connection.execute(statement.order_by(e.notification_id, e.seq)):
        id, *values = row
        entry = dict(zip(_ENTRY_NAMES, values, strict=True))
        found[id].append(TimelineEntry(**{**entry, "status": read(Status, entry["status"])}))
    return found


def get_with_timeline(
    connection: Connection, tenant: str, id: str
) -> tuple[Notification, Sequence[TimelineEntry]] | None:
    see_one_moment(connection)
    found = get(connection, tenant, id)
    return None if found is None else (found, timeline(connection, id))


def holders(connection: Connection, hashes: Collection[str]) -> Mapping[str, Notification]:
    rows = connection.execute(select(*WITHOUT_CONTENT).where(n.idempotency_hash.in_(sorted(hashes))))
    return {row.idempotency_hash: notification_of(row) for row in rows}


def find(
    connection: Connection, database: Database, selection: Selection, limit: int, *, oldest_first: bool = False
) -> Sequence[Notification]:
    found = narrowed(select(*WITHOUT_CONTENT), selection, _now_for(connection, database, selection))
    statement = found.order_by(n.id if oldest_first else n.id.desc()).limit(limit)
    return [notification_of(row) for row in connection.execute(statement)]


def count(connection: Connection, database: Database, selection: Selection) -> int:
    now = _now_for(connection, database, selection)
    return connection.scalar(narrowed(select(func.count()).select_from(notifications), selection, now)) or 0


def count_by_expiry(connection: Connection, database: Database, selection: Selection) -> tuple[int, int]:
    is_over = case((n.expires_at <= database.now(connection), 1), else_=0)
    counts = select(func.count(), func.coalesce(func.sum(is_over), 0)).select_from(notifications)
    total, expired = connection.execute(narrowed(counts, selection)).one()
    return total - int(expired), int(expired)


def count_doubtful(connection: Connection, database: Database, selection: Selection, limit: int) -> int:
    now = _now_for(connection, database, selection)
    columns = [n.id, n.error_class, n.generation, n.attempt]
    oldest = narrowed(select(*columns), selection, now).order_by(n.id).limit(limit).subquery()
    counted = select(func.count()).select_from(oldest).where(is_doubtful(oldest.c))
    return connection.scalar(counted) or 0


def _now_for(connection: Connection, database: Database, selection: Selection) -> datetime | None:
    """None, and one statement fewer, where the selection does not depend on the time."""
    timed = selection.lasts is not None or selection.expires_within is not None
    return database.now(connection) if timed else None


def may_have_been_sent(connection: Connection, ids: Sequence[str]) -> Collection[str]:
    return set(connection.scalars(select(n.id).where(n.id.in_(sorted(ids)), is_doubtful(n))))


def queue_progress(connection: Connection, channel: str, priority: Priority, since: datetime) -> datetime | None:
    columns = [n.channel, n.priority, n.attempt, n.queued_at]
    later = select(*columns).where(n.id >= first_id(since)).order_by(n.id).limit(LOOK_AHEAD).subquery().c
    passed = later.channel == channel, later.priority == priority, later.attempt > 0
    at: datetime | None = connection.scalar(select(func.max(later.queued_at)).where(*passed))
    return at


def filter_failed(connection: Connection, messages: Sequence[Message]) -> Sequence[Message]:
    ids = sorted({message.id for message in messages})
    rows = connection.execute(select(n.id, n.generation).where(n.id.in_(ids), n.status == Status.FAILED))
    failed = {(row.id, row.generation) for row in rows}
    return [message for message in messages if (message.id, message.generation) in failed]


def check_schema(connection: Connection) -> None:
    """Read no row, only every column that this release knows. A later release may have added more."""
    for table in metadata.sorted_tables:
        connection.execute(select(table).limit(0))

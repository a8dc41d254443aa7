"""The Store's reads, and how a row becomes a Notification."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, literal, or_, select, tuple_

from tidings.adapters.sql.database import Database, reading, see_one_moment
from tidings.adapters.sql.schema import events, metadata, notifications, pauses
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import AmbiguousError
from tidings.domain.notification import Notification, OnAmbiguous, Priority, Status, TimelineEntry, first_id, read
from tidings.messaging.envelope import Message
from tidings.ports import LOOK_AHEAD, Selection

FIELDS = tuple(field.name for field in fields(Notification))
_FIELD_OF = {notifications.c[field].name: field for field in FIELDS}  # by the column's name
_EVENT_FIELDS = tuple(field.name for field in fields(TimelineEntry))
_COLUMNS = [notifications.c[name] for name in FIELDS]
WITHOUT_CONTENT = [column for column in _COLUMNS if column.name != "content"]
"""What a page of rows is read as: each content may be megabytes."""
_GIVEN = ("id", "tenant", "channel", "recipient", "content", "priority", "on_ambiguous", "max_attempts", "expires_at")
_TIMES = ("created_at", "send_at", "next_attempt_at")
CLAIMED: list[Any] = [
    notifications.c[name]
    for name in (*_GIVEN, *_TIMES, "traceparent", "generation", "attempt", "uncounted_attempts", "refused_at")
]
"""What a worker needs of a row and does not know, and no more: each value costs a microsecond, each time five."""

n = notifications.c

SUPPORTED = and_(n.status.in_(list(Status)), n.on_ambiguous.in_(list(OnAmbiguous)), n.channel.in_(CHANNELS))
"""What this version knows how to treat. A later one, at work beside it, may have added words: what has one is left to
its workers and its sweep, and nothing is decided about it here."""


def within(length: int, text: str | None) -> str | None:
    """A vendor's word that is too long for its column must not undo a settlement: what was sent would be sent again."""
    return text if text is None else text[:length]


def code_within(code: str | None) -> str | None:
    """As the columns `error_code` hold it: ASCII."""
    return code if code is None else within(64, code.encode("ascii", "replace").decode())


def notification_of(row: Row[Any], **known: Any) -> Notification:
    """`known`: what was not read."""
    # Not by `row._mapping`, which takes three times as long: a worker makes a hundred of these a batch.
    made: dict[str, Any] = {
        _FIELD_OF[name]: value for name, value in zip(row._fields, row, strict=True) if name in _FIELD_OF
    }
    made |= known
    made["status"] = read(Status, made["status"])
    made["priority"] = read(Priority, made["priority"])
    made["on_ambiguous"] = read(OnAmbiguous, made["on_ambiguous"])
    return Notification(**made)


def _notification(connection: Connection, tenant: str, id: str) -> Notification | None:
    row = connection.execute(select(*_COLUMNS).where(n.id == id, n.tenant == tenant)).one_or_none()
    return None if row is None else notification_of(row)


def _events(connection: Connection, id: str) -> Sequence[TimelineEntry]:
    e = events.c
    columns = [e[name] for name in _EVENT_FIELDS]
    rows = connection.execute(select(*columns).where(e.notification_id == id).order_by(e.seq))
    return [TimelineEntry(**{**row._mapping, "status": read(Status, row.status)}) for row in rows]


class Reads:
    """The half of the Store that changes nothing."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reading
    def get(self, connection: Connection, tenant: str, id: str) -> Notification | None:
        return _notification(connection, tenant, id)

    @reading
    def events(self, connection: Connection, id: str) -> Sequence[TimelineEntry]:
        return _events(connection, id)

    @reading
    def get_with_timeline(
        self, connection: Connection, tenant: str, id: str
    ) -> tuple[Notification, Sequence[TimelineEntry]] | None:
        see_one_moment(connection)
        found = _notification(connection, tenant, id)
        return None if found is None else (found, _events(connection, id))

    @reading
    def now(self, connection: Connection) -> datetime:
        return self.database.now(connection)

    @reading
    def holders(self, connection: Connection, hashes: Collection[str]) -> Mapping[str, Notification]:
        rows = connection.execute(select(*WITHOUT_CONTENT).where(n.idempotency_hash.in_(sorted(hashes))))
        return {row.idempotency_hash: notification_of(row) for row in rows}

    @reading
    def find(
        self, connection: Connection, selection: Selection, limit: int, *, oldest_first: bool = False
    ) -> Sequence[Notification]:
        found = narrowed(select(*WITHOUT_CONTENT), selection, self._now_for(connection, selection))
        statement = found.order_by(n.id if oldest_first else n.id.desc()).limit(limit)
        return [notification_of(row) for row in connection.execute(statement)]

    @reading
    def count(self, connection: Connection, selection: Selection) -> int:
        now = self._now_for(connection, selection)
        return connection.scalar(narrowed(select(func.count()).select_from(notifications), selection, now)) or 0

    @reading
    def count_by_expiry(self, connection: Connection, selection: Selection) -> tuple[int, int]:
        now = self.database.now(connection)
        expired = func.coalesce(func.sum(case((n.expires_at <= now, 1), else_=0)), 0)
        found = select(func.count(), expired).select_from(notifications)
        all_of_them, over = connection.execute(narrowed(found, selection)).one()
        return all_of_them - int(over), int(over)

    @reading
    def count_doubtful(self, connection: Connection, selection: Selection, limit: int) -> int:
        now = self._now_for(connection, selection)
        columns = [n.id, n.error_class, n.generation, n.attempt]
        oldest = narrowed(select(*columns), selection, now).order_by(n.id).limit(limit).subquery()
        counted = select(func.count()).select_from(oldest).where(is_doubtful(oldest.c))
        return connection.scalar(counted) or 0

    def _now_for(self, connection: Connection, selection: Selection) -> datetime | None:
        """A statement is saved where no time of the database's is needed."""
        timed = selection.lasts is not None or selection.expires_within is not None
        return self.database.now(connection) if timed else None

    @reading
    def may_have_been_sent(self, connection: Connection, ids: Sequence[str]) -> Collection[str]:
        return set(connection.scalars(select(n.id).where(n.id.in_(sorted(ids)), is_doubtful(n))))

    @reading
    def queue_progress(
        self, connection: Connection, channel: str, priority: Priority, since: datetime
    ) -> datetime | None:
        columns = [n.channel, n.priority, n.attempt, n.queued_at]
        later = select(*columns).where(n.id >= first_id(since)).order_by(n.id).limit(LOOK_AHEAD).subquery().c
        passed = later.channel == channel, later.priority == priority, later.attempt > 0
        at: datetime | None = connection.scalar(select(func.max(later.queued_at)).where(*passed))
        return at

    @reading
    def filter_failed(self, connection: Connection, messages: Sequence[Message]) -> Sequence[Message]:
        ids = sorted({message.id for message in messages})
        rows = connection.execute(select(n.id, n.generation).where(n.id.in_(ids), n.status == Status.FAILED))
        dead = {(row.id, row.generation) for row in rows}
        return [message for message in messages if (message.id, message.generation) in dead]

    @reading
    def paused(self, connection: Connection) -> Mapping[str, datetime]:
        return {row.channel: row.at for row in connection.execute(select(pauses))}

    @reading
    def check(self, connection: Connection) -> None:
        for table in metadata.sorted_tables:  # whatever this version reads; a later one may have added more
            connection.execute(select(table).limit(0))

    def close(self) -> None:
        self.database.close()


def as_seen(rows: Sequence[Notification]) -> ColumnElement[bool]:
    """Those of these rows that no worker and no replay has had since they were read. The ids alone come first, for
    MariaDB finds no range in a tuple."""
    seen = sorted((row.id, row.generation, row.attempt) for row in rows)
    return and_(n.id.in_([id for id, *_ in seen]), tuple_(n.id, n.generation, n.attempt).in_(seen))


def is_doubtful(row: Any) -> ColumnElement[bool]:
    """`row`: the columns. Its own error tells the most: an earlier attempt is looked for only where there was one. A
    subquery with a limit is asked row by row: without it, MariaDB reads all events first."""
    earlier = (
        select(literal(1))
        .where(events.c.notification_id == row.id, events.c.error_class == AmbiguousError.kind)
        .limit(1)
        .scalar_subquery()
    )
    return or_(row.error_class == AmbiguousError.kind, and_(or_(row.attempt > 1, row.generation > 1), earlier == 1))


def narrowed(statement: Select[Any], selection: Selection, now: datetime | None = None) -> Select[Any]:
    """Times become bounds of the id, which starts with the creation's millisecond: the id's indexes serve them. Where
    an index gives the rows in the order of their ids, the server is told to take it: it would walk back through all
    that is newer, in the hope of finding the few soon."""
    conditions = [
        n.tenant == selection.tenant,
        n.id.in_(sorted(selection.ids)) if selection.ids is not None else None,
        n.status.in_(selection.statuses) if selection.statuses is not None else None,
        n.channel == selection.channel if selection.channel is not None else None,
        n.recipient == selection.recipient if selection.recipient is not None else None,
        n.error_class == selection.error_class if selection.error_class is not None else None,
        n.error_code == selection.error_code if selection.error_code is not None else None,
        n.id >= first_id(selection.since) if selection.since is not None else None,
        n.id < first_id(selection.until) if selection.until is not None else None,
        n.id < selection.before_id if selection.before_id is not None else None,
        n.id > selection.after_id if selection.after_id is not None else None,
    ]
    if now is not None and selection.lasts is not None:
        conditions.append(or_(n.expires_at.is_(None), n.expires_at > now + selection.lasts))
    if now is not None and selection.expires_within is not None:
        conditions.append(n.expires_at <= now + selection.expires_within)
    statement = statement.where(*[condition for condition in conditions if condition is not None])
    index = _index(selection)
    for dialect in ("mysql", "mariadb") if index is not None else ():
        statement = statement.with_hint(notifications, f"FORCE INDEX ({index})", dialect)
    return statement


def _index(selection: Selection) -> str | None:
    """The most selective of those that serve."""
    if selection.ids is not None:
        return None
    if selection.recipient is not None:
        return "ix_notifications_recipient"
    if selection.statuses is not None and len(selection.statuses) == 1:
        return "ix_notifications_status"
    return "ix_notifications_channel" if selection.channel is not None else None

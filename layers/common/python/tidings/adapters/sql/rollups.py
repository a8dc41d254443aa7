"""Counts by the minute, from the rows and the timeline. Stored and live counts are made by the same statements."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, case, delete, func, or_, select, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Integer

from tidings.adapters.sql.schema import events, notifications, statistics, watermark
from tidings.adapters.sql.timeline import IS_ENTRY
from tidings.domain.notification import OPERATOR, Status, first_id
from tidings.domain.receipt import By
from tidings.ports.insight import ACCEPTED, KEPT_FOR, LATENCIES

SETTLED_DOWN = timedelta(seconds=5)
"""Younger changes are not summarized yet: a transaction that began earlier may still commit, and would be missed."""

WITHIN = "sent_within_"
"""Prefix of a bucket's name, before its bound in milliseconds or BEYOND."""
BEYOND = 0

n, e, s = notifications.c, events.c, statistics.c

Key = tuple[str, datetime, str, str]  # tenant, minute, channel, what


class milliseconds_between(FunctionElement[int]):  # noqa: N801 (it reads as SQL)
    """From the first time to the second."""

    type = Integer()
    inherit_cache = True


@compiles(milliseconds_between, "sqlite")
def _on_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    since, until = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST((julianday({until}) - julianday({since})) * 86400000 AS INTEGER)"


@compiles(milliseconds_between, "mysql", "mariadb")
def _on_mysql(element: Any, compiler: Any, **options: Any) -> str:
    since, until = (compiler.process(clause, **options) for clause in element.clauses)
    return f"TIMESTAMPDIFF(MICROSECOND, {since}, {until}) DIV 1000"


_DUE = case((n.send_at > n.created_at, n.send_at), else_=n.created_at)
_BOUNDS = [bound // timedelta(milliseconds=1) for bound in LATENCIES]
_BUCKET = case(
    (e.status != Status.SENT, None),
    (e.generation != 1, None),  # a replay is late by nature
    (e.provider == OPERATOR, None),  # resolved by an operator, later than it was sent
    *((milliseconds_between(_DUE, e.at) <= bound, bound) for bound in _BOUNDS),
    else_=BEYOND,
)

_IS_CHANGE = and_(
    or_(e.by.is_(None), e.by != By.RECEIPT, e.token.is_not(None)),  # a receipt without a token moved nothing
    IS_ENTRY,
)


def _minute(column: Any) -> Any:
    """The first sixteen characters of a time, the same on every database."""
    return func.substr(column, 1, 16)


def new_rows(after: str, until: str) -> Select[Any]:
    """Tenant, channel, minute and number of the rows after one id, up to another."""
    key = n.tenant, n.channel, _minute(n.created_at)
    counts = select(n.tenant, n.channel, key[2].label("minute"), func.count().label("number"))
    return counts.where(n.id > after, n.id <= until).group_by(*key)


def changes(after: int, until: int) -> Select[Any]:
    """Tenant, channel, minute, status, bucket (a bound in milliseconds, BEYOND, or None) and number of the changes
    after one `seq`, up to another."""
    minute, bucket = _minute(e.at).label("minute"), _BUCKET.label("bucket")
    counts = select(n.tenant, n.channel, minute, e.status, bucket, func.count().label("number"))
    joined = counts.join_from(events, notifications, n.id == e.notification_id)
    return joined.where(e.seq > after, e.seq <= until, _IS_CHANGE).group_by(
        n.tenant, n.channel, minute, e.status, bucket
    )


def counted(connection: Connection, rows: Select[Any], timeline: Select[Any]) -> Counter[Key]:
    found: Counter[Key] = Counter()
    for row in connection.execute(rows):
        found[row.tenant, minute_of(row.minute), row.channel, ACCEPTED] += row.number
    for row in connection.execute(timeline):
        found[row.tenant, minute_of(row.minute), row.channel, row.status] += row.number
        if row.bucket is not None:
            found[row.tenant, minute_of(row.minute), row.channel, f"{WITHIN}{row.bucket}"] += row.number
    return found


def minute_of(minute: str) -> datetime:
    return datetime.fromisoformat(minute).replace(tzinfo=UTC)


def last_row(connection: Connection, after: str, limit: int, before: str) -> str:
    """The id of the last of at most `limit` rows after this one."""
    some = select(n.id).where(n.id > after, n.id < before).order_by(n.id).limit(limit).subquery().c
    return connection.scalar(select(func.max(some.id))) or after


def last_change(connection: Connection, after: int, limit: int, before: datetime, up_to: int | None = None) -> int:
    """The `seq` of the last of at most `limit` changes after this one, and up to another."""
    chosen = select(e.seq, e.at).where(e.seq > after).order_by(e.seq).limit(limit)
    some = (chosen.where(e.seq <= up_to) if up_to is not None else chosen).subquery().c
    return connection.scalar(select(func.max(some.seq)).where(some.at < before)) or after


def newest_change(connection: Connection) -> int:
    return connection.scalar(select(func.max(e.seq))) or 0


def summarize(connection: Connection, now: datetime, limit: int, settled_seq: int | None) -> int:
    """`settled_seq`: a `seq` up to which no transaction is under way any more; None: not known, so only the changes'
    times count. They do not suffice: a receipt that was kept for a while is a new change with an old time."""
    mark = connection.execute(select(watermark).with_for_update(skip_locked=True)).one_or_none()
    if mark is None:  # another process summarizes
        return 0
    before = now - SETTLED_DOWN
    row = last_row(connection, mark.notification_id, limit, first_id(before))
    seq = last_change(connection, mark.seq, limit, before, settled_seq)
    if (row, seq) == (mark.notification_id, mark.seq):
        return 0
    found = counted(connection, new_rows(mark.notification_id, row), changes(mark.seq, seq))
    _add(connection, found)
    connection.execute(update(watermark).values(notification_id=row, seq=seq))
    connection.execute(delete(statistics).where(s.minute < now - KEPT_FOR))
    return sum(count for (*_, what), count in found.items() if not what.startswith(WITHIN))


def _add(connection: Connection, found: Counter[Key]) -> None:
    names = ("tenant", "minute", "channel", "what")
    rows = [{**dict(zip(names, key, strict=True)), "count": count} for key, count in sorted(found.items())]
    if not rows:  # the notifications were deleted
        return
    if connection.dialect.name == "sqlite":
        lite = sqlite_insert(statistics)
        statement: Any = lite.on_conflict_do_update(index_elements=names, set_={"count": s.count + lite.excluded.count})
    else:
        statement = mysql_insert(statistics)
        statement = statement.on_duplicate_key_update(count=s.count + statement.inserted.count)
    connection.execute(statement, rows)

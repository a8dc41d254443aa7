"""What waits, for the metrics and the overview: one query by the index of tenant and status, which reads a bounded
number of rows."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, literal, null, select, union_all

from tidings.adapters.sql.schema import notifications
from tidings.domain.notification import CLAIMABLE, Status
from tidings.ports.insight import COUNTED_UP_TO, WAITING, Backlog, Capped

n = notifications.c

MAX_TENANTS = 1000
"""The first so many tenants are read."""

DUE_AT = case(
    (n.next_attempt_at > n.created_at, n.next_attempt_at), (n.generation == 1, n.created_at), else_=n.updated_at
)
"""The same as Notification.due_at."""


def _first(status: Status) -> Any:
    """The tenant's oldest rows of a status."""
    first = (
        select(n.id, n.channel, DUE_AT.label("due"))
        .where(n.tenant == bindparam("tenant"), n.status == status)
        .order_by(n.id)
        .limit(bindparam("limit"))
    )
    for dialect in ("mysql", "mariadb"):  # without it, the server reads all rows of every status
        first = first.with_hint(notifications, "FORCE INDEX (ix_notifications_status)", dialect)
    return first.subquery().c


_NOW = bindparam("now", type_=n.updated_at.type)


def _by_channel(status: Status) -> Select[Any]:
    """The channel, the status, its number of rows, how many of them are due, and since when the first of these is."""
    row = _first(status)
    columns = row.channel, literal(str(status)).label("status"), func.count().label("rows")
    if status not in CLAIMABLE:
        return select(*columns, literal(0).label("due"), null().label("since")).group_by(row.channel)
    due = case((row.due <= _NOW, row.due))
    return select(*columns, func.count(due).label("due"), func.min(due).label("since")).group_by(row.channel)


def _longest(status: Status) -> Select[Any]:
    row = _first(status)
    return select(row.due, row.id).where(row.due <= _NOW).order_by(row.due, row.id).limit(1)


# Made once: making them costs more than running them.
_BY_CHANNEL = union_all(*map(_by_channel, WAITING))
_LONGEST = [_longest(status) for status in sorted(CLAIMABLE)]
_NEXT_TENANT = select(func.min(n.tenant)).where(n.tenant > bindparam("after"))


def backlog(connection: Connection, now: datetime, tenant: str | None) -> Backlog:
    counts: defaultdict[tuple[str, Status], Capped] = defaultdict(Capped)
    oldest: dict[str, datetime] = {}
    scheduled = 0
    for one in _tenants(connection) if tenant is None else [tenant]:
        rows = connection.execute(_BY_CHANNEL, _bounds(one, now)).all()
        full = {status for status in WAITING if sum(row.rows for row in rows if row.status == status) > COUNTED_UP_TO}
        for row in rows:
            status = Status(row.status)
            counts[row.channel, status] += Capped(min(row.rows, COUNTED_UP_TO), more=status in full)
            if row.since is not None:
                oldest[row.channel] = min(oldest.get(row.channel, now), row.since)
            if status is Status.PENDING:
                scheduled += row.rows - row.due
    id = _oldest_id(connection, tenant, now) if tenant is not None else None
    return Backlog(at=now, counts=counts, scheduled=scheduled, oldest=oldest, oldest_id=id)


def _oldest_id(connection: Connection, tenant: str, now: datetime) -> str | None:
    found = [connection.execute(longest, _bounds(tenant, now)).one_or_none() for longest in _LONGEST]
    return min(((row.due, row.id) for row in found if row is not None), default=(None, None))[1]


def _bounds(tenant: str, now: datetime) -> dict[str, Any]:
    return {"tenant": tenant, "limit": COUNTED_UP_TO + 1, "now": now}


def _tenants(connection: Connection) -> Iterator[str]:
    """From one to the next by the index: DISTINCT would read every row."""
    after = ""
    for _ in range(MAX_TENANTS):
        tenant: str | None = connection.scalar(_NEXT_TENANT, {"after": after})
        if tenant is None:
            return
        yield tenant
        after = tenant

"""The backlog, for the metrics and the overview: reads a bounded number of rows, by the index of tenant and status."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, literal, null, select, union_all

from tidings.adapters.sql.database import Database
from tidings.adapters.sql.schema import notifications
from tidings.domain.notification import CLAIMABLE, REPLAYABLE, Status
from tidings.ports import LOOK_AHEAD, Backlog

n = notifications.c

MAX_TENANTS = 1000


DUE_AT = case(
    (n.next_attempt_at > n.created_at, n.next_attempt_at), (n.generation == 1, n.created_at), else_=n.updated_at
)
"""The same as Notification.due_at."""


def _oldest(status: Status) -> Select[Any]:
    """The oldest rows of a status."""
    oldest = (
        select(n.id, n.channel, DUE_AT.label("due"))
        .where(n.tenant == bindparam("tenant"), n.status == status)
        .order_by(n.id)
        .limit(bindparam("limit"))
    )
    for dialect in ("mysql", "mariadb"):  # left alone, it reads all rows of other statuses
        oldest = oldest.with_hint(notifications, "FORCE INDEX (ix_notifications_status)", dialect)
    return oldest


_NOW = bindparam("now", type_=n.updated_at.type)


def _by_channel(status: Status) -> Select[Any]:
    """Channel, status, number of rows and, if they wait to be sent, the time at which the oldest was due."""
    found = _oldest(status).subquery().c
    columns = found.channel, literal(str(status)).label("status"), func.count().label("rows")
    if status in REPLAYABLE:
        return select(*columns, null().label("since")).group_by(found.channel)
    return select(*columns, func.min(found.due).label("since")).where(found.due <= _NOW).group_by(found.channel)


def _oldest_due(status: Status) -> Select[Any]:
    found = _oldest(status).subquery().c
    return select(found.due, found.id).where(found.due <= _NOW).order_by(found.due, found.id).limit(1)


# Built once: building a statement costs more than running it.
_COUNTS = union_all(*map(_by_channel, sorted(CLAIMABLE)), *map(_by_channel, sorted(REPLAYABLE)))
_OLDEST_DUE = [_oldest_due(status) for status in sorted(CLAIMABLE)]
_NEXT_TENANT = select(func.min(n.tenant)).where(n.tenant > bindparam("after"))


def backlog(connection: Connection, database: Database) -> Backlog:
    now = database.now(connection)
    due: dict[str, datetime] = {}
    counts: Counter[tuple[str, Status]] = Counter()
    for tenant in _tenants(connection):
        for row in connection.execute(_COUNTS, _bounds(tenant, now)):
            if row.since is not None:
                due[row.channel] = min(due.get(row.channel, now), row.since)
            else:
                counts[row.channel, Status(row.status)] += row.rows
    return Backlog(oldest={channel: (now - since).total_seconds() for channel, since in due.items()}, counts=counts)


def oldest(connection: Connection, tenant: str, now: datetime) -> tuple[datetime, str] | None:
    """When the tenant's oldest waiting notification was due, and its id."""
    found = [connection.execute(look, _bounds(tenant, now)).one_or_none() for look in _OLDEST_DUE]
    return min(((row.due, row.id) for row in found if row is not None), default=None)


def _bounds(tenant: str, now: datetime) -> dict[str, Any]:
    return {"tenant": tenant, "limit": LOOK_AHEAD, "now": now}


def _tenants(connection: Connection) -> Iterator[str]:
    """From one to the next by the index: DISTINCT would read the whole index."""
    after = ""
    for _ in range(MAX_TENANTS):
        tenant: str | None = connection.scalar(_NEXT_TENANT, {"after": after})
        if tenant is None:
            return
        yield tenant
        after = tenant

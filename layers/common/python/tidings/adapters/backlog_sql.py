"""What waits, of every tenant: a look by the index of tenant and status, which reads so many rows and no more."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select

from tidings.adapters.rows import narrowed
from tidings.adapters.schema import notifications
from tidings.notification import CLAIMABLE, REPLAYABLE, Status
from tidings.ports import LOOK_AHEAD, Backlog, Selection

n = notifications.c

TENANTS = 1000
"""As many are looked at."""


def backlog(connection: Connection, now: datetime) -> Backlog:
    due: dict[str, datetime] = {}
    counts: Counter[tuple[str, Status]] = Counter()
    for tenant in _tenants(connection):
        for status in sorted(CLAIMABLE):
            found = _oldest(tenant, status).subquery().c
            since = func.coalesce(found.next_attempt_at, found.updated_at)  # replayed: since then
            waiting = select(found.channel, func.min(since).label("since")).where(since <= now).group_by(found.channel)
            for row in connection.execute(waiting):
                due[row.channel] = min(due.get(row.channel, now), row.since)
        for status in sorted(REPLAYABLE):
            found = _oldest(tenant, status).subquery().c
            for row in connection.execute(select(found.channel, func.count()).group_by(found.channel)):
                counts[row.channel, status] += row[1]
    return Backlog(oldest={channel: (now - since).total_seconds() for channel, since in due.items()}, counts=counts)


def _oldest(tenant: str, status: Status) -> Select[Any]:
    columns = select(n.channel, n.updated_at, n.next_attempt_at)
    return narrowed(columns, Selection(tenant=tenant, statuses=[status])).order_by(n.id).limit(LOOK_AHEAD)


def _tenants(connection: Connection) -> Iterator[str]:
    """From one to the next by the index: DISTINCT would read all of it."""
    after = ""
    for _ in range(TENANTS):
        tenant: str | None = connection.scalar(select(func.min(n.tenant)).where(n.tenant > after))
        if tenant is None:
            return
        yield tenant
        after = tenant

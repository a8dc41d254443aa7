"""The Insight on SQLite, MySQL and MariaDB."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from tidings.adapters.sql import backlog, rollups
from tidings.adapters.sql.database import Database, reading, transaction
from tidings.adapters.sql.rollups import BEYOND, WITHIN, Key
from tidings.adapters.sql.schema import notifications, statistics, watermark
from tidings.adapters.sql.selection import is_doubtful, narrowed
from tidings.domain.notification import DEAD, PROVEN, REPLAYABLE, Status, first_id, read
from tidings.ports import Selection
from tidings.ports.insight import (
    COUNTED_UP_TO,
    Activity,
    Backlog,
    Capped,
    Counted,
    DeadGroup,
    DeadGroups,
    Latency,
    Tally,
)

LIVE = 20_000
"""Rows and changes after the summary that a read counts itself. If the sweep does not run, the charts lag."""

n, s = notifications.c, statistics.c


class SqlInsight:
    """Insight."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._newest: Sequence[tuple[datetime, int]] = ()  # when which `seq` was the newest, oldest first

    @transaction
    def summarize(self, connection: Connection, limit: int) -> int:
        now = self.database.now(connection)
        return rollups.summarize(connection, now, limit, self._settled_seq(connection, now))

    def _settled_seq(self, connection: Connection, now: datetime) -> int | None:
        """The newest `seq` as it was SETTLED_DOWN ago: a transaction that took a number up to it has ended. None: this
        process has not looked for that long."""
        looks, before = [*self._newest, (now, rollups.newest_change(connection))], now - rollups.SETTLED_DOWN
        old = [look for look in looks if look[0] <= before]
        self._newest = [*old[-1:], *(look for look in looks if look[0] > before)]
        return old[-1][1] if old else None

    @reading
    def activity(self, connection: Connection, tenant: str, since: datetime) -> Activity:
        since = since.replace(second=0, microsecond=0)
        while True:
            mark = connection.execute(select(watermark)).one()
            kept = self._kept(connection, tenant, since)
            now = self.database.now(connection)
            live = self._live(connection, mark, now)
            if connection.execute(select(watermark)).one() == mark:  # else something is counted twice or missed
                break
        kept.update({key: count for key, count in live.items() if key[0] == tenant and key[1] >= since})
        return Activity(at=now, counts=list(_counts(kept)), latencies=list(_latencies(kept)))

    def _kept(self, connection: Connection, tenant: str, since: datetime) -> Counter[Key]:
        rows = connection.execute(select(statistics).where(s.tenant == tenant, s.minute >= since))
        return Counter({(row.tenant, row.minute, row.channel, row.what): row._mapping["count"] for row in rows})

    def _live(self, connection: Connection, mark: Any, now: datetime) -> Counter[Key]:
        ahead = now + timedelta(days=1)  # includes rows of an intake whose clock is ahead
        row = rollups.last_row(connection, mark.notification_id, LIVE, first_id(ahead))
        seq = rollups.last_change(connection, mark.seq, LIVE, ahead)
        rows = rollups.new_rows(mark.notification_id, row)
        return rollups.counted(connection, rows, rollups.changes(mark.seq, seq))

    @reading
    def backlog(self, connection: Connection, tenant: str | None = None) -> Backlog:
        return backlog.backlog(connection, self.database.now(connection), tenant)

    def _counted(self, connection: Connection, tenant: str, status: Status) -> Capped:
        selection = Selection(tenant=tenant, statuses=[status])
        some = narrowed(select(n.id), selection).limit(COUNTED_UP_TO + 1).subquery()
        count = connection.scalar(select(func.count()).select_from(some)) or 0
        return Capped(min(count, COUNTED_UP_TO), more=count > COUNTED_UP_TO)

    @reading
    def dead_groups(self, connection: Connection, selection: Selection) -> DeadGroups:
        looked_at, more = 0, False
        groups: list[DeadGroup] = []
        for status in sorted(REPLAYABLE & set(selection.statuses or DEAD)):
            count = self._counted(connection, selection.tenant, status)
            looked_at, more = looked_at + count.count, more or count.more
            groups += self._groups(connection, replace(selection, statuses=[status]))
        groups.sort(key=lambda group: (-group.count, group.channel, group.code or ""))
        return DeadGroups(groups=groups, looked_at=looked_at, more=more)

    def _groups(self, connection: Connection, selection: Selection) -> Sequence[DeadGroup]:
        """The limit applies before the filter, so that a filter with few matches reads no more rows."""
        columns = n.id, n.status, n.channel, n.error_class, n.error_code, n.updated_at
        newest = narrowed(select(*columns), Selection(tenant=selection.tenant, statuses=selection.statuses))
        some = newest.order_by(n.id.desc()).limit(COUNTED_UP_TO).subquery().c
        key = some.status, some.channel, some.error_class, some.error_code
        ends = func.min(some.updated_at).label("oldest"), func.max(some.updated_at).label("newest")
        statement = select(*key, func.count().label("number"), *ends, func.max(some.id).label("example"))
        wanted = {
            some.channel: selection.channel,
            some.error_class: selection.error_class,
            some.error_code: selection.error_code,
        }
        statement = statement.where(*[column == value for column, value in wanted.items() if value is not None])
        if selection.since is not None:
            statement = statement.where(some.id >= first_id(selection.since))
        if selection.until is not None:
            statement = statement.where(some.id < first_id(selection.until))
        rows = connection.execute(statement.group_by(*key)).all()
        texts = select(n.id, n.error_message).where(n.id.in_(sorted(row.example for row in rows)))
        said = {row.id: row.error_message for row in connection.execute(texts)} if rows else {}
        return [
            DeadGroup(
                status=Status(row.status),
                channel=row.channel,
                error_class=row.error_class,
                code=row.error_code,
                message=said.get(row.example),
                count=row.number,
                newest=row.newest,
                oldest=row.oldest,
                example=row.example,
            )
            for row in rows
        ]

    @reading
    def count_by_status(self, connection: Connection, tenant: str, ids: Sequence[str]) -> Tally:
        if not ids:
            return Tally(statuses={}, doubtful=0)
        chosen = n.id.in_(sorted(set(ids))), n.tenant == tenant
        counted = select(n.status, func.count().label("number")).where(*chosen).group_by(n.status)
        doubtful = select(func.count()).where(
            *chosen, n.status.not_in(sorted({*PROVEN, Status.UNKNOWN})), is_doubtful(n)
        )
        return Tally(
            statuses={read(Status, row.status): row.number for row in connection.execute(counted)},
            doubtful=connection.scalar(doubtful) or 0,
        )


def _counts(found: Counter[Key]) -> Iterator[Counted]:
    for (_, minute, channel, what), count in sorted(found.items()):
        if not what.startswith(WITHIN):
            yield Counted(channel, minute, what, count)


def _latencies(found: Counter[Key]) -> Iterator[Latency]:
    """Over all minutes together."""
    together: Counter[tuple[str, int]] = Counter()
    for (_, _, channel, what), count in found.items():
        if what.startswith(WITHIN):
            together[channel, int(what.removeprefix(WITHIN))] += count
    for (channel, bound), count in sorted(together.items()):
        yield Latency(channel, None if bound == BEYOND else timedelta(milliseconds=bound), count)

"""The ledger: what the rows of a day add up to. A day is a range of ids, which start with the time of creation."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Select, case, distinct, func, select

from tidings.adapters.sql import rollups
from tidings.adapters.sql.schema import events, notifications, statistics, watermark
from tidings.adapters.sql.selection import by_tenant
from tidings.domain.errors import AmbiguousError
from tidings.domain.notification import PROVEN, Status, first_id, read
from tidings.ports.books import Accepted, Cause, Day
from tidings.ports.insight import ACCEPTED, KEPT_FOR

n, e, s = notifications.c, events.c, statistics.c


PARTS = 8
"""A day is read in this many parts, so that on a busy day too each statement ends long before its time-out."""


def day_of(connection: Connection, now: datetime, tenant: str, day: date) -> Day:
    since = datetime.combine(day, time.min, UTC)
    part = timedelta(days=1) / PARTS
    statuses: dict[str, Counter[Status]] = defaultdict(Counter)
    causes: dict[tuple[str, str | None, str | None], Counter[str]] = defaultdict(Counter)
    for begin in (since + number * part for number in range(PARTS)):
        _count_statuses(connection, tenant, begin, begin + part, statuses)
        _count_causes(connection, tenant, begin, begin + part, causes)
    is_counted = since >= now - KEPT_FOR
    return Day(
        day=day,
        at=now,
        statuses=statuses,
        counted=_counted(connection, tenant, since, since + timedelta(days=1)) if is_counted else None,
        causes=[
            Cause(channel=key[0], provider=key[1], code=key[2], **counts)
            for key, counts in sorted(causes.items(), key=lambda item: [part or "" for part in item[0]])
        ],
    )


def accepted(connection: Connection, tenant: str, since: datetime, until: datetime | None) -> Sequence[Accepted]:
    last = connection.scalar(select(watermark.c.notification_id)) or ""  # rows after it are not counted yet
    last = last if until is None else min(last, first_id(until))
    found = connection.execute(by_tenant(rollups.new_rows(first_id(since), last)).where(n.tenant == tenant))
    rows = {(rollups.minute_of(row.minute), row.channel): row.number for row in found}
    chosen = select(s.minute, s.channel, s["count"]).where(s.tenant == tenant, s.minute >= since, s.what == ACCEPTED)
    chosen = chosen if until is None else chosen.where(s.minute < until)
    return [
        Accepted(minute=minute, channel=channel, counted=count, rows=rows.get((minute, channel), 0))
        for minute, channel, count in connection.execute(chosen.order_by(s.minute, s.channel))
    ]


def _count_statuses(
    connection: Connection, tenant: str, since: datetime, until: datetime, found: dict[str, Counter[Status]]
) -> None:
    counts = _within(select(n.channel, n.status, func.count().label("number")), tenant, since, until)
    for row in connection.execute(counts.group_by(n.channel, n.status)):
        found[row.channel][read(Status, row.status)] += row.number


def _count_causes(
    connection: Connection,
    tenant: str,
    since: datetime,
    until: datetime,
    found: dict[tuple[str, str | None, str | None], Counter[str]],
) -> None:
    key = n.channel, e.provider, e.error_code
    in_doubt = func.count(distinct(case((n.status.not_in(sorted(PROVEN)), n.id))))
    counts = select(*key, func.count().label("attempts"), in_doubt.label("may_have_been_sent"))
    joined = _within(counts.join_from(notifications, events, n.id == e.notification_id), tenant, since, until)
    for *names, attempts, in_doubt in connection.execute(
        joined.where(e.error_class == AmbiguousError.kind).group_by(*key)
    ):
        channel, provider, code = names
        found[channel, provider, code].update(attempts=attempts, may_have_been_sent=in_doubt)


def _within(statement: Select[Any], tenant: str, since: datetime, until: datetime) -> Select[Any]:
    return by_tenant(statement).where(n.tenant == tenant, n.id >= first_id(since), n.id < first_id(until))


def _counted(connection: Connection, tenant: str, since: datetime, until: datetime) -> Mapping[str, int]:
    """Accepted by channel, as it was counted by the minute."""
    summed = select(s.channel, func.sum(s["count"]).label("number"))
    chosen = summed.where(s.tenant == tenant, s.minute >= since, s.minute < until, s.what == ACCEPTED)
    return {row.channel: int(row.number) for row in connection.execute(chosen.group_by(s.channel))}

"""The ledger: what the rows of a day add up to. A day is a range of ids, which start with the time of creation."""

from collections import defaultdict
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


def day_of(connection: Connection, now: datetime, tenant: str, day: date) -> Day:
    since = datetime.combine(day, time.min, UTC)
    until = since + timedelta(days=1)
    counted = _counted(connection, tenant, since, until) if since >= now - KEPT_FOR else None
    return Day(
        day=day,
        at=now,
        statuses=_statuses(connection, tenant, since, until),
        counted=counted,
        causes=_causes(connection, tenant, since, until),
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


def _statuses(
    connection: Connection, tenant: str, since: datetime, until: datetime
) -> Mapping[str, Mapping[Status, int]]:
    counts = _within(select(n.channel, n.status, func.count().label("number")), tenant, since, until)
    found: dict[str, dict[Status, int]] = defaultdict(dict)
    for row in connection.execute(counts.group_by(n.channel, n.status)):
        found[row.channel][read(Status, row.status)] = row.number
    return found


def _causes(connection: Connection, tenant: str, since: datetime, until: datetime) -> Sequence[Cause]:
    key = n.channel, e.provider, e.error_code
    in_doubt = func.count(distinct(case((n.status.not_in(sorted(PROVEN)), n.id))))
    joined = select(*key, func.count().label("attempts"), in_doubt.label("in_doubt")).join_from(
        events, notifications, n.id == e.notification_id
    )
    # The range of the timeline's ids as well: it has an index of its own.
    of_day = e.notification_id >= first_id(since), e.notification_id < first_id(until)
    found = _within(joined, tenant, since, until).where(*of_day, e.error_class == AmbiguousError.kind)
    causes = [
        Cause(
            channel=row.channel,
            provider=row.provider,
            code=row.error_code,
            attempts=row.attempts,
            may_have_been_sent=row.in_doubt,
        )
        for row in connection.execute(found.group_by(*key))
    ]
    return sorted(causes, key=lambda cause: (cause.channel, cause.provider or "", cause.code or ""))


def _within(statement: Select[Any], tenant: str, since: datetime, until: datetime) -> Select[Any]:
    return by_tenant(statement).where(n.tenant == tenant, n.id >= first_id(since), n.id < first_id(until))


def _counted(connection: Connection, tenant: str, since: datetime, until: datetime) -> Mapping[str, int]:
    """Accepted by channel, as it was counted by the minute."""
    summed = select(s.channel, func.sum(s["count"]).label("number"))
    chosen = summed.where(s.tenant == tenant, s.minute >= since, s.minute < until, s.what == ACCEPTED)
    return {row.channel: int(row.number) for row in connection.execute(chosen.group_by(s.channel))}

"""Rows with their timelines, page by page, for the audit."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from tidings.adapters.sql.rows import WITHOUT_CONTENT, notification_of
from tidings.adapters.sql.schema import events, notifications
from tidings.adapters.sql.selection import by_tenant
from tidings.adapters.sql.timeline import IS_ENTRY
from tidings.domain.notification import Status, TimelineEntry, first_id, read
from tidings.ports.books import LONGEST_TIMELINES, Audited, AuditedRows

n, e = notifications.c, events.c

_ROW: list[Any] = [*WITHOUT_CONTENT, n.wake_at, n.token]
_ENTRY: list[Any] = [e.notification_id, e.token, *(e[field.name] for field in fields(TimelineEntry))]


def rows(
    connection: Connection,
    now: datetime,
    tenant: str,
    since: datetime | None,
    until: datetime | None,
    *,
    after: str | None,
    limit: int,
) -> AuditedRows:
    chosen = by_tenant(select(*_ROW)).where(n.tenant == tenant)
    for condition in (
        n.id > after if after is not None else None,
        n.id >= first_id(since) if since is not None else None,
        n.id < first_id(until) if until is not None else None,
    ):
        chosen = chosen if condition is None else chosen.where(condition)
    found = connection.execute(chosen.order_by(n.id).limit(limit + 1)).all()
    page, more = found[:limit], len(found) > limit
    entries, cut = _entries(connection, [row.id for row in page])
    too_long = 0
    if cut is not None:  # its timeline, and those of the rows after it, were not read to their end
        too_long = int(cut == page[0].id)
        page = [row for row in page if row.id < cut]
        more = True
    last = page[-1].id if page else cut
    return AuditedRows(
        at=now,
        rows=[_audited(row, entries.get(row.id, [])) for row in page],
        too_long=too_long,
        next=last if more else None,
    )


def _entries(connection: Connection, ids: list[str]) -> tuple[dict[str, list[Any]], str | None]:
    """By id; and the first id whose timeline is not whole, because there are too many entries."""
    found: dict[str, list[Any]] = {}
    if not ids:
        return found, None
    chosen = select(*_ENTRY).where(e.notification_id.in_(ids), IS_ENTRY).order_by(e.notification_id, e.seq)
    rows = connection.execute(chosen.limit(LONGEST_TIMELINES + 1)).all()
    for row in rows:
        found.setdefault(row.notification_id, []).append(row)
    return found, rows[-1].notification_id if len(rows) > LONGEST_TIMELINES else None


def _audited(row: Any, entries: list[Any]) -> Audited:
    return Audited(
        row=notification_of(row),
        wake_at=row.wake_at,
        token=row.token,
        timeline=[_entry(entry) for entry in entries],
        tokens=[entry.token for entry in entries],
    )


def _entry(row: Any) -> TimelineEntry:
    values = {field.name: getattr(row, field.name) for field in fields(TimelineEntry)}
    return TimelineEntry(**{**values, "status": read(Status, row.status)})

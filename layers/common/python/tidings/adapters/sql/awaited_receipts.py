"""Receipts that are awaited: which sent rows their provider has not reported of in time."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, delete, select, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tidings.adapters.sql.rows import WITHOUT_CONTENT, notification_of
from tidings.adapters.sql.schema import awaited_receipts, notifications
from tidings.domain.notification import Notification, Status
from tidings.domain.timing import LOOKUP_RETRIES, LOOKUPS_PER_MESSAGE, RECEIPT_WINDOW

n, w = notifications.c, awaited_receipts.c

MISSING = "missing"


def expect(connection: Connection, now: datetime, ids: Sequence[str]) -> None:
    """These were accepted now. A replay's acceptance begins anew."""
    if not ids:
        return
    due = now + RECEIPT_WINDOW
    rows = [{"notification_id": id, "due_at": due, "tries": 0} for id in sorted(ids)]
    if connection.dialect.name == "sqlite":
        lite = sqlite_insert(awaited_receipts)
        anew = {"due_at": lite.excluded.due_at, "tries": lite.excluded.tries}
        connection.execute(lite.on_conflict_do_update(index_elements=["notification_id"], set_=anew), rows)
    else:
        statement = mysql_insert(awaited_receipts)
        # No value of its own: PyMySQL, which joins the rows to one statement, would not fill it in.
        anew = {"due_at": statement.inserted.due_at, "tries": statement.inserted.tries}
        connection.execute(statement.on_duplicate_key_update(anew), rows)


def stop_waiting(connection: Connection, now: datetime, limit: int) -> int:
    """Of the first `limit` that are due, delete those whose notification is not `sent` any more: its receipt came, and
    cost no write in this table. Delete those whose provider was asked often enough as well: their receipt is missing.
    Return how many."""
    tries = _due(connection, now, limit)
    if not tries:
        return 0
    chosen = select(n.id).where(n.id.in_(sorted(tries)), n.status == Status.SENT)
    is_open = {id: tries[id] < LOOKUPS_PER_MESSAGE for id in connection.scalars(chosen)}
    if given_up := sorted(id for id, may_be_asked in is_open.items() if not may_be_asked):
        _set_missing(connection, given_up)
    over = sorted(id for id in tries if not is_open.get(id, False))
    return connection.execute(delete(awaited_receipts).where(w.notification_id.in_(over))).rowcount if over else 0


def due(connection: Connection, now: datetime, limit: int) -> Sequence[Notification]:
    tries = _due(connection, now, limit)
    if not tries:
        return []
    sent = select(*WITHOUT_CONTENT).where(n.id.in_(sorted(tries)), n.status == Status.SENT)
    rows = [notification_of(row) for row in connection.execute(sent)]
    if rows:
        pauses = case(*((w.tries == place, now + pause) for place, pause in enumerate(LOOKUP_RETRIES)), else_=None)
        later = case((w.tries < len(LOOKUP_RETRIES), pauses), else_=bindparam("last", now + LOOKUP_RETRIES[-1]))
        again = update(awaited_receipts).where(w.notification_id.in_(sorted(row.id for row in rows)))
        connection.execute(again.values(due_at=later, tries=w.tries + 1))
    return rows


def _due(connection: Connection, now: datetime, limit: int) -> dict[str, int]:
    """The tries of the first `limit` that are due, by notification. Other transactions skip these rows."""
    waiting = select(w.notification_id, w.tries).where(w.due_at <= now).order_by(w.due_at).limit(limit)
    return {row.notification_id: row.tries for row in connection.execute(waiting.with_for_update(skip_locked=True))}


def mark_missing(connection: Connection, _now: datetime, rows: Sequence[Notification]) -> None:
    ids = sorted(row.id for row in rows)
    _set_missing(connection, ids)
    connection.execute(delete(awaited_receipts).where(w.notification_id.in_(ids)))


def _set_missing(connection: Connection, ids: Sequence[str]) -> None:
    """Its `updated_at` stays: its state has not changed."""
    connection.execute(update(notifications).where(n.id.in_(ids), n.status == Status.SENT).values(receipt=MISSING))

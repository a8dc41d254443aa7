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


def forget(connection: Connection, now: datetime, limit: int) -> int:
    """Delete, of the first `limit` that are due, those whose notification is not `sent` any more: its receipt came.
    Thus a receipt costs no write in this table. Return how many."""
    waiting = select(w.notification_id).where(w.due_at <= now).order_by(w.due_at).limit(limit)
    ids = connection.scalars(waiting.with_for_update(skip_locked=True)).all()
    if not ids:
        return 0
    open_ = connection.scalars(select(n.id).where(n.id.in_(sorted(ids)), n.status == Status.SENT)).all()
    over = sorted(set(ids) - set(open_))
    return connection.execute(delete(awaited_receipts).where(w.notification_id.in_(over))).rowcount if over else 0


def due(connection: Connection, now: datetime, limit: int) -> Sequence[Notification]:
    """Also deletes those whose receipt came after `forget`."""
    waiting = select(w.notification_id, w.tries).where(w.due_at <= now).order_by(w.due_at).limit(limit)
    tries = {row.notification_id: row.tries for row in connection.execute(waiting.with_for_update(skip_locked=True))}
    if not tries:
        return []
    sent = select(*WITHOUT_CONTENT).where(n.id.in_(sorted(tries)), n.status == Status.SENT)
    rows = [notification_of(row) for row in connection.execute(sent)]
    given_up = [row for row in rows if tries[row.id] >= LOOKUPS_PER_MESSAGE]
    again = sorted({row.id for row in rows} - {row.id for row in given_up})
    over = sorted(set(tries) - set(again))
    if given_up:
        _set_missing(connection, given_up)
    if over:
        connection.execute(delete(awaited_receipts).where(w.notification_id.in_(over)))
    if again:
        pauses = case(*((w.tries == place, now + pause) for place, pause in enumerate(LOOKUP_RETRIES)), else_=None)
        later = case((w.tries < len(LOOKUP_RETRIES), pauses), else_=bindparam("last", now + LOOKUP_RETRIES[-1]))
        connection.execute(
            update(awaited_receipts).where(w.notification_id.in_(again)).values(due_at=later, tries=w.tries + 1)
        )
    return [row for row in rows if row.id in set(again)]


def mark_missing(connection: Connection, _now: datetime, rows: Sequence[Notification]) -> None:
    _set_missing(connection, rows)
    connection.execute(delete(awaited_receipts).where(w.notification_id.in_(sorted(row.id for row in rows))))


def _set_missing(connection: Connection, rows: Sequence[Notification]) -> None:
    """Its `updated_at` stays: its state has not changed."""
    ids = sorted(row.id for row in rows)
    connection.execute(update(notifications).where(n.id.in_(ids), n.status == Status.SENT).values(receipt=MISSING))

"""Tell that notifications were accepted: an event of each, and its webhooks, in the transaction that inserts the rows.

The event is written only where an endpoint of the tenant names it. Everyone else pays nothing: whether there is one is
asked in the statement that asks for the time.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, select

from tidings.adapters.sql import timeline
from tidings.adapters.sql.bulk_insert import insert_many
from tidings.adapters.sql.database import Database
from tidings.adapters.sql.schema import events
from tidings.domain.notification import Notification
from tidings.domain.receipt import By
from tidings.domain.webhook import CREATED, CREATED_TYPE, EndpointState, is_status_webhook

e = events.c


def now_and_has_listener(
    database: Database, connection: Connection, batch: Sequence[Notification]
) -> tuple[datetime, bool]:
    """The database's time, and whether one of these tenants has an endpoint that names `notification.created`."""
    tenants = sorted({notification.tenant for notification in batch})
    now, has_listener = database.now_and(connection, _question(connection.dialect.name, len(tenants)), tenants)
    return now, bool(has_listener)


def write_created(connection: Connection, now: datetime, rows: Sequence[Notification]) -> None:
    """`rows`: inserted by this transaction, or by its first run, whose answer to COMMIT was lost."""
    listening = timeline.listeners(connection, {row.tenant for row in rows})
    listening = [endpoint for endpoint in listening if CREATED_TYPE in endpoint.events]
    tenants = {endpoint.tenant for endpoint in listening}
    reported = [row for row in rows if row.tenant in tenants and not is_status_webhook(row.channel, row.recipient)]
    known = select(e.notification_id).where(e.notification_id.in_([row.id for row in reported]), e.status == CREATED)
    first_run = set(connection.scalars(known)) if reported else set()
    ids = [row.id for row in reported if row.id not in first_run]
    if not ids:
        return
    same = {"generation": 1, "attempt": 0, "status": CREATED, "at": now, "uncounted": 0, "by": By.INTAKE}
    columns = {name: [value] * len(ids) for name, value in same.items()}
    insert_many(connection, timeline.INSERT_EVENTS, {"notification_id": ids, **columns})
    timeline.write_webhooks(connection, now, listening, ids)


@lru_cache
def _question(dialect: str, tenants: int) -> str:
    """By the driver, not by SQLAlchemy, which takes longer for it than the database."""
    marks = ", ".join(["?" if dialect == "sqlite" else "%s"] * tenants)
    return (
        f"EXISTS (SELECT 1 FROM webhooks WHERE tenant IN ({marks}) AND state <> '{EndpointState.DELETED}'"  # noqa: S608
        f" AND INSTR(events, '{CREATED_TYPE}') > 0)"
    )

"""Connections: one row a provider that refuses us or has refused us. The rules are in `tidings.domain.connection`."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, select, update

from tidings.adapters.sql.database import Database
from tidings.adapters.sql.rows import code_within, insert_if_missing, within
from tidings.adapters.sql.schema import connections, notifications
from tidings.domain.connection import CallEnd
from tidings.domain.connection import Connection as ProviderConnection
from tidings.domain.notification import Status

c, n = connections.c, notifications.c

_KEPT = tuple(field.name for field in fields(ProviderConnection) if field.name not in ("name", "channel", "at"))


def all_connections(connection: Connection, database: Database) -> Sequence[ProviderConnection]:
    now = database.now(connection)
    return [_connection(row, now) for row in connection.execute(select(connections).order_by(c.name))]


def report(
    connection: Connection, now: datetime, name: str, channel: str, calls: Sequence[CallEnd]
) -> tuple[ProviderConnection, ProviderConnection]:
    if all(call.accepted for call in calls):
        unchanged = update(connections).where(c.name == name, c.suspected_at.is_(None)).values(accepted_at=now)
        if connection.execute(unchanged).rowcount:
            clean = ProviderConnection(name=name, channel=channel, at=now, accepted_at=now)
            return clean, clean
    before = _locked(connection, now, name, channel)
    after = before.after(calls, now)
    stored = {name: getattr(after, name) for name in _KEPT} | {
        "suspects": ",".join(after.suspects) or None,
        "error_code": code_within(after.error_code),
        "error_message": within(500, after.error_message),
    }
    connection.execute(update(connections).where(c.name == name).values(**stored))
    return before, after


def take_probe(connection: Connection, now: datetime, name: str, notification_id: str, lease: timedelta) -> bool:
    """The current probe stays the only one while its row is `sending`, however long the call takes. A row that was the
    last probe may be the next."""
    under_way = exists().where(and_(n.id == c.probe_id, n.id != notification_id, n.status == Status.SENDING))
    taken = (
        update(connections)
        .where(c.name == name, c.probe_at <= now, ~under_way)
        .values(probe_id=notification_id, probe_at=now + lease)
    )
    return bool(connection.execute(taken).rowcount)


def release_probe(connection: Connection, now: datetime, name: str, notification_id: str) -> None:
    connection.execute(
        update(connections).where(c.name == name, c.probe_id == notification_id).values(probe_id=None, probe_at=now)
    )


def _locked(connection: Connection, now: datetime, name: str, channel: str) -> ProviderConnection:
    """Lock the row, and create it if it is missing. Two workers may create it at once."""
    statement = select(connections).where(c.name == name).with_for_update()
    if (row := connection.execute(statement).one_or_none()) is None:
        insert_if_missing(connection, connections, {"name": name, "channel": channel, "probes": 0})
        row = connection.execute(statement).one()
    return _connection(row, now)


def _connection(row: Row[Any], now: datetime) -> ProviderConnection:
    stored = {name: row._mapping[name] for name in ("name", "channel", *_KEPT)}
    return ProviderConnection(
        **stored | {"suspects": tuple((row.suspects or "").split(",")) if row.suspects else (), "at": now}
    )

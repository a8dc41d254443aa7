"""Connections: the few rows that say which provider refuses us. The rules are in `tidings.domain.connection`."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection as Database
from sqlalchemy import Row, and_, exists, select, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tidings.adapters.sql.reads import code_within, within
from tidings.adapters.sql.schema import connections, notifications
from tidings.domain.connection import CallEnd, Connection
from tidings.domain.notification import Status

c, n = connections.c, notifications.c

_KEPT = tuple(field.name for field in fields(Connection) if field.name not in ("name", "channel", "at"))


def look(database: Database, now: datetime) -> Sequence[Connection]:
    return [_connection(row, now) for row in database.execute(select(connections).order_by(c.name))]


def report(
    database: Database, now: datetime, name: str, channel: str, calls: Sequence[CallEnd]
) -> tuple[Connection, Connection]:
    if all(call.accepted for call in calls):
        heard = update(connections).where(c.name == name, c.suspected_at.is_(None)).values(accepted_at=now)
        if database.execute(heard).rowcount:
            clean = Connection(name=name, channel=channel, at=now, accepted_at=now)
            return clean, clean
    before = _locked(database, now, name, channel)
    after = before.after(calls, now)
    stored = {name: getattr(after, name) for name in _KEPT} | {
        "suspects": ",".join(after.suspects) or None,
        "error_code": code_within(after.error_code),
        "error_message": within(500, after.error_message),
    }
    database.execute(update(connections).where(c.name == name).values(**stored))
    return before, after


def take_probe(database: Database, now: datetime, name: str, notification_id: str, lease: timedelta) -> bool:
    """The present probe holds its place for as long as its row is being sent, however long the call takes."""
    under_way = exists().where(and_(n.id == c.probe_id, n.status == Status.SENDING))
    taken = (
        update(connections)
        .where(c.name == name, c.probe_at <= now, ~under_way)
        .values(probe_id=notification_id, probe_at=now + lease)
    )
    return bool(database.execute(taken).rowcount)


def release_probe(database: Database, now: datetime, name: str, notification_id: str) -> None:
    database.execute(
        update(connections).where(c.name == name, c.probe_id == notification_id).values(probe_id=None, probe_at=now)
    )


def _locked(database: Database, now: datetime, name: str, channel: str) -> Connection:
    """The row, made where it is missing. Two workers may make it at once."""
    statement = select(connections).where(c.name == name).with_for_update()
    if (row := database.execute(statement).one_or_none()) is None:
        new = {"name": name, "channel": channel, "probes": 0}
        if database.dialect.name == "sqlite":
            database.execute(sqlite_insert(connections).on_conflict_do_nothing(), new)
        else:
            database.execute(mysql_insert(connections).on_duplicate_key_update(name=c.name), new)
        row = database.execute(statement).one()
    return _connection(row, now)


def _connection(row: Row[Any], now: datetime) -> Connection:
    stored = {name: row._mapping[name] for name in ("name", "channel", *_KEPT)}
    return Connection(
        **stored | {"suspects": tuple((row.suspects or "").split(",")) if row.suspects else (), "at": now}
    )

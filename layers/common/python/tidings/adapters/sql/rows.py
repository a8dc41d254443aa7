"""How a row becomes a Notification, and how rows are chosen, locked and changed by their ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, Row, Table, and_, select, tuple_, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tidings.adapters.sql.schema import notifications
from tidings.domain.channels import CHANNELS
from tidings.domain.notification import Notification, OnAmbiguous, Priority, Status, read
from tidings.domain.receipt import By

n = notifications.c

FIELDS = tuple(field.name for field in fields(Notification))
ALL_COLUMNS = [n[name] for name in FIELDS]
_FIELD_OF = {n[field].name: field for field in FIELDS}  # by the column's name
WITHOUT_CONTENT = [column for column in ALL_COLUMNS if column.name != "content"]
"""For many rows: each content may be megabytes."""

SUPPORTED = and_(n.status.in_(list(Status)), n.on_ambiguous.in_(list(OnAmbiguous)), n.channel.in_(CHANNELS))
"""Rows that this release understands. A later release, running beside it, may have written a status, policy or channel
that this one does not know: only its own workers and sweep handle such a row."""


def notification_of(row: Row[Any], **known: Any) -> Notification:
    """`known`: values of columns that were not read."""
    # `row._mapping` takes three times as long, and a worker builds a hundred of these a batch.
    made: dict[str, Any] = {
        _FIELD_OF[name]: value for name, value in zip(row._fields, row, strict=True) if name in _FIELD_OF
    }
    made |= known
    made["status"] = read(Status, made["status"])
    made["priority"] = read(Priority, made["priority"])
    made["on_ambiguous"] = read(OnAmbiguous, made["on_ambiguous"])
    return Notification(**made)


def as_seen(rows: Sequence[Notification]) -> ColumnElement[bool]:
    """Those of these rows that no worker and no replay has changed since they were read. The ids are there twice:
    MariaDB finds no range in a tuple."""
    seen = sorted((row.id, row.generation, row.attempt) for row in rows)
    return and_(n.id.in_([id for id, *_ in seen]), tuple_(n.id, n.generation, n.attempt).in_(seen))


def lock(connection: Connection, tenant: str, id: str) -> Notification | None:
    row = connection.execute(
        select(notifications).where(n.id == id, n.tenant == tenant).with_for_update()
    ).one_or_none()
    return None if row is None else notification_of(row)


def set_columns(connection: Connection, rows: Iterable[Notification], **values: Any) -> None:
    connection.execute(update(notifications).where(n.id.in_(sorted(row.id for row in rows))).values(**values))


def timeline_entry(notification: Notification, status: Status, now: datetime, by: By) -> dict[str, Any]:
    """A change of status that no claim made, as a row of `events`."""
    return {
        "notification_id": notification.id,
        "generation": notification.generation,
        "attempt": notification.attempt,
        "status": status,
        "at": now,
        "uncounted": 0,
        "by": by,
    }


def insert_if_missing(connection: Connection, table: Table, *new: Mapping[str, Any]) -> None:
    """A row whose primary key is taken stays as it is."""
    connection.execute(unless_taken(connection.dialect.name, table), new)


@cache
def unless_taken(dialect: str, table: Table) -> Insert:
    """The statement that leaves a row whose primary key is taken as it is."""
    if dialect == "sqlite":
        return sqlite_insert(table).on_conflict_do_nothing()
    key = next(iter(table.primary_key))
    return mysql_insert(table).on_duplicate_key_update({key.name: key})


def within(length: int, text: str | None) -> str | None:
    """Cut a vendor's text to its column: one that is too long must not fail a settlement, or we would send again."""
    return text if text is None else text[:length]


def code_within(code: str | None) -> str | None:
    """Cut to the columns `error_code`, which hold ASCII."""
    return code if code is None else within(64, code.encode("ascii", "replace").decode())

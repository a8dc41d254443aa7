"""The list of recipients that are not sent to: look up for a claim, add, remove, find, and what older releases wrote.

An entry is in force until its `expires_at`. Removing it sets that to now, so there is one condition to ask for.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, null, or_, select, tuple_, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tidings.adapters.sql.database import Database
from tidings.adapters.sql.schema import suppression_list
from tidings.adapters.sql.schema import suppressions as of_older_releases
from tidings.domain.channels import CHANNELS, Content
from tidings.domain.notification import Notification
from tidings.ports import SuppressedBy, Suppression, SuppressionEntry, SuppressionSelection

s, old = suppression_list.c, of_older_releases.c

LOOKED_UP = 10_000
"""Recipients in one statement: SQLite takes 32,766 values. A batch has more only with long lists of cc."""

_KEY = ("tenant", "channel", "recipient", "scope")
_CARRIED = ("reason", "source", "note", "notification_id", "at")


def in_force(now: Any) -> ColumnElement[bool]:
    return or_(s.expires_at.is_(None), s.expires_at > now)


_LOOK_UP = select(s.tenant, s.channel, s.recipient, s.scope, s.reason).where(
    s.recipient.in_(bindparam("recipients", expanding=True)),
    s.tenant.in_(bindparam("tenants", expanding=True)),
    in_force(bindparam("now", type_=s.expires_at.type)),
)


def _channel(name: str) -> type[Content]:
    return CHANNELS.get(name, Content)


# --- for a claim ------------------------------------------------------------------------------------------------------


def suppressed_of(
    connection: Connection, now: datetime, claimed: Sequence[Notification]
) -> Mapping[str, Mapping[str, SuppressedBy]]:
    """By id, the entry by each suppressed recipient, written as the notification has it."""
    addresses = {row.id: [row.recipient, *_channel(row.channel).copied_to(row.content)] for row in claimed}
    sought = sorted({_channel(row.channel).matched(one) for row in claimed for one in addresses[row.id]})
    tenants = sorted({row.tenant for row in claimed})
    entries: dict[tuple[str, str, str, str], SuppressedBy] = {}
    for start in range(0, len(sought), LOOKED_UP):
        page = {"recipients": sought[start : start + LOOKED_UP], "tenants": tenants, "now": now}
        for found in connection.execute(_LOOK_UP, page):
            key = found.tenant, found.channel, found.recipient, found.scope
            entries[key] = SuppressedBy(found.reason, found.scope)
    if not entries:
        return {}
    suppressed: dict[str, dict[str, SuppressedBy]] = {}
    for row in claimed:
        for one in addresses[row.id]:
            matched = _channel(row.channel).matched(one)
            for scope in ("", row.category or ""):
                if (by := entries.get((row.tenant, row.channel, matched, scope))) is not None:
                    suppressed.setdefault(row.id, {}).setdefault(one, by)
    return suppressed


# --- add --------------------------------------------------------------------------------------------------------------


def entry(tenant: str, channel: str, suppression: Suppression) -> dict[str, Any]:
    """As `add` takes it."""
    return {
        "tenant": tenant,
        "channel": channel,
        "recipient": _channel(channel).matched(suppression.recipient),
        "scope": suppression.scope,
        "reason": suppression.reason,
        "source": suppression.source,
        "note": suppression.note,
        "notification_id": suppression.notification_id,
        "lasts": suppression.lasts,
        "expires_at": suppression.expires_at,
    }


def entry_of(notification: Notification, suppression: Suppression) -> dict[str, Any]:
    return entry(notification.tenant, notification.channel, suppression) | {"notification_id": notification.id}


def add(connection: Connection, now: datetime, entries: Sequence[Mapping[str, Any]]) -> None:
    """In the order of the key, so that two batches cannot wait for each other."""
    rows = [_row(one, now) for one in entries]
    if rows:
        _upsert(connection, sorted(rows, key=lambda row: [row[name] for name in _KEY]))


def _row(given: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    row = {"at": now, **given}
    lasts: timedelta | None = row.pop("lasts")
    if lasts is not None and row["expires_at"] is None:
        row["expires_at"] = row["at"] + lasts
    return row


def _upsert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Where there is an entry, the one that lasts longer stands. One that has ended lasts less than any new one."""
    if connection.dialect.name == "sqlite":
        lite = sqlite_insert(suppression_list)
        connection.execute(lite.on_conflict_do_update(index_elements=_KEY, set_=dict(_longer(lite.excluded))), rows)
    else:
        statement = mysql_insert(suppression_list)
        connection.execute(statement.on_duplicate_key_update(_longer(statement.inserted)), rows)


def _longer(new: Any) -> list[tuple[str, Any]]:
    """`expires_at` comes last: MySQL assigns in this order, and each condition asks for the value before."""
    is_longer = and_(s.expires_at.is_not(None), or_(new.expires_at.is_(None), new.expires_at > s.expires_at))
    return [
        *((name, case((is_longer, new[name]), else_=s[name])) for name in _CARRIED),
        *((name, case((is_longer, null()), else_=s[name])) for name in ("removed_at", "removed_by")),
        ("expires_at", case((is_longer, new.expires_at), else_=s.expires_at)),
    ]


# --- operators --------------------------------------------------------------------------------------------------------


def remove(
    connection: Connection, now: datetime, *, tenant: str, channel: str, recipient: str, scope: str, by: str
) -> bool:
    key = s.tenant == tenant, s.channel == channel, s.recipient == _channel(channel).matched(recipient)
    statement = update(suppression_list).where(*key, s.scope == scope, in_force(now))
    return connection.execute(statement.values(expires_at=now, removed_at=now, removed_by=by)).rowcount > 0


def find(
    connection: Connection, database: Database, selection: SuppressionSelection, limit: int
) -> Sequence[SuppressionEntry]:
    now = database.now(connection)
    conditions = [
        s.tenant == selection.tenant,
        s.channel == selection.channel if selection.channel is not None else None,
        s.recipient.in_(sorted(selection.recipients)) if selection.recipients is not None else None,
        s.scope == selection.scope if selection.scope is not None else None,
        s.reason == selection.reason if selection.reason is not None else None,
        s.source == selection.source if selection.source is not None else None,
        s.seq < selection.before if selection.before is not None else None,
    ]
    if selection.in_force is not None:
        conditions.append(in_force(now) if selection.in_force else s.expires_at <= now)
    columns = [column for column in s if column is not s.tenant]
    statement = select(*columns).where(*[one for one in conditions if one is not None])
    index = "ux_suppression_list" if selection.recipients is not None else "ix_suppression_list_tenant"
    for dialect in ("mysql", "mariadb"):
        statement = statement.with_hint(suppression_list, f"FORCE INDEX ({index})", dialect)
    rows = connection.execute(statement.order_by(s.seq.desc()).limit(limit))
    return [SuppressionEntry(**row._mapping, in_force=row.expires_at is None or row.expires_at > now) for row in rows]


# --- what older releases wrote, and retention -------------------------------------------------------------------------


def adopt(connection: Connection, _now: datetime, lasts: Mapping[str, timedelta], limit: int) -> int:
    """Their time is kept: what they recorded long ago may have ended."""
    taken = select(of_older_releases).order_by(old.at).limit(limit).with_for_update(skip_locked=True)
    rows = [row._mapping for row in connection.execute(taken)]
    if not rows:
        return 0
    adopted: list[dict[str, Any]] = [
        {
            **row,
            "recipient": _channel(row["channel"]).matched(row["recipient"]),
            "scope": "",
            "source": "provider",
            "note": None,
            "lasts": lasts.get(row["reason"]),
            "expires_at": None,
        }
        for row in rows
    ]
    add(connection, _now, adopted)
    key = ("tenant", "channel", "recipient")
    each = [old[name].in_(sorted({row[name] for row in rows})) for name in key]  # MariaDB finds no range in a tuple
    whole = tuple_(*(old[name] for name in key)).in_([tuple(row[name] for name in key) for row in rows])
    connection.execute(delete(of_older_releases).where(*each, whole))
    return len(rows)


def purge(connection: Connection, now: datetime, keep: timedelta, limit: int) -> int:
    ended = s.expires_at
    last = connection.scalar(select(ended).where(ended < now - keep).order_by(ended).offset(limit - 1).limit(1))
    over = ended < now - keep if last is None else ended <= last
    return connection.execute(delete(suppression_list).where(over)).rowcount

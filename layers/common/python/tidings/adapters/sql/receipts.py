"""Receipts: apply a batch in one transaction. `pipeline.receipts` decides what follows from each.

A notification's row is locked while its receipts are decided: a settlement comes before or after them, never between.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, select, tuple_, update

from tidings.adapters.sql import timeline
from tidings.adapters.sql.awaited_receipts import expect
from tidings.adapters.sql.opt_outs import follow
from tidings.adapters.sql.reads import timelines
from tidings.adapters.sql.rows import WITHOUT_CONTENT, code_within, insert_if_missing, notification_of, within
from tidings.adapters.sql.schema import events, notifications, receipts
from tidings.domain.notification import Notification, Status, TimelineEntry, read
from tidings.domain.receipt import Receipt, ReceiptKind
from tidings.domain.timing import RECEIPT_RETRIES
from tidings.pipeline.receipts import consequence
from tidings.ports.receipts import Applied, Consequence, Result

n, e, r = notifications.c, events.c, receipts.c

Key = tuple[str, str]
"""A report: its provider and event id."""

Matched = Mapping[Key, Notification]
"""The notification of each report that has one."""

WAITING = frozenset({Result.KEPT, Result.UNMATCHED})
_FIELDS = tuple(field.name for field in fields(Receipt))
COLUMNS: list[Any] = [r[name] for name in _FIELDS]
_OVERTAKEN = "receipt"
"""The token of an entry that another receipt of the same batch has overtaken: the row has the state after the last."""

_KEPT = (
    select(*COLUMNS)
    .where(
        r.notification_id.in_(bindparam("batch", expanding=True)),
        r.retry_at.is_not(None),
        r.result.is_(None),
    )
    .order_by(r.received_at)
)
_ANY_KEPT = select(r.event_id).where(r.retry_at > datetime.fromtimestamp(0, UTC), r.result.is_(None))  # not NULL
for _dialect in ("mysql", "mariadb"):  # whatever it believes about the share of NULLs
    _ANY_KEPT = _ANY_KEPT.with_hint(receipts, "FORCE INDEX (ix_receipts_retry)", _dialect)
HAS_KEPT = _ANY_KEPT.exists()
"""False: `apply_kept` would find nothing. Few receipts wait at a time, mostly none."""
_IDS = n.id.in_(bindparam("batch", expanding=True))
_APPLY = (
    update(notifications)
    .where(
        _IDS,
        n.status != Status.SENDING,
        e.notification_id == n.id,
        e.token == bindparam("batch_token", type_=e.token.type),
    )
    .values(
        status=e.status,
        next_attempt_at=case((e.status == Status.RETRYING, n.next_attempt_at), else_=None),
        # A failed row owes its dead letter: the sweep publishes it.
        wake_at=case(
            (e.status == Status.RETRYING, n.wake_at),
            (e.status == Status.FAILED, bindparam("now", type_=n.wake_at.type)),
            else_=None,
        ),
        provider=e.provider,
        provider_message_id=e.provider_message_id,
        error_class=e.error_class,
        error_code=e.error_code,
        error_message=e.error_message,
        receipt=None,
        updated_at=bindparam("now", type_=n.updated_at.type),
    )
)


def apply(connection: Connection, now: datetime, batch: Sequence[Receipt], token: str) -> Sequence[Applied]:
    """Duplicates are looked for under the rows' locks: of two copies at once, the second finds the first."""
    rows = matched(connection, batch)
    seen = _known(connection, batch)
    first: dict[int, Receipt] = {}
    for place, receipt in enumerate(batch):
        if key_of(receipt) not in seen:
            seen.add(key_of(receipt))
            first[place] = receipt
    decided = iter(decide(connection, now, [*first.values()], rows, token))
    duplicate = Consequence(result=Result.DUPLICATE)
    applied = [
        next(decided) if place in first else Applied(receipt=receipt, consequence=duplicate)
        for place, receipt in enumerate(batch)
    ]
    new = [item for place, item in enumerate(applied) if place in first]
    if new:
        insert_if_missing(connection, receipts, *(_stored(item, now) for item in new))
    return applied


def apply_kept(connection: Connection, now: datetime, ids: Collection[str], token: str) -> None:
    """In the transaction of a settlement, which holds these rows' locks: what was reported while they were being sent.
    The sweep tells the observers."""
    kept = [receipt_of(row) for row in connection.execute(_KEPT, {"batch": sorted(ids)})]
    if not kept:
        return
    groups: dict[tuple[Result, bool], list[Receipt]] = {}
    for item in decide(connection, now, kept, matched(connection, kept), token):
        if item.consequence.result not in WAITING:
            groups.setdefault((item.consequence.result, item.consequence.doubled), []).append(item.receipt)
    for (result, doubled), done in groups.items():
        values = {"retry_at": now, "result": result, "doubled": int(doubled)}
        connection.execute(update(receipts).where(these(done)).values(**values))


def kept(connection: Connection, ids: Collection[str]) -> Mapping[str, Sequence[Receipt]]:
    by_id: dict[str, list[Receipt]] = {}
    for row in connection.execute(_KEPT, {"batch": sorted(ids)}):
        by_id.setdefault(row.notification_id, []).append(receipt_of(row))
    return by_id


# --- the steps --------------------------------------------------------------------------------------------------------


def matched(connection: Connection, batch: Sequence[Receipt]) -> Matched:
    """Each receipt's notification, locked: from its callback address, else by the provider's id of the message."""
    ids = {key_of(receipt): receipt.notification_id for receipt in batch if receipt.notification_id is not None}
    unmarked = [
        receipt
        for receipt in batch
        if receipt.notification_id is None and receipt.recipient is None and receipt.provider_message_id
    ]
    if unmarked:
        messages = sorted({str(receipt.provider_message_id) for receipt in unmarked})
        found = select(n.id, n.provider, n.provider_message_id).where(n.provider_message_id.in_(messages))
        owners = {(row.provider, row.provider_message_id): row.id for row in connection.execute(found)}
        for receipt in unmarked:
            if (id := owners.get((receipt.provider, receipt.provider_message_id))) is not None:
                ids[key_of(receipt)] = id
    if not ids:
        return {}
    statement = select(*WITHOUT_CONTENT).where(n.id.in_(sorted({*ids.values()}))).order_by(n.id).with_for_update()
    rows = {row.id: notification_of(row) for row in connection.execute(statement)}
    return {key: rows[id] for key, id in ids.items() if id in rows}


def _known(connection: Connection, batch: Sequence[Receipt]) -> set[Key]:
    found = select(r.provider, r.event_id).where(these(batch))
    return {(row.provider, row.event_id) for row in connection.execute(found)}


def decide(
    connection: Connection, now: datetime, batch: Sequence[Receipt], notifications_of: Matched, token: str
) -> Sequence[Applied]:
    """What follows from each, one after the other, written with two statements; and for the list of suppressed
    recipients."""
    rows = {row.id: row for row in notifications_of.values()}
    told = timelines(connection, rows) if rows else {}
    applied: list[Applied] = []
    entries: list[dict[str, Any]] = []
    last_of: dict[str, dict[str, Any]] = {}
    for receipt in batch:
        match = notifications_of.get(key_of(receipt))
        if match is None:
            applied.append(Applied(receipt=receipt, consequence=Consequence(result=Result.UNMATCHED)))
            continue
        row = rows[match.id]
        follows = consequence(row, told[row.id], receipt)
        if follows.entry is not None:
            entry = _bounded(follows.entry, now)
            told[row.id].append(entry)
            written = _written(row, entry, token if follows.status is not None else None)
            entries.append(written)
            if follows.status is not None:
                if row.id in last_of:
                    last_of[row.id]["token"] = _OVERTAKEN
                last_of[row.id] = written
                row = rows[row.id] = _moved(row, entry, now)
        applied.append(Applied(receipt=receipt, consequence=follows, notification=row))
    if entries:
        timeline.write_rows(connection, now, entries, rows.values())
    if last_of:
        connection.execute(_APPLY, {"batch": sorted(last_of), "batch_token": token, "now": now})
        expect(connection, now, [id for id, written in last_of.items() if written["status"] is Status.SENT])
    return follow(connection, now, applied)


def _moved(row: Notification, entry: TimelineEntry, now: datetime) -> Notification:
    """As `_APPLY` writes it."""
    return replace(
        row,
        status=entry.status,
        next_attempt_at=row.next_attempt_at if entry.status is Status.RETRYING else None,
        provider=entry.provider,
        provider_message_id=entry.provider_message_id,
        error_class=entry.error_class,
        error_code=entry.error_code,
        error_message=entry.error_message,
        updated_at=now,
    )


def _bounded(entry: TimelineEntry, now: datetime) -> TimelineEntry:
    """A vendor's clock may be fast, and its texts long."""
    return replace(
        entry,
        at=min(entry.at, now),
        provider_message_id=within(255, entry.provider_message_id),
        error_code=code_within(entry.error_code),
        error_message=within(500, entry.error_message),
    )


def _written(row: Notification, entry: TimelineEntry, token: str | None) -> dict[str, Any]:
    values = {field.name: getattr(entry, field.name) for field in fields(TimelineEntry)}
    return {**values, "notification_id": row.id, "uncounted": 0, "token": token}


def _stored(item: Applied, now: datetime) -> dict[str, Any]:
    receipt, waits = item.receipt, item.consequence.result in WAITING
    values = {name: getattr(receipt, name) for name in _FIELDS}
    row = item.notification
    return {
        **values,
        "notification_id": row.id if row is not None else receipt.notification_id,
        "provider_message_id": within(255, receipt.provider_message_id),
        "code": code_within(receipt.code),
        "message": within(500, receipt.message),
        "received_at": now,
        "retry_at": now + RECEIPT_RETRIES[0][1] if waits else None,
    }


def receipt_of(row: Any) -> Receipt:
    values = {name: getattr(row, name) for name in _FIELDS}
    return Receipt(**{**values, "kind": read(ReceiptKind, row.kind)})


def key_of(receipt: Receipt) -> Key:
    return receipt.provider, receipt.event_id


def these(batch: Iterable[Receipt]) -> ColumnElement[bool]:
    return keyed([*map(key_of, batch)])


def keyed(keys: Sequence[Key]) -> ColumnElement[bool]:
    """The parts of the key are there twice: MariaDB finds no range in a tuple."""
    chosen = sorted({*keys})
    providers, ids = {provider for provider, _ in chosen}, [id for _, id in chosen]
    return and_(r.provider.in_(sorted(providers)), r.event_id.in_(ids), tuple_(r.provider, r.event_id).in_(chosen))

"""Receipts: apply a batch in one transaction. `pipeline.receipts` decides what follows from each.

A notification's row is locked while its receipts are decided: a settlement comes before or after them, never between.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, and_, bindparam, case, select, tuple_, update

from tidings.adapters.sql import timeline
from tidings.adapters.sql.awaited_receipts import expect
from tidings.adapters.sql.bulk_insert import insert_many
from tidings.adapters.sql.opt_outs import follow
from tidings.adapters.sql.rows import code_within, unless_taken, within
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
_UNMATCHED = Consequence(result=Result.UNMATCHED)
_OVERTAKEN = "receipt"
"""The token of an entry that another receipt of the same batch has overtaken: the row has the state after the last."""

# What a receipt's consequence depends on, and what the observers tell of its notification: the rest of a row costs more
# to read than all else that is done with it.
_ROW_FIELDS = (
    "id",
    "tenant",
    "channel",
    "recipient",
    "traceparent",
    "created_at",
    "updated_at",
    "status",
    "generation",
    "attempt",
    "next_attempt_at",
)
_ENTRY_FIELDS = ("generation", "attempt", "status", "at", "provider_message_id", "error_class", "by")
_SHORT = 64  # characters, of ASCII, that fit each column
_WRITTEN = tuple(field.name for field in fields(TimelineEntry))

# Built once: building a statement costs as much as running it. What differs from batch to batch is bound.
_BATCH: BindParameter[Any] = bindparam("batch", expanding=True)
_OWNERS = select(n.id, n.provider, n.provider_message_id).where(n.provider_message_id.in_(_BATCH))
_LOCKED = select(*(n[name] for name in _ROW_FIELDS)).where(n.id.in_(_BATCH)).order_by(n.id).with_for_update()
_TIMELINES = (
    select(e.notification_id, *(e[name] for name in _ENTRY_FIELDS))
    .where(e.notification_id.in_(_BATCH), timeline.IS_ENTRY)
    .order_by(e.notification_id, e.seq)
)
_KNOWN = select(r.provider, r.event_id).where(
    r.provider.in_(bindparam("providers", expanding=True)), r.event_id.in_(_BATCH)
)
_KEPT = (
    select(*COLUMNS)
    .where(
        r.notification_id.in_(_BATCH),
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
_IDS = n.id.in_(_BATCH)
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
        insert_many(connection, unless_taken(connection.dialect.name, receipts), _stored(new, now))
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
        found = connection.execute(_OWNERS, {"batch": messages})
        owners = {(row.provider, row.provider_message_id): row.id for row in found}
        for receipt in unmarked:
            if (id := owners.get((receipt.provider, receipt.provider_message_id))) is not None:
                ids[key_of(receipt)] = id
    if not ids:
        return {}
    found = connection.execute(_LOCKED, {"batch": sorted({*ids.values()})})
    rows = {row[0]: _notification(dict(zip(_ROW_FIELDS, row, strict=True))) for row in found}
    return {key: rows[id] for key, id in ids.items() if id in rows}


def _notification(values: dict[str, Any]) -> Notification:
    return Notification(**{**values, "status": read(Status, values["status"])})


def _timelines(connection: Connection, ids: Collection[str]) -> Mapping[str, list[TimelineEntry]]:
    told: dict[str, list[TimelineEntry]] = {id: [] for id in ids}
    if not ids:
        return told
    for id, *row in connection.execute(_TIMELINES, {"batch": sorted(ids)}):
        values = dict(zip(_ENTRY_FIELDS, row, strict=True))
        told[id].append(TimelineEntry(**{**values, "status": read(Status, values["status"])}))
    return told


def _known(connection: Connection, batch: Sequence[Receipt]) -> set[Key]:
    """May hold more than those of the batch."""
    asked = {
        "providers": sorted({receipt.provider for receipt in batch}),
        "batch": sorted({receipt.event_id for receipt in batch}),
    }
    return {(provider, event_id) for provider, event_id in connection.execute(_KNOWN, asked)}


def decide(
    connection: Connection, now: datetime, batch: Sequence[Receipt], notifications_of: Matched, token: str
) -> Sequence[Applied]:
    """What follows from each, one after the other, written with two statements; and for the list of suppressed
    recipients."""
    rows = {row.id: row for row in notifications_of.values()}
    told = _timelines(connection, rows)
    applied: list[Applied] = []
    entries: list[TimelineEntry] = []
    owners: list[str] = []  # of the entries: their notifications
    tokens: list[str | None] = []
    last_of: dict[str, int] = {}  # by notification, the place of the entry that moved it last
    for receipt in batch:
        match = notifications_of.get(key_of(receipt))
        if match is None:
            applied.append(Applied(receipt=receipt, consequence=_UNMATCHED))
            continue
        row = rows[match.id]
        follows = consequence(row, told[row.id], receipt)
        if follows.entry is not None:
            entry = _bounded(follows.entry, now)
            told[row.id].append(entry)
            if follows.status is not None:
                if row.id in last_of:
                    tokens[last_of[row.id]] = _OVERTAKEN
                last_of[row.id] = len(entries)
                row = rows[row.id] = _moved(row, entry, now)
            entries.append(entry)
            owners.append(row.id)
            tokens.append(token if follows.status is not None else None)
        applied.append(Applied(receipt=receipt, consequence=follows, notification=row))
    if entries:
        timeline.write(connection, now, _columns(entries, owners, tokens), rows.values())
    if last_of:
        connection.execute(_APPLY, {"batch": sorted(last_of), "batch_token": token, "now": now})
        expect(connection, now, [id for id, place in last_of.items() if entries[place].status is Status.SENT])
    return follow(connection, now, applied)


def _moved(row: Notification, entry: TimelineEntry, now: datetime) -> Notification:
    """As `_APPLY` writes it."""
    values = {name: getattr(row, name) for name in _ROW_FIELDS}
    due = row.next_attempt_at if entry.status is Status.RETRYING else None
    return Notification(**{**values, "status": entry.status, "next_attempt_at": due, "updated_at": now})


def _bounded(entry: TimelineEntry, now: datetime) -> TimelineEntry:
    """A vendor's clock may be fast, and its texts long."""
    texts = entry.provider_message_id, entry.error_code, entry.error_message
    if entry.at <= now and all(text is None or (len(text) <= _SHORT and text.isascii()) for text in texts):
        return entry
    return replace(
        entry,
        at=min(entry.at, now),
        provider_message_id=within(255, entry.provider_message_id),
        error_code=code_within(entry.error_code),
        error_message=within(500, entry.error_message),
    )


def _columns(
    entries: Sequence[TimelineEntry], owners: Sequence[str], tokens: Sequence[str | None]
) -> dict[str, Sequence[Any]]:
    values: dict[str, Sequence[Any]] = {name: [getattr(entry, name) for entry in entries] for name in _WRITTEN}
    return {**values, "notification_id": owners, "uncounted": [0] * len(entries), "token": tokens}


def _stored(new: Sequence[Applied], now: datetime) -> dict[str, Sequence[Any]]:
    batch = [item.receipt for item in new]
    values: dict[str, Sequence[Any]] = {name: [getattr(receipt, name) for receipt in batch] for name in _FIELDS}
    again = now + RECEIPT_RETRIES[0][1]
    return {
        **values,
        "notification_id": [
            item.notification.id if item.notification is not None else item.receipt.notification_id for item in new
        ],
        "provider_message_id": [within(255, receipt.provider_message_id) for receipt in batch],
        "code": [code_within(receipt.code) for receipt in batch],
        "message": [within(500, receipt.message) for receipt in batch],
        "received_at": [now] * len(new),
        "retry_at": [again if item.consequence.result in WAITING else None for item in new],
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

"""Receipts that could not be applied when they came: tried again by the sweep, for RECEIPTS_KEPT."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, update

from tidings.adapters.sql.receipts import COLUMNS, WAITING, decide, key_of, keyed, matched, receipt_of, these
from tidings.adapters.sql.schema import receipts
from tidings.domain.receipt import Receipt
from tidings.domain.timing import RECEIPT_RETRIES, RECEIPTS_KEPT
from tidings.ports import PAGE
from tidings.ports.receipts import Applied, Consequence, Result

r = receipts.c

_NOT_APPLIED = r.result.is_(None)
"""The receipt is not applied yet. If it has a result, a settlement has applied it, and the next sweep reports it."""


def retry(connection: Connection, now: datetime, limit: int, token: str) -> Sequence[Applied]:
    """The receipts are not locked: a settlement that holds the notification's row may be about to apply one of these.
    Applying one twice changes nothing."""
    columns = [*COLUMNS, r.received_at, r.result, r.doubled]
    found = connection.execute(select(*columns).where(r.retry_at <= now).order_by(r.retry_at).limit(limit)).all()
    told = [
        Applied(receipt=receipt_of(row), consequence=Consequence(result=Result(row.result), doubled=bool(row.doubled)))
        for row in found
        if row.result is not None
    ]
    waiting = {key_of(receipt_of(row)): row.received_at for row in found if row.result is None}
    again = [receipt_of(row) for row in found if row.result is None]
    tried = decide(connection, now, again, matched(connection, again), token)
    done, dropped, later = list[Applied](), list[Applied](), defaultdict[timedelta, list[Receipt]](list)
    for item in tried:
        age = now - waiting[key_of(item.receipt)]
        if item.consequence.result not in WAITING:
            done.append(item)
        elif age >= RECEIPTS_KEPT:
            dropped.append(replace(item, consequence=Consequence(result=Result.DROPPED)))
        else:
            later[_pause(age)].append(item.receipt)
    if dropped:
        connection.execute(delete(receipts).where(these(item.receipt for item in dropped), _NOT_APPLIED))
    if told:
        connection.execute(update(receipts).where(these(item.receipt for item in told)).values(retry_at=None))
    if done:
        connection.execute(
            update(receipts).where(these(item.receipt for item in done), _NOT_APPLIED).values(retry_at=None)
        )
    for pause, batch in later.items():
        connection.execute(update(receipts).where(these(batch), _NOT_APPLIED).values(retry_at=now + pause))
    return [*told, *done, *dropped]


def purge(connection: Connection, now: datetime) -> int:
    """Delete a page of those that are done and too old to have duplicates."""
    old = select(r.provider, r.event_id).where(r.received_at < now - RECEIPTS_KEPT, r.retry_at.is_(None))
    keys = [(row.provider, row.event_id) for row in connection.execute(old.order_by(r.received_at).limit(PAGE))]
    return connection.execute(delete(receipts).where(keyed(keys))).rowcount if keys else 0


def _pause(age: timedelta) -> timedelta:
    return next(pause for younger, pause in RECEIPT_RETRIES if age < younger)

"""The feed: a tenant's events by `seq`, without gaps for a reader who goes on from the last one that it has seen.

The database numbers events as they are inserted, and transactions commit in another order: 8 may be visible before 7.
A reader who went on from 8 would never see 7. So where a number is missing, the page waits until it is known what
became of it. First a pause, in which a statement that has taken its numbers inserts its rows. Then all rows up to the
end of the page are read with a lock, which waits for each transaction that has inserted one of them. What is missing
after that stays missing: a transaction was rolled back, or the retention has deleted it.

A lock is of one server. So all writers must be connected to the same: a Galera cluster, or MySQL's group replication
with several primaries, would let a reader of one node pass numbers that another node has not committed yet.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, select, text

from tidings.adapters.sql.database import Database, reading, transaction
from tidings.adapters.sql.schema import events, notifications
from tidings.adapters.sql.timeline import payload, reported_events
from tidings.ports.webhooks import Feed

n, e = notifications.c, events.c

LOOKED_AT = 5000
"""Events of all tenants, in one page: about 30 ms. A tenant's own are found among them."""

PAUSE = 0.5
"""Seconds. A statement inserts its rows within microseconds after it has taken their numbers."""


def numbering_step(connection: Connection) -> int:
    """By how much the next number is larger. More than 1: the server is made for a cluster in which several write."""
    if connection.dialect.name == "sqlite":
        return 1
    step: int = connection.scalar(text("SELECT @@auto_increment_increment"))
    return step


class EventFeed:
    """Thread-safe."""

    def __init__(self, database: Database, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.database = database
        self._sleep = sleep
        self._proven = (0, 0)  # what is missing after the first and up to the second stays missing

    def page(self, tenant: str, after: int, limit: int) -> Feed:
        """Raise StoreUnavailable, also if a transaction does not end in time."""
        numbers = self._numbers(after)
        if not numbers:
            return Feed(events=[], after=after, more=False)
        end = self._safe_end(after, numbers)
        found = self._events(tenant, after, end, limit)
        is_cut = len(found) == limit
        return Feed(
            events=found,
            after=found[-1]["data"]["seq"] if is_cut else end,
            more=is_cut or len(numbers) == LOOKED_AT,
        )

    def _safe_end(self, after: int, numbers: Sequence[int]) -> int:
        end = numbers[-1]
        is_whole = end - after == len(numbers)
        if is_whole or self.database.engine.dialect.name == "sqlite":  # one writer at a time
            return end
        first, last = self._proven
        if first <= after and end <= last:
            return end
        self._sleep(PAUSE)
        self._wait_for_writers(after, end)
        # Readers are at different places, and nothing is known of the numbers between two of them.
        is_connected = after <= last and first <= end
        self._proven = (min(first, after), max(last, end)) if is_connected else (after, end)
        return end

    @reading
    def _numbers(self, connection: Connection, after: int) -> Sequence[int]:
        chosen = select(e.seq).where(e.seq > after).order_by(e.seq).limit(LOOKED_AT)
        return connection.scalars(chosen).all()

    @transaction
    def _wait_for_writers(self, connection: Connection, after: int, end: int) -> None:
        connection.execute(select(e.seq).where(e.seq > after, e.seq <= end).with_for_update(read=True)).all()

    @reading
    def _events(self, connection: Connection, tenant: str, after: int, end: int, limit: int) -> list[dict[str, Any]]:
        chosen = reported_events().where(e.seq > after, e.seq <= end, n.tenant == tenant).order_by(e.seq).limit(limit)
        return [payload(entry, with_recipient=True) for entry in connection.execute(chosen)]

"""The Store on SQLite, MySQL and MariaDB: a method runs one function in one transaction.

A write asks the database for the time once and passes it on, so that one clock decides. Rows are locked in the order of
their ids, so that two batches cannot wait for each other.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tidings.adapters.sql import (
    awaited_receipts,
    cancel,
    claim,
    connections,
    creation,
    insert,
    mark,
    pause,
    purge,
    reads,
    receipt_retries,
    receipts,
    replay,
    settle,
    suppressions,
    sweep,
)
from tidings.adapters.sql.database import Database, reading, transaction
from tidings.adapters.sql.event_feed import EventFeed, numbering_step
from tidings.domain.connection import CallEnd
from tidings.domain.connection import Connection as ProviderConnection
from tidings.domain.notification import Notification, Priority, TimelineEntry
from tidings.domain.receipt import Receipt
from tidings.messaging.envelope import Message
from tidings.ports import (
    Changed,
    Claims,
    Inserted,
    Overdue,
    Purged,
    Selection,
    Settlement,
    Suppression,
    SuppressionEntry,
    SuppressionSelection,
)
from tidings.ports.receipts import Applied
from tidings.ports.webhooks import Feed

T = TypeVar("T")
P = ParamSpec("P")


class SqlStore:
    """Store."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._feed = EventFeed(database)

    # --- intake -------------------------------------------------------------------------------------------------------

    def insert(self, batch: Sequence[Notification]) -> Sequence[Inserted]:
        try:
            return self._insert(insert.insert_new, batch)
        except IntegrityError:
            return self._insert(insert.insert_unless_taken, batch)

    def holders(self, hashes: Collection[str]) -> Mapping[str, Notification]:
        return self._read(reads.holders, hashes)

    def mark_unqueued(self, rows: Sequence[Notification]) -> None:
        if rows:
            self._write(insert.mark_unqueued, rows)

    # --- delivery -----------------------------------------------------------------------------------------------------

    def claim(
        self, messages: Sequence[Message], lease: timedelta, *, isolated: bool = False, suppressed: bool = True
    ) -> Claims:
        # The token is made before the transaction: a second run finds the rows that the first COMMIT took.
        return self._write(claim.claim, messages, lease, uuid.uuid4().hex, isolated=isolated, suppressed=suppressed)

    def renew(self, tokens: Mapping[str, str], lease: timedelta) -> Collection[str]:
        return self._write(claim.renew, tokens, lease) if tokens else ()

    def settle(self, settlements: Sequence[Settlement], *, dead_letters_owed: bool = False) -> Sequence[Settlement]:
        return self._write(settle.settle, settlements, dead_letters_owed, uuid.uuid4().hex) if settlements else []

    def connections(self) -> Sequence[ProviderConnection]:
        return self._read(connections.all_connections, self.database)

    def report(
        self, name: str, channel: str, calls: Sequence[CallEnd]
    ) -> tuple[ProviderConnection, ProviderConnection]:
        return self._write(connections.report, name, channel, calls)

    def take_probe(self, name: str, notification_id: str, lease: timedelta) -> bool:
        return self._write(connections.take_probe, name, notification_id, lease)

    def release_probe(self, name: str, notification_id: str) -> None:
        self._write(connections.release_probe, name, notification_id)

    # --- sweep --------------------------------------------------------------------------------------------------------

    def overdue(self, limit: int, lease: timedelta) -> Overdue:
        return self._write(sweep.overdue, limit, lease, uuid.uuid4().hex)

    def give_up(self, waiting: Sequence[Notification], connection: ProviderConnection) -> Sequence[Notification]:
        return self._write(sweep.give_up, waiting, connection) if waiting else []

    def mark_queued(self, rows: Sequence[Notification]) -> None:
        if rows:
            self._write(mark.mark_queued, rows)

    def mark_waiting(self, rows: Sequence[Notification], pause: timedelta) -> None:
        if rows:
            self._write(mark.mark_waiting, rows, pause)

    def mark_dead_letter_published(self, rows: Sequence[Notification]) -> None:
        if rows:
            self._write(mark.mark_dead_letter_published, rows)

    def queue_progress(self, channel: str, priority: Priority, since: datetime) -> datetime | None:
        return self._read(reads.queue_progress, channel, priority, since)

    def purge(self, keep: timedelta, limit: int, *, after: str = "") -> Purged:
        return self._write(purge.purge, keep, limit, after)

    # --- suppressions -------------------------------------------------------------------------------------------------

    def add_suppressions(self, tenant: str, channel: str, given: Sequence[Suppression]) -> None:
        entries = [suppressions.entry(tenant, channel, one) for one in given]
        self._write(suppressions.add, entries)

    def remove_suppression(self, tenant: str, channel: str, recipient: str, scope: str, by: str) -> bool:
        key = {"tenant": tenant, "channel": channel, "recipient": recipient, "scope": scope}
        return self._write(suppressions.remove, **key, by=by)

    def find_suppressions(self, selection: SuppressionSelection, limit: int) -> Sequence[SuppressionEntry]:
        return self._read(suppressions.find, self.database, selection, limit)

    def adopt_suppressions(self, lasts: Mapping[str, timedelta], limit: int) -> int:
        return self._write(suppressions.adopt, lasts, limit)

    def purge_suppressions(self, keep: timedelta, limit: int) -> int:
        return self._write(suppressions.purge, keep, limit)

    # --- receipts -----------------------------------------------------------------------------------------------------

    def apply_receipts(self, batch: Sequence[Receipt]) -> Sequence[Applied]:
        return self._write(receipts.apply, batch, uuid.uuid4().hex) if batch else []

    def retry_receipts(self, limit: int) -> Sequence[Applied]:
        return self._write(receipt_retries.retry, limit, uuid.uuid4().hex)

    def kept_receipts(self, ids: Collection[str]) -> Mapping[str, Sequence[Receipt]]:
        return self._read(receipts.kept, ids) if ids else {}

    def stop_waiting(self, limit: int) -> int:
        return self._write(awaited_receipts.stop_waiting, limit)

    def receipts_due(self, limit: int) -> Sequence[Notification]:
        return self._write(awaited_receipts.due, limit)

    def mark_receipts_missing(self, rows: Sequence[Notification]) -> None:
        if rows:
            self._write(awaited_receipts.mark_missing, rows)

    def purge_receipts(self) -> int:
        return self._write(receipt_retries.purge)

    # --- operators ----------------------------------------------------------------------------------------------------

    def reset_for_replay(
        self,
        selection: Selection,
        limit: int,
        due_in: timedelta,
        *,
        after: str = "",
        expires_at: datetime | None = None,
    ) -> Sequence[Notification]:
        # A second run answers what the first COMMIT has reset, and resets no others.
        earlier: list[Notification] = []
        return self._write(
            replay.reset_for_replay, selection, limit, due_in, after=after, expires_at=expires_at, earlier=earlier
        )

    def filter_failed(self, messages: Sequence[Message]) -> Sequence[Message]:
        return self._read(reads.filter_failed, messages)

    def resolve(self, tenant: str, id: str) -> Changed | None:
        return self._write(cancel.resolve, tenant, id)

    def cancel(self, tenant: str, id: str) -> Changed | None:
        return self._write(cancel.cancel, tenant, id)

    def paused(self) -> Mapping[str, datetime]:
        return self._read(pause.paused)

    def pause(self, channel: str) -> None:
        self._write(pause.pause, channel)

    def resume(self, channel: str) -> None:
        self._write(pause.resume, channel)

    # --- reads --------------------------------------------------------------------------------------------------------

    def get(self, tenant: str, id: str) -> Notification | None:
        return self._read(reads.get, tenant, id)

    def events(self, id: str) -> Sequence[TimelineEntry]:
        return self._read(reads.timeline, id)

    def get_with_timeline(self, tenant: str, id: str) -> tuple[Notification, Sequence[TimelineEntry]] | None:
        return self._read(reads.get_with_timeline, tenant, id)

    def find(self, selection: Selection, limit: int, *, oldest_first: bool = False) -> Sequence[Notification]:
        return self._read(reads.find, self.database, selection, limit, oldest_first=oldest_first)

    def feed(self, tenant: str, after: int, limit: int) -> Feed:
        return self._feed.page(tenant, after, limit)

    def may_have_been_sent(self, ids: Sequence[str]) -> Collection[str]:
        return self._read(reads.may_have_been_sent, ids)

    def count(self, selection: Selection) -> int:
        return self._read(reads.count, self.database, selection)

    def count_by_expiry(self, selection: Selection) -> tuple[int, int]:
        return self._read(reads.count_by_expiry, self.database, selection)

    def count_doubtful(self, selection: Selection, limit: int) -> int:
        return self._read(reads.count_doubtful, self.database, selection, limit)

    def largest_statement(self) -> int | None:
        """Bytes that the database takes in one statement. None: no limit that matters."""
        return self._read(insert.largest_statement)

    def numbering_step(self) -> int:
        """1, unless the database is a cluster in which several nodes take writes."""
        return self._read(numbering_step)

    def now(self) -> datetime:
        return self._read(self.database.now)

    def check(self) -> None:
        self._read(reads.check_schema)

    def close(self) -> None:
        self.database.close()

    # --- transactions -------------------------------------------------------------------------------------------------

    @transaction
    def _insert(
        self,
        connection: Connection,
        work: Callable[[Connection, datetime, Sequence[Notification]], Sequence[Inserted]],
        batch: Sequence[Notification],
    ) -> Sequence[Inserted]:
        now, has_listener = creation.now_and_has_listener(self.database, connection, batch)
        stored = work(connection, now, batch)
        if has_listener:
            creation.write_created(connection, now, [item.notification for item in stored if item.existing is None])
        return stored

    @transaction
    def _write(
        self,
        connection: Connection,
        /,
        work: Callable[Concatenate[Connection, datetime, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return work(connection, self.database.now(connection), *args, **kwargs)

    @reading
    def _read(
        self,
        connection: Connection,
        /,
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return work(connection, *args, **kwargs)

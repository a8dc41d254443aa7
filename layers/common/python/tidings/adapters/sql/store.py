"""The Store on SQLite, MySQL and MariaDB.

Each method is one transaction, which asks the time once and passes it on, so that one clock, the database's, decides.
Rows are locked in the order of their ids, so that two batches cannot wait for each other.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tidings.adapters.sql import claim, connections, insert, maintenance
from tidings.adapters.sql.database import reading, transaction
from tidings.adapters.sql.reads import Reads
from tidings.domain.connection import CallEnd
from tidings.domain.connection import Connection as ProviderConnection
from tidings.domain.notification import Notification
from tidings.messaging.envelope import Message
from tidings.ports import Changed, Claims, Inserted, Overdue, Purged, Selection, Settlement

T = TypeVar("T")
P = ParamSpec("P")


class SqlStore(Reads):
    """Store."""

    def insert(self, batch: Sequence[Notification]) -> Sequence[Inserted]:
        try:
            self._write(insert.insert_new, batch)
        except IntegrityError:
            return self._write(insert.insert_unless_taken, batch)
        return [Inserted(notification) for notification in batch]

    def mark_unqueued(self, rows: Sequence[Notification]) -> None:
        if rows:
            self._write(insert.mark_unqueued, rows)

    def claim(self, messages: Sequence[Message], lease: timedelta, *, isolated: bool = False) -> Claims:
        # The token is made before the transaction: run twice, it finds the rows that its first COMMIT took.
        return self._write(claim.claim, messages, lease, uuid.uuid4().hex, isolated=isolated)

    def renew(self, tokens: Mapping[str, str], lease: timedelta) -> Collection[str]:
        return self._write(claim.renew, tokens, lease) if tokens else ()

    def settle(self, settlements: Sequence[Settlement], *, dead_letters_owed: bool = False) -> Sequence[Settlement]:
        return self._write(claim.settle, settlements, dead_letters_owed) if settlements else []

    def overdue(self, limit: int, lease: timedelta) -> Overdue:
        return self._write(maintenance.overdue, limit, lease, uuid.uuid4().hex)

    def give_up(self, waiting: Sequence[Notification], connection: ProviderConnection) -> Sequence[Notification]:
        return self._write(maintenance.give_up, waiting, connection) if waiting else []

    def mark_queued(self, rows: Sequence[Notification]) -> None:
        if rows:
            self._write(maintenance.mark_queued, rows)

    def mark_waiting(self, rows: Sequence[Notification], pause: timedelta) -> None:
        if rows:
            self._write(maintenance.mark_waiting, rows, pause)

    def mark_dead_letter_published(self, rows: Sequence[Notification]) -> None:
        if rows:
            self._write(maintenance.mark_dead_letter_published, rows)

    def reset_for_replay(
        self,
        selection: Selection,
        limit: int,
        due_in: timedelta,
        *,
        after: str = "",
        expires_at: datetime | None = None,
    ) -> Sequence[Notification]:
        # Run twice, it answers what its first COMMIT revived: it takes no others.
        earlier: list[Notification] = []
        return self._write(
            maintenance.reset_for_replay, selection, limit, due_in, after=after, expires_at=expires_at, earlier=earlier
        )

    def resolve(self, tenant: str, id: str) -> Changed | None:
        return self._write(maintenance.resolve, tenant, id)

    def cancel(self, tenant: str, id: str) -> Changed | None:
        return self._write(maintenance.cancel, tenant, id)

    def pause(self, channel: str) -> None:
        self._write(maintenance.pause, channel)

    def resume(self, channel: str) -> None:
        self._write(maintenance.resume, channel)

    def purge(self, keep: timedelta, limit: int, *, after: str = "") -> Purged:
        return self._write(maintenance.purge, keep, limit, after)

    def purge_suppressions(self, keep: timedelta, limit: int) -> int:
        return self._write(maintenance.purge_suppressions, keep, limit)

    def report(
        self, name: str, channel: str, calls: Sequence[CallEnd]
    ) -> tuple[ProviderConnection, ProviderConnection]:
        return self._write(connections.report, name, channel, calls)

    def take_probe(self, name: str, notification_id: str, lease: timedelta) -> bool:
        return self._write(connections.take_probe, name, notification_id, lease)

    def release_probe(self, name: str, notification_id: str) -> None:
        self._write(connections.release_probe, name, notification_id)

    @reading
    def connections(self, connection: Connection) -> Sequence[ProviderConnection]:
        return connections.look(connection, self.database.now(connection))

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

"""The Store on SQLite, MySQL and MariaDB: the writes. Every write that can race is conditional.

A transaction asks the time once and passes it on, so that one clock, the database's, decides. Rows are locked in the
order of their ids, so that two batches cannot wait for each other.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, case, insert, or_, select, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ColumnElement

from tidings.adapters.database import transaction
from tidings.adapters.rows import Reads, notification_of, values_of
from tidings.adapters.schema import events, notifications, suppressions
from tidings.envelope import Message
from tidings.notification import CLAIMABLE, REPLAYABLE, Notification, Status
from tidings.ports import Claims, Held, Inserted, Overdue, Selection, Settlement

GRACE = timedelta(seconds=5)
"""How long after `wake_at` the sweep waits for a row to move by itself."""

REQUEUE_AFTER = timedelta(seconds=60)
"""How long a queued message may wait before the sweep asks whether it is still there."""

n = notifications.c


class SqlStore(Reads):
    """Store."""

    # --- intake -------------------------------------------------------------------------------------------------------

    def insert(self, batch: Sequence[Notification]) -> Sequence[Inserted]:
        try:
            self._insert(batch)
        except IntegrityError:
            return self._insert_unless_taken(batch)
        return [Inserted(notification) for notification in batch]

    @transaction
    def _insert(self, connection: Connection, batch: Sequence[Notification]) -> None:
        now = self.database.now(connection)
        connection.execute(insert(notifications), [_row(notification, now) for notification in batch])

    @transaction
    def _insert_unless_taken(self, connection: Connection, batch: Sequence[Notification]) -> Sequence[Inserted]:
        """Also where a row of ours is there already: the COMMIT of a first try arrived and its answer was lost."""
        now = self.database.now(connection)
        if connection.dialect.name == "sqlite":
            statement: Any = sqlite_insert(notifications).on_conflict_do_nothing()
        else:
            statement = mysql_insert(notifications).on_duplicate_key_update(id=n.id)
        connection.execute(statement, [_row(notification, now) for notification in batch])
        hashes = [notification.idempotency_hash for notification in batch if notification.idempotency_hash is not None]
        # Locking, so that it sees what another transaction has just committed.
        rows = connection.execute(select(notifications).where(n.idempotency_hash.in_(hashes)).with_for_update())
        holders = {row.idempotency_hash: notification_of(row) for row in rows}
        answers = []
        for notification in batch:
            holder = holders.get(notification.idempotency_hash)
            is_ours = holder is None or holder.id == notification.id
            answers.append(Inserted(notification, None if is_ours else holder))
        return answers

    @transaction
    def mark_queued(self, connection: Connection, ids: Sequence[str]) -> None:
        if not ids:
            return
        now = self.database.now(connection)
        connection.execute(
            update(notifications)
            .where(n.id.in_(sorted(ids)), n.status.in_(CLAIMABLE))
            .values(queued_at=now, wake_at=_not_after_expiry(now + REQUEUE_AFTER))
        )

    # --- delivery -----------------------------------------------------------------------------------------------------

    def claim(self, messages: Sequence[Message], lease: timedelta) -> Claims:
        # The token is made before the transaction: run twice, it finds the rows that its first COMMIT took.
        return self._claim(messages, lease, uuid.uuid4().hex)

    @transaction
    def _claim(self, connection: Connection, messages: Sequence[Message], lease: timedelta, token: str) -> Claims:
        now = self.database.now(connection)
        ids = sorted({message.id for message in messages})
        connection.execute(
            update(notifications)
            .where(
                n.id.in_(ids),
                n.status.in_(CLAIMABLE),
                or_(n.next_attempt_at.is_(None), n.next_attempt_at <= now),
                or_(n.expires_at.is_(None), n.expires_at > now),
            )
            .values(
                status=Status.SENDING,
                attempt=n.attempt + 1,
                token=token,
                claimed_at=now,
                lease_until=now + lease,
                wake_at=now + lease,
                updated_at=now,
            )
        )
        rows = {row.id: row for row in connection.execute(select(notifications).where(n.id.in_(ids)))}
        acquired = [
            notification_of(row) for row in rows.values() if row.token == token and row.status == Status.SENDING
        ]
        taken = {notification.id for notification in acquired}
        held, finished = [], []
        for message in messages:
            row = rows.get(message.id)
            until = _held_until(row, message, now) if row is not None and message.id not in taken else None
            if row is not None and until is not None:
                held.append(Held(message=message, priority=notification_of(row).priority, remaining=until - now))
            elif message.id not in taken:
                finished.append(message)
        return Claims(token=token, at=now, acquired=acquired, held=held, finished=finished)

    @transaction
    def settle(
        self, connection: Connection, claims: Claims, settlements: Sequence[Settlement], *, letters_owed: bool = False
    ) -> Sequence[Settlement]:
        if not settlements:
            return []
        now = self.database.now(connection)
        ids = sorted(settlement.notification.id for settlement in settlements)
        fenced = connection.execute(
            select(n.id, n.status).where(n.id.in_(ids), n.token == claims.token).with_for_update()
        ).all()
        ours = {row.id for row in fenced if row.status == Status.SENDING}
        # The token stays on the row after its settlement: a second run, after an answer lost, knows its own work.
        lost = [s for s in settlements if s.notification.id not in {row.id for row in fenced}]
        kept = [s for s in settlements if s.notification.id in ours]
        if not kept:
            return lost
        connection.execute(insert(events), [_event(s, claims.token, now) for s in kept])
        e = events.c
        connection.execute(
            update(notifications)
            .where(
                n.id.in_(sorted(ours)),
                n.token == claims.token,
                n.status == Status.SENDING,
                e.notification_id == n.id,
                e.token == claims.token,
            )
            .values(
                status=e.status,
                spared=n.spared + e.spared,
                next_attempt_at=e.next_attempt_at,
                wake_at=case(
                    (e.status == Status.RETRYING, _not_after_expiry(e.next_attempt_at)),
                    (e.status == Status.FAILED, now if letters_owed else None),
                    else_=None,
                ),
                lease_until=None,
                queued_at=None,
                provider=e.provider,
                provider_message_id=e.provider_message_id,
                error_class=e.error_class,
                error_code=e.error_code,
                error_message=e.error_message,
                updated_at=now,
            )
        )
        self._suppress(connection, kept, now)
        return lost

    def _suppress(self, connection: Connection, settlements: Iterable[Settlement], now: datetime) -> None:
        rows = [
            {
                "tenant": s.notification.tenant,
                "channel": s.notification.channel,
                "recipient": s.notification.recipient,
                "reason": reason,
                "notification_id": s.notification.id,
                "at": now,
            }
            for s in settlements
            if (reason := getattr(s.error, "suppress", None)) is not None
        ]
        if not rows:
            return
        if connection.dialect.name == "sqlite":
            connection.execute(sqlite_insert(suppressions).on_conflict_do_nothing(), rows)
        else:
            connection.execute(mysql_insert(suppressions).on_duplicate_key_update(tenant=suppressions.c.tenant), rows)

    # --- sweep, replay, cancel ----------------------------------------------------------------------------------------

    def overdue(self, limit: int, lease: timedelta) -> Overdue:
        return self._overdue(limit, lease, uuid.uuid4().hex)

    @transaction
    def _overdue(self, connection: Connection, limit: int, lease: timedelta, token: str) -> Overdue:
        now = self.database.now(connection)
        rows = [
            notification_of(row)
            for row in connection.execute(
                select(notifications)
                .where(n.wake_at <= now - GRACE)
                .order_by(n.wake_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
        ]
        expired = [
            row for row in rows if row.status in CLAIMABLE and row.expires_at is not None and row.expires_at <= now
        ]
        abandoned = [row for row in rows if row.status is Status.SENDING]
        gone = {row.id for row in expired}
        wake = [row for row in rows if row.status in CLAIMABLE and row.id not in gone]
        if expired:
            connection.execute(insert(events), [_change(row, Status.EXPIRED, now) for row in expired])
            _set(connection, expired, status=Status.EXPIRED, wake_at=None, updated_at=now)
        if abandoned:
            _set(connection, abandoned, token=token, lease_until=now + lease, wake_at=now + lease)
        if wake:
            # Were the publishing to fail now, the next sweep but one would find them again.
            _set(connection, wake, wake_at=_not_after_expiry(now))
        return Overdue(
            wake=wake,
            abandoned=Claims(token=token, at=now, acquired=abandoned) if abandoned else None,
            unlettered=[row for row in rows if row.status is Status.FAILED],
            expired=len(expired),
            more=len(rows) == limit,
        )

    @transaction
    def mark_lettered(self, connection: Connection, ids: Sequence[str]) -> None:
        connection.execute(
            update(notifications).where(n.id.in_(sorted(ids)), n.status == Status.FAILED).values(wake_at=None)
        )

    @transaction
    def revive(
        self, connection: Connection, selection: Selection, limit: int, due_in: timedelta
    ) -> Sequence[Notification]:
        now = self.database.now(connection)
        due = now + due_in
        statement = self.narrowed(select(notifications), selection).where(n.status.in_(REPLAYABLE))
        rows = [
            notification_of(row)
            for row in connection.execute(statement.order_by(n.id).limit(limit).with_for_update(skip_locked=True))
        ]
        if not rows:
            return []
        revived = [
            replace(row, status=Status.PENDING, generation=row.generation + 1, attempt=0, spared=0, next_attempt_at=due)
            for row in rows
        ]
        connection.execute(insert(events), [_change(row, Status.PENDING, now) for row in revived])
        _set(
            connection,
            rows,
            status=Status.PENDING,
            generation=n.generation + 1,
            attempt=0,
            spared=0,
            next_attempt_at=due if due_in else None,
            queued_at=None,
            wake_at=_not_after_expiry(due - GRACE if due_in else now),
            updated_at=now,
        )
        return revived

    @transaction
    def cancel(self, connection: Connection, tenant: str, id: str) -> Notification | None:
        now = self.database.now(connection)
        row = connection.execute(
            select(notifications).where(n.id == id, n.tenant == tenant).with_for_update()
        ).one_or_none()
        if row is None:
            return None
        notification = notification_of(row)
        if notification.status not in CLAIMABLE:
            return notification
        connection.execute(insert(events), [_change(notification, Status.CANCELED, now)])
        _set(connection, [notification], status=Status.CANCELED, wake_at=None, updated_at=now)
        return replace(notification, status=Status.CANCELED, updated_at=now)


def _row(notification: Notification, now: datetime) -> dict[str, Any]:
    send_at = notification.send_at
    # A row that waits for its time need not be queued yet: the sweep finds it when it is due.
    wake_at = now if send_at is None or send_at <= now else send_at - GRACE
    if notification.expires_at is not None:
        wake_at = min(wake_at, notification.expires_at)
    return {**values_of(notification), "wake_at": wake_at}


def _held_until(row: Any, message: Message, now: datetime) -> datetime | None:
    """When to come again, or None if there is nothing more to do for this message."""
    if message.generation < row.generation:
        return None
    if row.status == Status.SENDING:
        until: datetime = row.lease_until
        return max(until, now)
    if row.status in CLAIMABLE and row.next_attempt_at is not None and row.next_attempt_at > now:
        due: datetime = row.next_attempt_at
        return due
    return None  # over, or past its expiry, which the sweep writes down


def _not_after_expiry(at: Any) -> ColumnElement[Any]:
    return case((n.expires_at < at, n.expires_at), else_=at)


def _set(connection: Connection, rows: Iterable[Notification], **values: Any) -> None:
    connection.execute(update(notifications).where(n.id.in_(sorted(row.id for row in rows))).values(**values))


def _event(settlement: Settlement, token: str, now: datetime) -> dict[str, Any]:
    notification, error = settlement.notification, settlement.error
    return {
        "notification_id": notification.id,
        "generation": notification.generation,
        "attempt": notification.attempt,
        "status": settlement.status,
        "at": now,
        "started_at": notification.claimed_at,
        "provider": settlement.provider,
        "provider_message_id": settlement.provider_message_id,
        "error_class": error.kind if error is not None else None,
        "error_code": error.code[:64] if error is not None else None,
        "error_message": error.message[:500] if error is not None else None,
        "next_attempt_at": now + settlement.delay if settlement.delay is not None else None,
        "token": token,
        "spared": int(settlement.spared),
    }


def _change(notification: Notification, status: Status, now: datetime) -> dict[str, Any]:
    """An event that no claim made."""
    return {
        "notification_id": notification.id,
        "generation": notification.generation,
        "attempt": notification.attempt,
        "status": status,
        "at": now,
        "spared": 0,
    }

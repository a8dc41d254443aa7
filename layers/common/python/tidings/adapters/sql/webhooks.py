"""Webhooks on SQLite, MySQL and MariaDB."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, union_all, update

from tidings.adapters.sql import webhook_release, webhook_replay
from tidings.adapters.sql.database import Database, reading, transaction
from tidings.adapters.sql.rows import WITHOUT_CONTENT, notification_of
from tidings.adapters.sql.schema import notifications, webhooks
from tidings.adapters.sql.timeline import endpoint_of
from tidings.domain.notification import CLAIMABLE, DEAD, Notification, Status
from tidings.domain.webhook import HELD, MAX_TOLD, OVERLAP, EndpointState, WebhookEndpoint
from tidings.ports.webhooks import WebhookReplay, WebhookReplayed

n, w = notifications.c, webhooks.c

FAILING = DEAD | {Status.RETRYING}


class SqlWebhooks:
    """Webhooks."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reading
    def endpoint(self, connection: Connection, id: str) -> WebhookEndpoint | None:
        row = connection.execute(select(webhooks).where(w.id == id)).one_or_none()
        return None if row is None else endpoint_of(row)

    @reading
    def endpoints(self, connection: Connection, tenant: str) -> Sequence[WebhookEndpoint]:
        chosen = select(webhooks).where(w.tenant == tenant, w.state != EndpointState.DELETED).order_by(w.id)
        return [*map(endpoint_of, connection.execute(chosen))]

    @reading
    def find(self, connection: Connection, tenant: str, id: str) -> WebhookEndpoint | None:
        return _find(connection, tenant, id)

    @transaction
    def create(self, connection: Connection, endpoint: WebhookEndpoint) -> bool:
        if endpoint.events:
            told = select(w.id).where(w.tenant == endpoint.tenant, w.state != EndpointState.DELETED, w.events != "")
            ids = connection.scalars(told.with_for_update()).all()
            if endpoint.id in ids:  # a first run was committed, and its answer lost
                return True
            if len(ids) >= MAX_TOLD:
                return False
        elif connection.scalar(select(w.id).where(w.id == endpoint.id)) is not None:
            return True
        now = self.database.now(connection)
        values = {field.name: getattr(endpoint, field.name) for field in fields(endpoint)}
        values |= {"events": " ".join(endpoint.events), "created_at": now, "changed_at": now}
        connection.execute(insert(webhooks).values(**values))
        return True

    def rotate(self, tenant: str, id: str) -> WebhookEndpoint | None:
        found = self.find(tenant, id)
        return None if found is None else self._rotate(found)

    @transaction
    def _rotate(self, connection: Connection, seen: WebhookEndpoint) -> WebhookEndpoint:
        """Only from the version that was seen: a second run, or a second caller at once, makes no second version, which
        would end the first one's overlap."""
        until = self.database.now(connection) + OVERLAP
        new = replace(seen, version=seen.version + 1, previous_until=until)
        same = update(webhooks).where(w.id == seen.id, w.version == seen.version)
        connection.execute(same.values(version=new.version, previous_until=until))
        return _find(connection, seen.tenant, seen.id) or new

    @transaction
    def set_state(
        self, connection: Connection, tenant: str, id: str, state: EndpointState, reason: str | None
    ) -> WebhookEndpoint | None:
        found = _find(connection, tenant, id, lock=True)
        if found is None or found.state is state:
            return found
        now = self.database.now(connection)
        values = {"state": state, "reason": reason, "changed_at": now, "release_until": None}
        if state is not EndpointState.DISABLED:
            values |= {"release_until": now + webhook_release.RELEASES_FOR}
        if state is EndpointState.ENABLED:
            values |= {"failing_since": None}
        connection.execute(update(webhooks).where(w.id == id).values(**values))
        return endpoint_of(connection.execute(select(webhooks).where(w.id == id)).one())

    @reading
    def held(self, connection: Connection, tenant: str, ids: Sequence[str], limit: int) -> dict[str, int]:
        def counted(id: str) -> Select[Any]:
            waiting = select(n.recipient).where(
                n.tenant == tenant, n.status.in_(CLAIMABLE), n.next_attempt_at == HELD, n.recipient == id
            )
            some = webhook_release.by_status(waiting).limit(limit).subquery()
            return select(some.c.recipient, func.count().label("held")).group_by(some.c.recipient)

        rows = connection.execute(union_all(*map(counted, ids))).all() if ids else ()
        return {row.recipient: row.held for row in rows}

    @reading
    def failures(self, connection: Connection, tenant: str, id: str, limit: int) -> Sequence[Notification]:
        failed = select(*WITHOUT_CONTENT).where(
            n.tenant == tenant, n.status.in_(FAILING), n.recipient == id, n.error_code.is_not(None)
        )
        chosen = webhook_release.by_status(failed).order_by(n.updated_at.desc()).limit(limit)
        return [notification_of(row) for row in connection.execute(chosen)]

    @reading
    def count_by_state(self, connection: Connection) -> dict[str, int]:
        states = select(w.state, w.reason, func.count().label("endpoints")).where(w.state != EndpointState.DELETED)
        counts = {"enabled": 0, "disabled": 0, "gone": 0, "failing": 0}
        for row in connection.execute(states.group_by(w.state, w.reason)):
            is_ours = row.state == EndpointState.DISABLED and row.reason in ("gone", "failing")
            counts[row.reason if is_ours else row.state] += row.endpoints
        return counts

    @transaction
    def release(self, connection: Connection, limit: int) -> int:
        return webhook_release.release(connection, self.database.now(connection), limit)

    def replay(self, wanted: WebhookReplay, limit: int) -> WebhookReplayed:
        return self._dry_run(wanted, limit) if wanted.dry_run else self._replay(wanted, limit)

    @reading
    def _dry_run(self, connection: Connection, wanted: WebhookReplay, limit: int) -> WebhookReplayed:
        return webhook_replay.replay(connection, self.database.now(connection), wanted, limit)

    @transaction
    def _replay(self, connection: Connection, wanted: WebhookReplay, limit: int) -> WebhookReplayed:
        return webhook_replay.replay(connection, self.database.now(connection), wanted, limit)


def _find(connection: Connection, tenant: str, id: str, *, lock: bool = False) -> WebhookEndpoint | None:
    chosen = select(webhooks).where(w.id == id, w.tenant == tenant, w.state != EndpointState.DELETED)
    row = connection.execute(chosen.with_for_update() if lock else chosen).one_or_none()
    return None if row is None else endpoint_of(row)

"""Write timeline entries, and in the same transaction the webhooks that tell them. Every writer of `events` calls this;
`creation` writes the one event that is no entry.

Without an endpoint that is told events, one indexed read is all that it adds to a batch. With one, it adds two
statements, whatever the size of the batch.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, insert, not_, or_, select

from tidings.adapters.sql.bulk_insert import insert_many
from tidings.adapters.sql.rows import FIELDS
from tidings.adapters.sql.schema import events, notifications, webhooks
from tidings.domain.notification import Notification, Status, new_id
from tidings.domain.receipt import By
from tidings.domain.timing import SWEEP_GRACE
from tidings.domain.webhook import (
    ATTEMPTS,
    CHANNEL,
    CREATED,
    HELD,
    PREFIX,
    REPORTED,
    EndpointState,
    WebhookEndpoint,
    is_status_webhook,
)

n, e, w = notifications.c, events.c, webhooks.c

INSERT_EVENTS = insert(events)
_INSERT_WEBHOOKS = insert(notifications)

_COLUMNS: list[Any] = [w[name] for name in WebhookEndpoint.__dataclass_fields__]
_NAMES_EVENTS = w.tenant.in_(bindparam("tenants", expanding=True)), w.state != EndpointState.DELETED, w.events != ""
_LISTENING = select(*_COLUMNS).where(*_NAMES_EVENTS)
HAS_LISTENERS = select(w.id).where(*_NAMES_EVENTS).exists()

IS_ENTRY = e.status != CREATED
"""Entries of a timeline. Its first entry is made from the row, not from the event `created`."""

IS_REPORTED = and_(
    e.status.in_((CREATED, *REPORTED)),
    # A receipt or a lookup whose entry has no token did not change the status.
    or_(e.by.is_(None), e.by.not_in((By.RECEIPT, By.LOOKUP)), e.token.is_not(None)),
    # No webhook tells of a webhook to an endpoint.
    not_(and_(n.channel == CHANNEL, n.recipient.not_like("http%"))),
)
_REPORT_COLUMNS = (
    e.seq,
    e.status,
    e.at,
    e.generation,
    e.attempt,
    e.error_class,
    e.error_code,
    e.by,
    n.id,
    n.tenant,
    n.channel,
    n.recipient,
    n.metadata,
)


def write(
    connection: Connection,
    now: datetime,
    columns: Mapping[str, Sequence[Any]],
    rows: Iterable[Notification],
    *,
    has_listeners: bool = True,
) -> None:
    """Insert entries, given by column. `rows`: their notifications, in any order, each at least once. `has_listeners`:
    False if HAS_LISTENERS was; they are then not looked up."""
    insert_many(connection, INSERT_EVENTS, columns)
    if not has_listeners:
        return
    tenants = {row.tenant for row in rows if not is_status_webhook(row.channel, row.recipient)}
    if tenants and (listening := listeners(connection, tenants)):
        write_webhooks(connection, now, listening, columns["notification_id"])


def write_rows(
    connection: Connection, now: datetime, entries: Sequence[Mapping[str, Any]], rows: Iterable[Notification]
) -> None:
    """The same, with entries that have the same keys."""
    write(connection, now, {name: [entry[name] for entry in entries] for name in entries[0]}, rows)


def listeners(connection: Connection, tenants: Iterable[str]) -> Sequence[WebhookEndpoint]:
    return [*map(endpoint_of, connection.execute(_LISTENING, {"tenants": sorted(tenants)}))]


def endpoint_of(row: Any) -> WebhookEndpoint:
    values = {name: getattr(row, name) for name in WebhookEndpoint.__dataclass_fields__}
    return WebhookEndpoint(**{**values, "events": tuple(row.events.split()), "state": EndpointState(row.state)})


def reported_events() -> Select[Any]:
    """The events that webhooks and the feed report, with the columns of their payloads."""
    return _entries().where(IS_REPORTED)


def _entries() -> Select[Any]:
    return select(*_REPORT_COLUMNS, IS_REPORTED.label("is_reported")).join_from(
        events, notifications, n.id == e.notification_id
    )


def payload(entry: Any, *, with_recipient: bool) -> dict[str, Any]:
    """An entry of `told`, as webhooks and the feed have it."""
    data = {
        "id": entry.id,
        "channel": entry.channel,
        "status": Status.PENDING if entry.status == CREATED else entry.status,
        "class": entry.error_class,
        "code": entry.error_code,
        "generation": entry.generation,
        "attempt": entry.attempt,
        "by": entry.by,
        "metadata": json.loads(entry.metadata) if entry.metadata is not None else {},
        "recipient": entry.recipient if with_recipient else None,
        "seq": entry.seq,
    }
    return {
        "id": f"evt_{entry.seq}",
        "type": f"{PREFIX}{entry.status}",
        "timestamp": entry.at.isoformat().replace("+00:00", "Z"),
        "data": {name: value for name, value in data.items() if value is not None},
    }


def hash_of(endpoint: str, seq: int) -> str:
    """The idempotency hash of a webhook: unique, so that no event is written twice for an endpoint."""
    return hashlib.sha256(f"webhook:{endpoint}:{seq}".encode()).hexdigest()


def insert_webhooks(connection: Connection, now: datetime, made: Sequence[tuple[WebhookEndpoint, Any]]) -> None:
    """One for each endpoint and entry of `told`. The sweep publishes them at once."""
    rows = [_webhook(now, endpoint, entry) for endpoint, entry in made]
    if not rows:
        return
    columns: dict[str, Sequence[Any]] = {name: [getattr(row, name) for row in rows] for name in FIELDS}
    wake_at = [HELD if row.next_attempt_at == HELD else now - SWEEP_GRACE for row in rows]
    insert_many(connection, _INSERT_WEBHOOKS, {**columns, "wake_at": wake_at})


def write_webhooks(
    connection: Connection, now: datetime, listening: Sequence[WebhookEndpoint], ids: Iterable[str]
) -> None:
    """`ids`: the notification of each entry that was just inserted. Its row is locked, so these are its last."""
    written = Counter(ids)
    tenants = sorted({endpoint.tenant for endpoint in listening})
    # All entries are read: of those just inserted, some may not be told.
    chosen = _entries().where(e.notification_id.in_(sorted(written)), n.tenant.in_(tenants)).order_by(e.seq.desc())
    made = []
    for entry in connection.execute(chosen).all():
        if written[entry.id] > 0:
            written[entry.id] -= 1
            made += [(endpoint, entry) for endpoint in listening if entry.is_reported and wants(endpoint, entry)]
    insert_webhooks(connection, now, made[::-1])


def wants(endpoint: WebhookEndpoint, entry: Any) -> bool:
    return endpoint.tenant == entry.tenant and f"{PREFIX}{entry.status}" in endpoint.events


def _webhook(now: datetime, endpoint: WebhookEndpoint, entry: Any) -> Notification:
    content = json.dumps(payload(entry, with_recipient=endpoint.with_recipient), ensure_ascii=False)
    return Notification(
        id=new_id(now),
        tenant=endpoint.tenant,
        channel=CHANNEL,
        recipient=endpoint.id,
        content=content,
        max_attempts=ATTEMPTS,
        idempotency_hash=hash_of(endpoint.id, entry.seq),
        next_attempt_at=HELD if endpoint.state is EndpointState.DISABLED else None,
        created_at=now,
        updated_at=now,
    )

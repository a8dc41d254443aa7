"""Claim: give due rows to one worker, and renew its leases. Of two workers that claim a row, one gets it.

A claim is one conditional UPDATE. Its token marks the rows that it took, and fences everything written under it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update

from tidings.adapters.sql.rows import SUPPORTED, notification_of
from tidings.adapters.sql.schema import notifications
from tidings.adapters.sql.suppressions import suppressed_of
from tidings.domain.errors import LEASE_EXPIRED
from tidings.domain.notification import CLAIMABLE, TERMINAL, Priority, Status, read
from tidings.domain.timing import DEFER_DELAY
from tidings.domain.webhook import HELD
from tidings.messaging.envelope import Message
from tidings.ports import Claims, Deferred

n = notifications.c

_GIVEN = (
    "id",
    "tenant",
    "channel",
    "recipient",
    "content",
    "priority",
    "on_ambiguous",
    "max_attempts",
    "expires_at",
    "ignore_suppression",
    "category",
    "critical",
)
_TIMES = ("created_at", "send_at", "next_attempt_at")
_COUNTED = ("traceparent", "generation", "attempt", "uncounted_attempts", "refused_at")
_NEEDED: list[Any] = [n[name] for name in (*_GIVEN, *_TIMES, *_COUNTED)]
"""The columns that a worker needs and cannot know. Reading a value costs a microsecond, a timestamp five."""

# Built once: building a statement costs as much as running it. What differs from batch to batch is bound.
_IDS = n.id.in_(bindparam("batch", expanding=True))
_TOKEN, _NOW = bindparam("claim_token", type_=n.token.type), bindparam("now", type_=n.updated_at.type)
_UNTIL = bindparam("until", type_=n.lease_until.type)

_CLAIM = (
    update(notifications)
    .where(
        _IDS,
        n.status.in_(CLAIMABLE),
        or_(n.next_attempt_at.is_(None), n.next_attempt_at <= _NOW),
        or_(n.expires_at.is_(None), n.expires_at > _NOW),
        SUPPORTED,
    )
    .values(
        status=Status.SENDING,
        attempt=n.attempt + 1,
        token=_TOKEN,
        claimed_at=_NOW,
        lease_until=_UNTIL,
        wake_at=_UNTIL,
        updated_at=_NOW,
    )
)
_CLAIM_TOGETHER = _CLAIM.where(or_(n.error_code.is_(None), n.error_code != LEASE_EXPIRED))
_ACQUIRED = select(*_NEEDED).where(_IDS, n.token == _TOKEN, n.status == Status.SENDING)
_NOT_ACQUIRED = select(
    n.id,
    n.status,
    n.generation,
    n.priority,
    n.expires_at,
    n.next_attempt_at,
    n.lease_until,
    SUPPORTED.label("supported"),
).where(_IDS)

_TOKENS = n.token.in_(bindparam("tokens", expanding=True))
_HELD = _IDS, _TOKENS, n.status == Status.SENDING
_RENEW = update(notifications).where(*_HELD).values(lease_until=_UNTIL, wake_at=_UNTIL)
_STILL_HELD = select(n.id).where(*_HELD)


def claim(
    connection: Connection,
    now: datetime,
    messages: Sequence[Message],
    lease: timedelta,
    token: str,
    *,
    isolated: bool,
    suppressed: bool,
) -> Claims:
    ids = sorted({message.id for message in messages})
    values: dict[str, Any] = {"batch": ids, "claim_token": token}
    connection.execute(_CLAIM if isolated else _CLAIM_TOGETHER, {**values, "now": now, "until": now + lease})
    known = {"status": Status.SENDING, "claimed_at": now, "lease_until": now + lease, "updated_at": now}
    acquired = [notification_of(row, **known) for row in connection.execute(_ACQUIRED, values)]
    acquired_ids = {notification.id for notification in acquired}
    others = [message for message in messages if message.id not in acquired_ids]
    rows = {}
    if others:
        ids = sorted({message.id for message in others})
        rows = {row.id: row for row in connection.execute(_NOT_ACQUIRED, {"batch": ids})}
    deferred: list[Deferred] = []
    isolate: list[Deferred] = []
    stale: list[Message] = []
    for message in others:
        row = rows.get(message.id)
        until = _due_again(row, message, now) if row is not None else None
        if row is None or until is None:
            stale.append(message)
            continue
        later = Deferred(message=message, priority=read(Priority, row.priority), remaining=until - now)
        (isolate if row.status in CLAIMABLE and until == now else deferred).append(later)
    return Claims(
        token=token,
        at=now,
        size=len(acquired),
        acquired=acquired,
        deferred=deferred,
        stale=stale,
        isolate=isolate,
        suppressed=suppressed_of(connection, now, acquired) if suppressed and acquired else {},
    )


def renew(connection: Connection, now: datetime, tokens: Mapping[str, str], lease: timedelta) -> Collection[str]:
    values: dict[str, Any] = {"batch": sorted(tokens), "tokens": sorted(set(tokens.values()))}
    renewed = connection.execute(_RENEW, {**values, "until": now + lease}).rowcount
    return tokens if renewed == len(tokens) else connection.scalars(_STILL_HELD, values).all()


def _due_again(row: Any, message: Message, now: datetime) -> datetime | None:
    """When to try this message again. None: it is stale."""
    if message.generation < row.generation:
        return None
    if not row.supported and row.status not in TERMINAL:
        return now + DEFER_DELAY
    if row.status == Status.SENDING:
        until: datetime = row.lease_until
        return max(until, now)
    if row.status not in CLAIMABLE or (row.expires_at is not None and row.expires_at <= now):
        return None  # its status is terminal, or it has expired, which the sweep records
    if row.next_attempt_at == HELD:
        return None  # its message comes when its endpoint is enabled
    return max(row.next_attempt_at or now, now)

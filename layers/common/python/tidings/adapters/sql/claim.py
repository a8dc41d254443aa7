"""Claim and settle: what two workers must never both win. Every write is conditional, and fenced by a token."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, func, insert, or_, select, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tidings.adapters.sql.bulk_insert import insert_many
from tidings.adapters.sql.reads import CLAIMED, SUPPORTED, code_within, notification_of, within
from tidings.adapters.sql.schema import events, notifications, suppressions
from tidings.adapters.sql.wake_time import not_after_expiry
from tidings.domain.errors import LEASE_EXPIRED, AccountError
from tidings.domain.notification import CLAIMABLE, TERMINAL, Priority, Status, read
from tidings.domain.timing import DEFER_DELAY
from tidings.messaging.envelope import Message
from tidings.ports import Claims, Deferred, Settlement

n = notifications.c
e = events.c

# Made once: to make one costs as much as to run it. What differs from batch to batch is bound.
_IDS = n.id.in_(bindparam("batch", expanding=True))
_TOKEN, _NOW = bindparam("mine", type_=n.token.type), bindparam("now", type_=n.updated_at.type)
_UNTIL = bindparam("until", type_=n.lease_until.type)

_TAKE = (
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
_TAKE_TOGETHER = _TAKE.where(or_(n.error_code.is_(None), n.error_code != LEASE_EXPIRED))
_TAKEN = select(*CLAIMED).where(_IDS, n.token == _TOKEN, n.status == Status.SENDING)
_OTHERS = select(
    n.id, n.status, n.generation, n.priority, n.expires_at, n.next_attempt_at, n.lease_until, SUPPORTED.label("ours")
).where(_IDS)

_TOKENS = n.token.in_(bindparam("tokens", expanding=True))
_HELD = _IDS, _TOKENS, n.status == Status.SENDING
_RENEW = update(notifications).where(*_HELD).values(lease_until=_UNTIL, wake_at=_UNTIL)
_STILL_HELD = select(n.id).where(*_HELD)

_FENCED = select(n.id, n.status, n.token).where(_IDS, _TOKENS).with_for_update()
_EVENTS = insert(events)
_WAITS_FOR_ACCOUNT = and_(e.uncounted == 1, e.error_class.is_not(None))
_END = (
    update(notifications)
    .where(_IDS, n.status == Status.SENDING, e.notification_id == n.id, e.token == n.token)
    .values(
        status=e.status,
        uncounted_attempts=n.uncounted_attempts + e.uncounted,
        next_attempt_at=e.next_attempt_at,
        wake_at=case(
            (e.status == Status.RETRYING, not_after_expiry(e.next_attempt_at)),
            (e.status == Status.FAILED, bindparam("letters_at", type_=n.wake_at.type)),
            else_=None,
        ),
        lease_until=None,
        refused_at=case(
            (or_(e.error_class == AccountError.kind, _WAITS_FOR_ACCOUNT), func.coalesce(n.refused_at, _NOW)),
            (e.error_class.is_(None) & (e.status == Status.RETRYING), n.refused_at),  # not sent, and nothing learnt
            else_=None,
        ),
        provider=e.provider,
        provider_message_id=e.provider_message_id,
        error_class=e.error_class,
        error_code=e.error_code,
        error_message=e.error_message,
        updated_at=_NOW,
    )
)


def claim(
    connection: Connection, now: datetime, messages: Sequence[Message], lease: timedelta, token: str, *, isolated: bool
) -> Claims:
    ids = sorted({message.id for message in messages})
    given: dict[str, Any] = {"batch": ids, "mine": token}
    connection.execute(_TAKE if isolated else _TAKE_TOGETHER, {**given, "now": now, "until": now + lease})
    known = {"status": Status.SENDING, "claimed_at": now, "lease_until": now + lease, "updated_at": now}
    acquired = [notification_of(row, **known) for row in connection.execute(_TAKEN, given)]
    taken = {notification.id for notification in acquired}
    left = [message for message in messages if message.id not in taken]
    rows = {}
    if left:
        rows = {row.id: row for row in connection.execute(_OTHERS, {"batch": sorted({item.id for item in left})})}
    deferred: list[Deferred] = []
    isolate: list[Deferred] = []
    stale: list[Message] = []
    for message in left:
        row = rows.get(message.id)
        until = _held_until(row, message, now) if row is not None else None
        if row is None or until is None:
            stale.append(message)
            continue
        put_back = Deferred(message=message, priority=read(Priority, row.priority), remaining=until - now)
        (isolate if row.status in CLAIMABLE and until == now else deferred).append(put_back)
    return Claims(
        token=token, at=now, size=len(acquired), acquired=acquired, deferred=deferred, stale=stale, isolate=isolate
    )


def renew(connection: Connection, now: datetime, tokens: Mapping[str, str], lease: timedelta) -> Collection[str]:
    given: dict[str, Any] = {"batch": sorted(tokens), "tokens": sorted(set(tokens.values()))}
    done = connection.execute(_RENEW, {**given, "until": now + lease})
    return tokens if done.rowcount == len(tokens) else connection.scalars(_STILL_HELD, given).all()


def settle(
    connection: Connection, now: datetime, settlements: Sequence[Settlement], dead_letters_owed: bool
) -> Sequence[Settlement]:
    ids = sorted({settlement.notification.id for settlement in settlements})
    tokens = sorted({settlement.claims.token for settlement in settlements})
    fenced = {(row.id, row.token): row.status for row in connection.execute(_FENCED, {"batch": ids, "tokens": tokens})}
    # The token stays on the row after its settlement: a second run, after an answer lost, knows its own work.
    lost = [s for s in settlements if (s.notification.id, s.claims.token) not in fenced]
    kept = [s for s in settlements if fenced.get((s.notification.id, s.claims.token)) == Status.SENDING]
    if not kept:
        return lost
    insert_many(connection, _EVENTS, _events(kept, now))
    ours = sorted(settlement.notification.id for settlement in kept)
    connection.execute(_END, {"batch": ours, "now": now, "letters_at": now if dead_letters_owed else None})
    _suppress(connection, now, kept)
    return lost


def _suppress(connection: Connection, now: datetime, settlements: Iterable[Settlement]) -> None:
    rows = [
        {
            "tenant": s.notification.tenant,
            "channel": s.notification.channel,
            "recipient": s.suppression.recipient,
            "reason": s.suppression.reason,
            "notification_id": s.notification.id,
            "at": now,
        }
        for s in settlements
        if s.suppression is not None
    ]
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.execute(sqlite_insert(suppressions).on_conflict_do_nothing(), rows)
    else:
        connection.execute(mysql_insert(suppressions).on_duplicate_key_update(tenant=suppressions.c.tenant), rows)


def _held_until(row: Any, message: Message, now: datetime) -> datetime | None:
    """When to come again, or None if there is nothing more to do for this message."""
    if message.generation < row.generation:
        return None
    if not row.ours and row.status not in TERMINAL:
        return now + DEFER_DELAY
    if row.status == Status.SENDING:
        until: datetime = row.lease_until
        return max(until, now)
    if row.status not in CLAIMABLE or (row.expires_at is not None and row.expires_at <= now):
        return None  # over, or past its expiry, which the sweep writes down
    return max(row.next_attempt_at or now, now)


def _events(settlements: Sequence[Settlement], now: datetime) -> dict[str, Sequence[Any]]:
    """The columns of the timeline. No time is after `now`: the worker's clock may run fast."""
    notifications = [s.notification for s in settlements]
    errors = [s.error for s in settlements]
    return {
        "notification_id": [notification.id for notification in notifications],
        "generation": [notification.generation for notification in notifications],
        "attempt": [notification.attempt for notification in notifications],
        "status": [s.status for s in settlements],
        "at": [min(s.answered_at or now, now) for s in settlements],
        "started_at": [notification.claimed_at for notification in notifications],
        "provider": [s.provider for s in settlements],
        "provider_message_id": [within(255, s.provider_message_id) for s in settlements],
        "provider_response": [within(255, s.provider_response) for s in settlements],
        "error_class": [error and error.kind for error in errors],
        "error_code": [error and code_within(error.code) for error in errors],
        "error_message": [error and within(500, error.message) for error in errors],
        "next_attempt_at": [now + s.delay if s.delay is not None else None for s in settlements],
        "token": [s.claims.token for s in settlements],
        "uncounted": [int(s.uncounted) for s in settlements],
    }

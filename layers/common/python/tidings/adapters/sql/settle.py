"""Settle: write the outcome of each attempt to its row and its timeline. Fenced by the token of its claim."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, func, or_, select, update

from tidings.adapters.sql import awaited_receipts, receipts, timeline, webhook_health
from tidings.adapters.sql.rows import code_within, within
from tidings.adapters.sql.schema import events, notifications
from tidings.adapters.sql.suppressions import add, entry_of
from tidings.adapters.sql.wake_time import not_after_expiry
from tidings.domain.errors import AccountError
from tidings.domain.notification import Status
from tidings.domain.webhook import HELD
from tidings.ports import Settlement

n, e = notifications.c, events.c

# Built once: building a statement costs as much as running it. What differs from batch to batch is bound.
_IDS = n.id.in_(bindparam("batch", expanding=True))
_TOKENS = n.token.in_(bindparam("tokens", expanding=True))
_NOW = bindparam("now", type_=n.updated_at.type)

_FENCED = select(n.id, n.status, n.token).where(_IDS, _TOKENS).with_for_update()
# Mostly both are false. One statement for the two halves what a settlement pays for them.
_OWED = select(timeline.HAS_LISTENERS.label("listeners"), receipts.HAS_KEPT.label("kept"))
_WAITS_FOR_ACCOUNT = and_(e.uncounted == 1, e.error_class.is_not(None), e.status == Status.RETRYING)
_SETTLE = (
    update(notifications)
    .where(_IDS, n.status == Status.SENDING, e.notification_id == n.id, e.token == n.token)
    .values(
        status=e.status,
        uncounted_attempts=n.uncounted_attempts + e.uncounted,
        next_attempt_at=e.next_attempt_at,
        wake_at=case(
            (e.status == Status.RETRYING, not_after_expiry(e.next_attempt_at)),
            (e.status == Status.FAILED, bindparam("dead_letter_at", type_=n.wake_at.type)),
            else_=None,
        ),
        lease_until=None,
        refused_at=case(
            (or_(e.error_class == AccountError.kind, _WAITS_FOR_ACCOUNT), func.coalesce(n.refused_at, _NOW)),
            (e.error_class.is_(None) & (e.status == Status.RETRYING), n.refused_at),  # deferred without a call
            else_=None,
        ),
        provider=e.provider,
        provider_message_id=e.provider_message_id,
        error_class=e.error_class,
        error_code=e.error_code,
        error_message=e.error_message,
        receipt=None,
        updated_at=_NOW,
    )
)


def settle(
    connection: Connection,
    now: datetime,
    settlements: Sequence[Settlement],
    dead_letters_owed: bool,
    receipts_token: str,
) -> Sequence[Settlement]:
    ids = sorted({settlement.notification.id for settlement in settlements})
    tokens = sorted({settlement.claims.token for settlement in settlements})
    fenced = {(row.id, row.token): row.status for row in connection.execute(_FENCED, {"batch": ids, "tokens": tokens})}
    # A settled row keeps its token: a second run, after the answer to COMMIT was lost, recognises its own work.
    lost = [s for s in settlements if (s.notification.id, s.claims.token) not in fenced]
    kept = [s for s in settlements if fenced.get((s.notification.id, s.claims.token)) == Status.SENDING]
    if not kept:
        return lost
    # Under the rows' locks: a receipt that is committed later finds them settled.
    owed = connection.execute(_OWED, {"tenants": sorted({s.notification.tenant for s in kept})}).one()
    rows = [settlement.notification for settlement in kept]
    timeline.write(connection, now, _events(kept, now), rows, has_listeners=owed.listeners)
    kept_ids = sorted(settlement.notification.id for settlement in kept)
    connection.execute(_SETTLE, {"batch": kept_ids, "now": now, "dead_letter_at": now if dead_letters_owed else None})
    add(connection, now, [entry_of(s.notification, s.suppression) for s in kept if s.suppression is not None])
    awaited_receipts.expect(connection, now, [s.notification.id for s in kept if s.reports])
    if owed.kept:
        receipts.apply_kept(connection, now, kept_ids, receipts_token)
    webhook_health.note(connection, now, kept)
    return lost


def _events(settlements: Sequence[Settlement], now: datetime) -> dict[str, Sequence[Any]]:
    """The timeline entries, by column. No time is later than `now`: the worker's clock may be fast."""
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
        "next_attempt_at": [HELD if s.held else now + s.delay if s.delay is not None else None for s in settlements],
        "note": [within(500, s.note) for s in settlements],
        "token": [s.claims.token for s in settlements],
        "uncounted": [int(s.uncounted) for s in settlements],
        "by": [s.by for s in settlements],
        "raw_sha256": [s.raw_sha256 for s in settlements],
    }

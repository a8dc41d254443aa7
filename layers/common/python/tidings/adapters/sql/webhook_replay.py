"""Replay of webhooks: events that were not told, that could not be told, or all of them again.

A webhook of an event has an idempotency hash of its own. So each is found, and none is written twice, whatever runs at
once.
"""

from collections.abc import Sequence
from dataclasses import replace as changed
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from tidings.adapters.sql import timeline
from tidings.adapters.sql.rows import WITHOUT_CONTENT, notification_of, set_columns, timeline_entry
from tidings.adapters.sql.schema import events, notifications, webhooks
from tidings.adapters.sql.timeline import endpoint_of, hash_of, reported_events, wants
from tidings.domain.notification import TERMINAL, Notification, Status
from tidings.domain.receipt import By
from tidings.domain.timing import SWEEP_GRACE
from tidings.domain.webhook import EndpointState, WebhookEndpoint
from tidings.ports.webhooks import Only, WebhookReplay, WebhookReplayed

n, e, w = notifications.c, events.c, webhooks.c

FAILED = frozenset({Status.FAILED, Status.UNKNOWN, Status.EXPIRED, Status.CANCELED})
ENDED = TERMINAL | {Status.UNKNOWN}

OUT_OF_ORDER = timedelta(hours=1)
"""How far the times of events may be out of the order of their numbers: a worker that waited for the database settles
late, and a receipt has its vendor's time."""


def replay(connection: Connection, now: datetime, wanted: WebhookReplay, limit: int) -> WebhookReplayed:
    row = connection.execute(
        select(webhooks)
        .where(w.id == wanted.endpoint, w.tenant == wanted.tenant, w.state != EndpointState.DELETED)
        .with_for_update()  # of two replays at once, the second finds what the first has written
    ).one_or_none()
    if row is None:
        return WebhookReplayed()
    endpoint, after = endpoint_of(row), wanted.after or _before(connection, wanted.since - OUT_OF_ORDER)
    page = connection.execute(select(e.seq, e.at).where(e.seq > after).order_by(e.seq).limit(limit)).all()
    if not page:
        return WebhookReplayed()
    chosen = reported_events().where(e.seq > after, e.seq <= page[-1].seq, n.tenant == wanted.tenant).order_by(e.seq)
    in_time = e.at >= wanted.since, e.at < wanted.until
    found = [entry for entry in connection.execute(chosen.where(*in_time)) if wants(endpoint, entry)]
    done = _send_again(connection, now, wanted, endpoint, found)
    is_last = len(page) < limit or page[-1].at > wanted.until + OUT_OF_ORDER
    return changed(done, next=None if is_last else page[-1].seq)


def _send_again(
    connection: Connection, now: datetime, wanted: WebhookReplay, endpoint: WebhookEndpoint, found: Sequence[Any]
) -> WebhookReplayed:
    hashes = {hash_of(endpoint.id, entry.seq): entry for entry in found}
    known = select(*WITHOUT_CONTENT).where(n.idempotency_hash.in_(sorted(hashes))).order_by(n.id).with_for_update()
    rows = [notification_of(row) for row in connection.execute(known)] if hashes else []
    missing = [entry for key, entry in hashes.items() if key not in {row.idempotency_hash for row in rows}]
    written = [] if wanted.only is Only.FAILED else missing
    again = {Only.MISSING: frozenset[Status](), Only.FAILED: FAILED, Only.ALL: ENDED}[wanted.only]
    ended = [row for row in rows if row.status in again]
    if not wanted.dry_run:
        timeline.insert_webhooks(connection, now, [(endpoint, entry) for entry in written])
        _reset(connection, now, ended)
    return WebhookReplayed(written=len(written), replayed=len(ended))


def _reset(connection: Connection, now: datetime, rows: Sequence[Notification]) -> None:
    """Back to pending, one generation later, whatever became of them: also one that was sent."""
    if not rows:
        return
    reset = [changed(row, status=Status.PENDING, generation=row.generation + 1, attempt=0) for row in rows]
    timeline.write_rows(
        connection, now, [timeline_entry(row, Status.PENDING, now, By.OPERATOR) for row in reset], reset
    )
    set_columns(
        connection,
        rows,
        status=Status.PENDING,
        generation=n.generation + 1,
        attempt=0,
        uncounted_attempts=0,
        refused_at=None,
        expires_at=None,
        next_attempt_at=None,
        queued_at=None,
        wake_at=now - SWEEP_GRACE,
        updated_at=now,
    )


def _before(connection: Connection, at: datetime) -> int:
    """A `seq` before the events of this time, by halving: `events` has no index on the time."""
    low, high = connection.execute(select(func.min(e.seq), func.max(e.seq))).one()
    if low is None:
        return 0
    low, high = low - 1, high + 1  # the event after `low` is not before `at`, if it is the first of all
    while high - low > 1:
        middle = (low + high) // 2
        following = connection.execute(select(e.seq, e.at).where(e.seq >= middle).order_by(e.seq).limit(1)).first()
        if following is not None and following.at < at:
            low = following.seq
        else:
            high = middle
    return int(low)

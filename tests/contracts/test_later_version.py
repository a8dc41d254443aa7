"""A later version is at work beside this one, on the same rows: values that only it knows break
nothing here, and are not changed.

Today's code is the old one of tomorrow: a release that adds a word can rely on what these promise.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import text
from tidings.adapters.sql.insight import SqlInsight
from tidings.adapters.sql.store import SqlStore
from tidings.api.responses import page_of, to_response
from tidings.domain.notification import Notification, Priority, Status
from tidings.domain.timing import DEFER_DELAY
from tidings.ports import Selection, Settlement

from tests import make
from tests.clock import TestClock

LEASE = timedelta(seconds=60)
MINE = {"status": "quarantined", "on_ambiguous": "ask", "channel": "chat", "priority": "bulk"}
"""A word for each that this version does not know."""
DECISIVE = ("status", "on_ambiguous", "channel")


def execute(store: SqlStore, statement: str, **values: Any) -> None:
    with store.database.engine.begin() as connection:
        connection.execute(text(statement), values)


def added(store: SqlStore, clock: TestClock, column: str, **more: Any) -> Notification:
    """A row of a later version's, with its word in that column."""
    row = make.notification(clock(), **more)
    store.insert([row])
    execute(store, f"UPDATE notifications SET {column} = :word WHERE id = :id", word=MINE[column], id=row.id)
    return row


def standing(store: SqlStore, id: str) -> tuple[Any, ...]:
    with store.database.engine.begin() as connection:
        found = connection.execute(
            text("SELECT status, on_ambiguous, channel, attempt, token FROM notifications WHERE id = :id"), {"id": id}
        )
        return tuple(found.one())


def test_a_row_with_an_unknown_value_is_deferred_and_the_others_are_claimed(store: SqlStore, clock: TestClock) -> None:
    theirs, ours = [added(store, clock, column) for column in DECISIVE], make.notification(clock())
    store.insert([ours])
    before = [standing(store, row.id) for row in theirs]
    for batch in ([*theirs, ours], *([row] for row in theirs)):  # together, and each alone
        claims = store.claim([make.message(row) for row in batch], LEASE)
        assert [row.id for row in claims.acquired] == ([ours.id] if ours in batch else [])
        defer = [(row.id, DEFER_DELAY) for row in batch if row is not ours]
        assert [(deferred.message.id, deferred.remaining) for deferred in claims.deferred] == defer
        assert not claims.isolate
        assert not claims.stale
    assert [standing(store, row.id) for row in theirs] == before


def test_a_sweep_skips_rows_of_a_later_release_and_finds_the_others(store: SqlStore, clock: TestClock) -> None:
    """Also where there are more of them than it looks at in a page."""
    ends = (None, clock() + timedelta(seconds=20))
    theirs = [added(store, clock, column, expires_at=end) for column in DECISIVE for end in ends]
    clock.advance(seconds=5)
    ours = make.notification(clock())
    store.insert([ours])
    before = [standing(store, row.id) for row in theirs]
    clock.advance(minutes=5)
    overdue = store.overdue(5, LEASE)
    assert [row.id for row in overdue.wake] == [ours.id]
    assert (overdue.expired, overdue.abandoned, overdue.more) == (0, None, False)
    assert [standing(store, row.id) for row in theirs] == before


def test_what_a_later_version_left_behind_is_not_settled_by_our_rules(store: SqlStore, clock: TestClock) -> None:
    """Its worker died; `resend`, which is our rule for what we do not know, could double what it must not."""
    row = make.notification(clock())
    store.insert([row])
    store.claim([make.message(row)], LEASE)
    execute(store, "UPDATE notifications SET on_ambiguous = 'ask' WHERE id = :id", id=row.id)
    for _ in range(4):
        clock.advance(minutes=2)
        assert store.overdue(5, LEASE).abandoned is None
    assert standing(store, row.id)[0] == Status.SENDING


def test_what_is_over_is_over_whatever_its_other_words_are(store: SqlStore, clock: TestClock) -> None:
    row = added(store, clock, "on_ambiguous")
    execute(store, "UPDATE notifications SET status = 'sent' WHERE id = :id", id=row.id)
    assert [message.id for message in store.claim([make.message(row)], LEASE).stale] == [row.id]


def test_another_priority_decides_nothing_so_it_is_sent(store: SqlStore, clock: TestClock) -> None:
    row = added(store, clock, "priority")
    (claimed,) = (claims := store.claim([make.message(row)], LEASE)).acquired
    assert (claimed.priority, claimed.priority is Priority.NORMAL) == ("bulk", False)
    store.settle([Settlement(claims=claims, notification=claimed, status=Status.SENT, provider="x")])
    assert standing(store, row.id)[0] == Status.SENT


def test_unknown_values_are_read_unchanged(store: SqlStore, clock: TestClock) -> None:
    rows = {column: added(store, clock, column) for column in MINE}
    execute(
        store,
        "INSERT INTO events (notification_id, generation, attempt, status, at, spared)"
        " VALUES (:id, 1, 0, 'quarantined', :at, 0)",
        id=rows["status"].id,
        at=clock().replace(tzinfo=None),
    )
    page = page_of(store.find(Selection(tenant="acme"), 50), 50)
    seen = {view.id: view for view in page.notifications}
    for column, row in rows.items():
        assert getattr(seen[row.id], column) == MINE[column]
        found = store.get("acme", row.id)
        assert found is not None
        document = to_response(found, store.events(row.id)).encoded()
        assert f'"{column}":"{MINE[column]}"'.encode() in document
    assert b'"status":"quarantined"' in to_response(rows["on_ambiguous"], store.events(rows["status"].id)).encoded()
    assert b'"recipient":"ada' in page.encoded()
    count_by_status = SqlInsight(store.database).count_by_status("acme", [row.id for row in rows.values()])
    assert {str(status): count for status, count in count_by_status.statuses.items()} == {
        "pending": 3,
        "quarantined": 1,
    }


def test_pauses_and_counts_with_a_later_versions_words_disturb_nobody(store: SqlStore, clock: TestClock) -> None:
    store.pause("chat")
    row = make.notification(clock())
    store.insert([row])
    claims = store.claim([make.message(row)], LEASE)
    store.settle(
        [Settlement(claims=claims, notification=claims.acquired[0], status=Status.SENT)],
    )
    execute(store, "UPDATE events SET status = 'quarantined' WHERE notification_id = :id", id=row.id)
    clock.advance(minutes=5)
    insight = SqlInsight(store.database)
    before = insight.activity("acme", clock() - timedelta(hours=1)).counts
    assert insight.summarize(100) == 2
    assert insight.activity("acme", clock() - timedelta(hours=1)).counts == before
    assert set(store.paused()) == {"chat"}
    assert {status for _, status in SqlInsight(store.database).backlog().counts} <= set(Status)


def test_a_later_versions_rows_are_not_purged(store: SqlStore, clock: TestClock) -> None:
    row = added(store, clock, "status")
    execute(store, "UPDATE notifications SET wake_at = NULL WHERE id = :id", id=row.id)
    clock.advance(hours=24 * 400)
    assert store.purge(timedelta(days=1), 100).rows == 0
    assert store.cancel("acme", row.id) is not None
    assert standing(store, row.id)[0] == "quarantined"

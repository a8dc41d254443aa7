"""What every Insight promises."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert
from tidings.adapters.sql import backlog as backlog_sql
from tidings.adapters.sql import insight as insight_sql
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.insight import SqlInsight
from tidings.adapters.sql.schema import events
from tidings.adapters.sql.store import SqlStore
from tidings.domain.errors import AmbiguousError, DeliveryError, PermanentError
from tidings.domain.notification import REPLAYABLE, Notification, Status
from tidings.ports import Selection, Settlement
from tidings.ports.insight import ACCEPTED, KEPT_FOR, Activity, Capped, Tally

from tests import make
from tests.clock import TestClock

LEASE = timedelta(seconds=60)


@pytest.fixture
def insight(database: DatabaseSettings, clock: TestClock) -> Iterator[SqlInsight]:
    opened = Database(database, clock=clock)
    yield SqlInsight(opened)
    opened.close()


def inserted(store: SqlStore, clock: TestClock, count: int = 1, **changes: object) -> list[Notification]:
    rows = [make.notification(clock(), **changes) for _ in range(count)]
    store.insert(rows)
    return rows


def settled(
    store: SqlStore, rows: Sequence[Notification], status: Status = Status.SENT, error: DeliveryError | None = None
) -> None:
    claims = store.claim([make.message(row) for row in rows], LEASE)
    delay = timedelta(0) if status is Status.RETRYING else None
    store.settle(
        [
            Settlement(claims=claims, notification=row, status=status, error=error, delay=delay)
            for row in claims.acquired
        ]
    )


def totals(activity: Activity) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in activity.counts:
        found[item.what] = found.get(item.what, 0) + item.count
    return found


# --- activity ---------------------------------------------------------------------------------------------------------


def test_what_happens_is_counted_at_once_and_once(store: SqlStore, insight: SqlInsight, clock: TestClock) -> None:
    since = clock()
    settled(store, inserted(store, clock, 3))
    settled(store, inserted(store, clock, 2), Status.FAILED, PermanentError("550", "no such user"))
    expected = {ACCEPTED: 5, "sent": 3, "failed": 2}
    assert totals(insight.activity("acme", since)) == expected
    assert insight.summarize(1000) == 0  # not settled down yet
    clock.advance(seconds=30)
    assert insight.summarize(1000) == 10
    assert insight.summarize(1000) == 0
    assert totals(insight.activity("acme", since)) == expected
    settled(store, inserted(store, clock, 1))
    assert totals(insight.activity("acme", since)) == {ACCEPTED: 6, "sent": 4, "failed": 2}


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_a_change_with_an_old_time_does_not_hide_one_that_is_not_committed_yet(
    database: DatabaseSettings, store: SqlStore, insight: SqlInsight, clock: TestClock
) -> None:
    """As a receipt that was kept for a minute, and is applied beside a settlement that is under way."""
    since = clock()
    (row,) = inserted(store, clock)
    settled(store, [row])
    insight.summarize(100)
    clock.advance(seconds=30)
    insight.summarize(100)
    entry = {"notification_id": row.id, "generation": 1, "attempt": 1, "uncounted": 0}
    other = Database(database, clock=clock)
    with other.engine.connect() as under_way, other.engine.connect() as applied:
        transaction = under_way.begin()
        under_way.execute(insert(events).values(status=Status.UNKNOWN, at=clock(), **entry))
        applied.execute(insert(events).values(status=Status.DELIVERED, at=since, **entry))
        applied.commit()
        insight.summarize(100)
        transaction.commit()
    other.close()
    for _ in range(3):
        clock.advance(seconds=6)
        insight.summarize(100)
    assert totals(insight.activity("acme", since)) == {ACCEPTED: 1, "sent": 1, "delivered": 1, "unknown": 1}


def test_it_is_counted_page_by_page(store: SqlStore, insight: SqlInsight, clock: TestClock) -> None:
    since = clock()
    settled(store, inserted(store, clock, 25))
    clock.advance(seconds=30)
    while insight.summarize(10):
        pass
    assert totals(insight.activity("acme", since)) == {ACCEPTED: 25, "sent": 25}


def test_concurrent_summaries_count_nothing_twice(
    database: DatabaseSettings, store: SqlStore, clock: TestClock
) -> None:
    since = clock()
    settled(store, inserted(store, clock, 40))
    clock.advance(seconds=30)
    opened = [Database(database, clock=clock) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda one: [SqlInsight(one).summarize(7) for _ in range(10)], opened))
    insight = SqlInsight(opened[0])
    while insight.summarize(100):
        pass
    assert totals(insight.activity("acme", since)) == {ACCEPTED: 40, "sent": 40}
    for one in opened:
        one.close()


def test_each_minute_and_channel_has_its_counts(store: SqlStore, insight: SqlInsight, clock: TestClock) -> None:
    since = clock()
    inserted(store, clock, 2)
    clock.advance(minutes=1)
    inserted(store, clock, 3, channel="sms")
    counts = insight.activity("acme", since - timedelta(minutes=1)).counts
    assert [(item.channel, item.minute, item.count) for item in counts] == [
        ("email", since.replace(second=0, microsecond=0), 2),
        ("sms", (since + timedelta(minutes=1)).replace(second=0, microsecond=0), 3),
    ]


def test_latencies_are_counted_by_their_bound(store: SqlStore, insight: SqlInsight, clock: TestClock) -> None:
    since = clock()
    quick = inserted(store, clock, 2)
    clock.advance(seconds=0.2)
    settled(store, quick)
    slow, scheduled = inserted(store, clock), inserted(store, clock, send_at=clock() + timedelta(hours=3))
    clock.advance(hours=3, seconds=4)
    settled(store, [*slow, *scheduled])
    found = {item.within: item.count for item in insight.activity("acme", since - timedelta(minutes=1)).latencies}
    assert found == {timedelta(milliseconds=250): 2, timedelta(seconds=5): 1, None: 1}


def test_a_resolution_by_an_operator_is_no_latency(store: SqlStore, insight: SqlInsight, clock: TestClock) -> None:
    (row,) = inserted(store, clock)
    settled(store, [row], Status.UNKNOWN, AmbiguousError("timeout", "no answer"))
    clock.advance(hours=1)
    assert store.resolve("acme", row.id) is not None
    found = insight.activity("acme", clock() - timedelta(hours=2))
    assert totals(found)["sent"] == 1
    assert not found.latencies


def test_old_counts_are_deleted(store: SqlStore, insight: SqlInsight, clock: TestClock) -> None:
    since = clock()
    inserted(store, clock, 2)
    clock.advance(minutes=1)
    insight.summarize(100)
    clock.advance(seconds=KEPT_FOR.total_seconds() + 60)
    inserted(store, clock, 1)
    clock.advance(minutes=1)
    insight.summarize(100)
    assert totals(insight.activity("acme", since - timedelta(minutes=1))) == {ACCEPTED: 1}


def test_another_tenants_counts_are_not_seen(store: SqlStore, insight: SqlInsight, clock: TestClock) -> None:
    since = clock()
    settled(store, inserted(store, clock, 2, tenant="globex"), Status.FAILED)
    assert insight.activity("acme", since).counts == []
    clock.advance(minutes=1)
    insight.summarize(100)
    assert insight.activity("acme", since).counts == []
    assert insight.backlog("acme").of(Status.FAILED) == Capped(0)
    assert insight.dead_groups(Selection(tenant="acme")).groups == []


# --- what waits -------------------------------------------------------------------------------------------------------


def waited(insight: SqlInsight) -> dict[str, float]:
    """Seconds since the longest waiting of all tenants was due, by channel."""
    backlog = insight.backlog()
    return {channel: (backlog.at - since).total_seconds() for channel, since in backlog.oldest.items()}


def test_what_waits_is_counted_and_the_oldest_that_is_due_is_named(
    store: SqlStore, insight: SqlInsight, clock: TestClock
) -> None:
    inserted(store, clock, 3, send_at=clock() + timedelta(days=1), next_attempt_at=clock() + timedelta(days=1))
    only_later = insight.backlog("acme")
    assert (only_later.scheduled, only_later.oldest, only_later.oldest_id) == (3, {}, None)
    clock.advance(seconds=10)
    began = clock()
    first = inserted(store, clock, 2)
    clock.advance(seconds=10)
    inserted(store, clock, 1)
    waiting = insight.backlog("acme")
    assert waiting.of(Status.PENDING) == Capped(6)
    assert waiting.scheduled == 3
    assert waiting.oldest == {"email": began}
    assert waiting.oldest_id == min(row.id for row in first)
    clock.advance(days=1)
    assert insight.backlog("acme").scheduled == 0, "they are due"


def sent_at(store: SqlStore, clock: TestClock, delay: timedelta) -> None:
    at = clock() + delay
    inserted(store, clock, send_at=at, next_attempt_at=at)


def replayed(store: SqlStore, clock: TestClock, due_in: timedelta) -> None:
    settled(store, inserted(store, clock), Status.FAILED, PermanentError("550", "no"))
    clock.advance(days=3)
    store.reset_for_replay(Selection(tenant="acme"), 10, due_in)


def retried(
    store: SqlStore, clock: TestClock, *, channel: str = "email", delay: timedelta = timedelta(seconds=5)
) -> None:
    claims = store.claim([make.message(row) for row in inserted(store, clock, channel=channel)], LEASE)
    store.settle(
        [Settlement(claims=claims, notification=row, status=Status.RETRYING, delay=delay) for row in claims.acquired]
    )


@pytest.mark.parametrize(
    ("wait", "waits"),
    [
        (inserted, 10),
        (lambda store, clock: sent_at(store, clock, timedelta(seconds=3)), 7),
        (lambda store, clock: sent_at(store, clock, timedelta(days=-2)), 10),
        (lambda store, clock: replayed(store, clock, timedelta(0)), 10),
        (lambda store, clock: replayed(store, clock, timedelta(seconds=4)), 6),
        (retried, 5),
    ],
    ids=["new", "scheduled", "scheduled for a time that was over", "replayed", "replayed for later", "retrying"],
)
def test_the_overview_the_metric_and_the_row_agree_since_when_it_is_due(
    store: SqlStore, insight: SqlInsight, clock: TestClock, wait: Callable[[SqlStore, TestClock], object], waits: float
) -> None:
    wait(store, clock)
    clock.advance(seconds=10)
    (row,) = store.find(Selection(tenant="acme"), 10)
    since = clock() - timedelta(seconds=waits)
    assert waited(insight) == {"email": waits}
    assert insight.backlog("acme").oldest == {"email": since}
    assert row.due_at == since


def test_the_backlog_tells_how_long_the_longest_waiting_has_waited_and_what_needs_a_person(
    store: SqlStore, insight: SqlInsight, clock: TestClock
) -> None:
    assert waited(insight) == {}
    assert insight.backlog().counts == {}
    inserted(store, clock, tenant="globex")
    clock.advance(seconds=40)
    inserted(store, clock, 3)
    in_an_hour = clock() + timedelta(hours=1)
    inserted(store, clock, channel="sms", send_at=in_an_hour, next_attempt_at=in_an_hour)
    for tenant, status, count in (
        ("acme", Status.FAILED, 2),
        ("globex", Status.FAILED, 1),
        ("acme", Status.UNKNOWN, 1),
    ):
        settled(store, inserted(store, clock, count, tenant=tenant), status)
    retried(store, clock, channel="push", delay=LEASE)
    clock.advance(seconds=20)
    assert waited(insight) == {"email": 60.0}  # neither a retry nor what is to be sent later is due yet
    counts = insight.backlog().counts
    assert {key: count.count for key, count in counts.items() if key[1] in REPLAYABLE} == {
        ("email", Status.FAILED): 3,
        ("email", Status.UNKNOWN): 1,
    }
    clock.advance(seconds=70)
    assert waited(insight) == {"email": 130.0, "push": 30.0}
    clock.advance(hours=1)
    assert waited(insight)["sms"] == 90.0


def test_what_was_replayed_waits_since_its_replay(store: SqlStore, insight: SqlInsight, clock: TestClock) -> None:
    settled(store, inserted(store, clock), Status.FAILED)
    clock.advance(hours=9)
    store.reset_for_replay(Selection(tenant="acme"), 10, timedelta(0))
    clock.advance(seconds=2)
    assert waited(insight) == {"email": 2.0}


def test_a_long_backlog_is_not_counted_to_its_end(
    store: SqlStore, insight: SqlInsight, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog_sql, "COUNTED_UP_TO", 3)
    settled(store, inserted(store, clock, 5), Status.FAILED)
    assert insight.backlog().counts == {("email", Status.FAILED): Capped(3, more=True)}


def test_a_backlog_is_counted_up_to_a_bound(
    store: SqlStore, insight: SqlInsight, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog_sql, "COUNTED_UP_TO", 10)
    inserted(store, clock, 10)
    assert insight.backlog("acme").of(Status.PENDING) == Capped(10)
    inserted(store, clock, 1)
    assert insight.backlog("acme").of(Status.PENDING) == Capped(10, more=True)


# --- dead letters -----------------------------------------------------------------------------------------------------


def test_dead_letters_are_grouped_by_their_error(store: SqlStore, insight: SqlInsight, clock: TestClock) -> None:
    no_user, lost = PermanentError("550", "no such user"), AmbiguousError("no_answer", "time-out")
    began = clock()
    settled(store, inserted(store, clock, 3), Status.FAILED, no_user)
    clock.advance(seconds=5)
    ended = clock()
    newest = inserted(store, clock, 1)
    settled(store, newest, Status.FAILED, no_user)
    settled(store, inserted(store, clock, 2, channel="sms"), Status.UNKNOWN, lost)
    found = insight.dead_groups(Selection(tenant="acme"))
    assert (found.looked_at, found.more) == (6, False)
    first, second = found.groups
    assert (first.status, first.channel, first.code, first.count) == (Status.FAILED, "email", "550", 4)
    assert (first.message, first.oldest, first.newest, first.example) == ("no such user", began, ended, newest[0].id)
    assert (second.status, second.channel, second.error_class, second.count) == (Status.UNKNOWN, "sms", "ambiguous", 2)


@pytest.mark.parametrize(
    ("narrow", "counts"),
    [
        ({"channel": "sms"}, [2]),
        ({"error_class": "permanent"}, [3]),
        ({"error_code": "none such"}, []),
        ({"statuses": [Status.FAILED]}, [3]),
    ],
)
def test_groups_are_narrowed(
    store: SqlStore, insight: SqlInsight, clock: TestClock, narrow: Any, counts: list[int]
) -> None:
    settled(store, inserted(store, clock, 3), Status.FAILED, PermanentError("550", "no such user"))
    settled(store, inserted(store, clock, 2, channel="sms"), Status.UNKNOWN, AmbiguousError("500", "?"))
    assert [group.count for group in insight.dead_groups(Selection(tenant="acme", **narrow)).groups] == counts


def test_groups_look_at_the_newest_up_to_a_bound(
    store: SqlStore, insight: SqlInsight, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(insight_sql, "COUNTED_UP_TO", 3)
    settled(store, inserted(store, clock, 3), Status.FAILED, PermanentError("old", "before"))
    clock.advance(seconds=1)
    settled(store, inserted(store, clock, 2), Status.FAILED, PermanentError("new", "after"))
    found = insight.dead_groups(Selection(tenant="acme"))
    assert [(group.code, group.count) for group in found.groups] == [("new", 2), ("old", 1)]
    assert (found.looked_at, found.more) == (3, True)


def test_a_tally_counts_by_status(store: SqlStore, insight: SqlInsight, clock: TestClock) -> None:
    rows = inserted(store, clock, 5)
    other = inserted(store, clock, 1, tenant="globex")
    settled(store, rows[:3])
    ids = [row.id for row in (*rows, *other)]
    assert insight.count_by_status("acme", ids) == Tally(statuses={Status.SENT: 3, Status.PENDING: 2}, doubtful=0)
    assert insight.count_by_status("acme", []) == Tally(statuses={}, doubtful=0)


def test_a_tally_says_how_many_may_have_been_sent_all_the_same(
    store: SqlStore, insight: SqlInsight, clock: TestClock
) -> None:
    sent, canceled, plain, unknown, other = rows = inserted(store, clock, 5)
    doubt = AmbiguousError("timeout", "no answer")
    settled(store, [sent, canceled], Status.RETRYING, doubt)
    settled(store, [sent])
    settled(store, [unknown], Status.UNKNOWN, doubt)
    settled(store, [other], Status.FAILED, PermanentError("550", "no"))
    for row in (canceled, plain):
        store.cancel("acme", row.id)
    found = insight.count_by_status("acme", [row.id for row in rows])
    assert found.statuses == {Status.SENT: 1, Status.CANCELED: 2, Status.UNKNOWN: 1, Status.FAILED: 1}
    assert found.doubtful == 1


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_looking_takes_the_same_number_of_statements_whatever_there_is(
    store: SqlStore, insight: SqlInsight, clock: TestClock
) -> None:
    statements: list[str] = []
    event.listen(
        insight.database.engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement)
    )

    def look() -> int:
        before = len(statements)
        insight.activity("acme", clock() - timedelta(hours=1))
        insight.backlog("acme")
        insight.dead_groups(Selection(tenant="acme"))
        return len(statements) - before

    settled(store, inserted(store, clock, 1), Status.FAILED, PermanentError("550", "x"))
    few = look()
    for number in range(20):
        settled(store, inserted(store, clock, 10), Status.FAILED, PermanentError(f"55{number}", "x"))
        inserted(store, clock, 10)
    assert look() == few


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_a_channel_is_paused_until_it_is_resumed(store: SqlStore, clock: TestClock) -> None:
    assert store.paused() == {}
    began = clock()
    store.pause("email")
    clock.advance(seconds=5)
    store.pause("email")
    assert store.paused() == {"email": began}
    store.resume("email")
    store.resume("email")
    assert store.paused() == {}


def test_operators_who_pause_a_channel_at_once_all_succeed(database: DatabaseSettings, clock: TestClock) -> None:
    stores = [SqlStore(Database(database, clock=clock)) for _ in range(4)]
    for channel in ("email", "sms", "push"):
        together = threading.Barrier(len(stores))

        def pause(store: SqlStore, channel: str = channel, together: threading.Barrier = together) -> None:
            store.paused()
            together.wait()
            store.pause(channel)

        with ThreadPoolExecutor(len(stores)) as threads:
            list(threads.map(pause, stores))
    assert set(stores[0].paused()) == {"email", "sms", "push"}
    for store in stores:
        store.close()

"""That a notification was accepted is an event where an endpoint names it, and costs nothing where none does."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.insight import SqlInsight
from tidings.adapters.sql.schema import events
from tidings.adapters.sql.store import SqlStore
from tidings.adapters.sql.webhooks import SqlWebhooks
from tidings.domain.notification import Notification, Status
from tidings.domain.webhook import CREATED_TYPE, DEFAULT_TYPES, HELD, TYPES, EndpointState, WebhookEndpoint
from tidings.pipeline.intake import Intake
from tidings.ports import Outgoing, Selection
from tidings.ports.webhooks import Only

from tests import make
from tests.clock import TestClock
from tests.contracts.test_webhooks import claimed, created, data, end, inserted, replay, sound, statuses, told
from tests.lost_answers import commits_unanswered

KEY = "a" * 64


@pytest.fixture
def webhooks(store: SqlStore) -> SqlWebhooks:
    return SqlWebhooks(store.database)


@pytest.fixture
def endpoint(webhooks: SqlWebhooks, clock: TestClock) -> WebhookEndpoint:
    return created(webhooks, clock, [CREATED_TYPE])


def ids(rows: Sequence[Notification]) -> list[str]:
    return [row.id for row in rows]


def told_of(store: SqlStore, endpoint: WebhookEndpoint) -> list[str]:
    return [data(row)["id"] for row in told(store, endpoint)]


def fed(store: SqlStore, tenant: str = "acme") -> list[tuple[str, str]]:
    return [(one["type"], one["data"]["id"]) for one in store.feed(tenant, 0, 1000).events]


def written(store: SqlStore) -> int:
    """Events, also those that nothing shows."""
    with store.database.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(events)) or 0


# --- told -------------------------------------------------------------------------------------------------------------


def test_webhook_and_feed_tell_that_it_was_accepted(
    store: SqlStore, endpoint: WebhookEndpoint, clock: TestClock
) -> None:
    rows = [
        *inserted(store, clock, 2, metadata='{"order":"4711"}'),
        *inserted(store, clock, send_at=clock() + timedelta(days=1)),
    ]
    assert fed(store) == [(CREATED_TYPE, row.id) for row in rows]
    first, *_ = listed = store.feed("acme", 0, 10).events
    told_data = [data(row) for row in told(store, endpoint)]
    assert [{**one, "recipient": row.recipient} for one, row in zip(told_data, rows, strict=True)] == [
        one["data"] for one in listed
    ]
    assert told_data[0] == {
        "id": rows[0].id,
        "channel": "email",
        "status": "pending",
        "generation": 1,
        "attempt": 0,
        "by": "intake",
        "metadata": {"order": "4711"},
        "seq": first["data"]["seq"],
    }
    assert len(store.overdue(100, timedelta(seconds=60)).wake) == 3  # its webhooks, published at once
    sound(store, clock)


def test_its_timeline_and_the_counts_are_the_same_with_and_without(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock
) -> None:
    insight = SqlInsight(store.database)
    entries, counts = [], []
    for _ in range(2):
        rows = inserted(store, clock)
        end(store, claimed(store, rows), Status.SENT)
        clock.advance(minutes=1)
        found = insight.activity("acme", clock() - timedelta(seconds=90)).counts
        counts.append(sorted((one.what, one.count) for one in found if one.channel == "email"))
        entries.append([entry.status for entry in store.events(rows[0].id)])
        created(webhooks, clock, [CREATED_TYPE], tenant="globex")
        created(webhooks, clock, [CREATED_TYPE])
        clock.advance(minutes=2)
    assert entries[0] == entries[1] == [Status.SENT]
    assert counts[0] == counts[1] == [("accepted", 1), ("sent", 1)]
    while insight.summarize(1000):
        pass
    assert {one.what for one in insight.activity("acme", clock() - timedelta(hours=1)).counts} == {"accepted", "sent"}


def test_only_who_names_it_is_told_and_only_of_its_own_tenant(
    store: SqlStore, webhooks: SqlWebhooks, endpoint: WebhookEndpoint, clock: TestClock
) -> None:
    others = [created(webhooks, clock, DEFAULT_TYPES), created(webhooks, clock, []), created(webhooks, clock, TYPES)]
    foreign = created(webhooks, clock, DEFAULT_TYPES, tenant="globex")
    mine, theirs = make.notification(clock()), make.notification(clock(), tenant="globex")
    store.insert([theirs, mine])
    assert told_of(store, endpoint) == [mine.id]
    assert [told_of(store, one) for one in (*others, foreign)] == [[], [], [mine.id], []]
    assert fed(store, "globex") == []


def test_a_disabled_endpoint_holds_it_and_a_deleted_one_gets_nothing(
    store: SqlStore, webhooks: SqlWebhooks, endpoint: WebhookEndpoint, clock: TestClock
) -> None:
    webhooks.set_state("acme", endpoint.id, EndpointState.DISABLED, "operator")
    inserted(store, clock)
    assert [row.next_attempt_at for row in told(store, endpoint)] == [HELD]
    webhooks.set_state("acme", endpoint.id, EndpointState.DELETED, "operator")
    inserted(store, clock)
    assert len(told(store, endpoint)) == len(fed(store)) == 1


def test_a_webhook_to_an_endpoint_is_not_told_and_one_to_a_url_is(
    store: SqlStore, endpoint: WebhookEndpoint, clock: TestClock
) -> None:
    own = inserted(store, clock, channel="webhook", recipient="https://customer.example/hook")
    assert told_of(store, endpoint) == ids(own)
    inserted(store, clock, channel="webhook", recipient=endpoint.id)
    assert fed(store) == [(CREATED_TYPE, own[0].id)]
    assert store.count(Selection(tenant="acme", channel="webhook")) == 3  # those two, and what tells of the first
    assert written(store) == 1


def test_a_replay_tells_a_later_endpoint_what_was_written_for_an_earlier_one(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock
) -> None:
    inserted(store, clock)  # no endpoint named it: there is no such event, and no replay makes one
    created(webhooks, clock, [CREATED_TYPE])
    (row,) = inserted(store, clock)
    later = created(webhooks, clock, [CREATED_TYPE])
    assert replay(webhooks, later, clock, Only.MISSING) == (1, 0)
    assert replay(webhooks, later, clock, Only.MISSING) == (0, 0)
    assert told_of(store, later) == [row.id]


# --- once -------------------------------------------------------------------------------------------------------------


def test_a_repeated_request_is_not_told_again(store: SqlStore, endpoint: WebhookEndpoint, clock: TestClock) -> None:
    (first,) = inserted(store, clock, idempotency_hash=KEY)
    inserted(store, clock, idempotency_hash=KEY)
    other = make.notification(clock(), idempotency_hash="b" * 64)
    again = [make.notification(clock(), idempotency_hash=hash) for hash in (KEY, "b" * 64)]
    plain = make.notification(clock())
    store.insert([again[0], other, again[1], plain])  # also twice in one batch
    assert told_of(store, endpoint) == ids([first, other, plain])
    assert statuses(store, endpoint) == ["pending"] * 3
    assert written(store) == 3


@pytest.mark.parametrize("taken", [False, True])
def test_a_lost_answer_to_the_commit_tells_it_once(
    store: SqlStore, endpoint: WebhookEndpoint, clock: TestClock, taken: bool
) -> None:
    if taken:
        inserted(store, clock, idempotency_hash=KEY)
    batch = [make.notification(clock(), idempotency_hash=hash) for hash in (KEY, "b" * 64, None)]
    before = len(fed(store))
    with commits_unanswered(store.database, times=1):
        stored = store.insert(batch)
    new = [item.notification.id for item in stored if item.existing is None]
    assert len(new) == 3 - taken
    assert [id for _, id in fed(store)[before:]] == told_of(store, endpoint)[before:] == new
    sound(store, clock)


def test_two_requests_with_one_key_at_once_tell_it_once(
    store: SqlStore, endpoint: WebhookEndpoint, clock: TestClock
) -> None:
    rows = [make.notification(clock(), idempotency_hash=KEY) for _ in range(4)]
    start = threading.Barrier(len(rows))

    def submit(row: Notification) -> None:
        start.wait(20)
        store.insert([row])

    threads = [threading.Thread(target=submit, args=(row,)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(fed(store)) == len(told(store, endpoint)) == 1


class NoBroker:
    """Takes every message."""

    def publish(self, messages: Sequence[Outgoing]) -> None:
        pass


def test_what_cannot_be_stored_is_not_told_and_its_neighbours_are(
    store: SqlStore, endpoint: WebhookEndpoint, clock: TestClock
) -> None:
    poison: Any = make.notification(clock(), metadata=object())
    good = [make.notification(clock()) for _ in range(4)]
    broker: Any = NoBroker()
    taken = Intake(store=store, broker=broker).accept([*good[:3], poison, good[3]])
    assert [isinstance(item, Exception) for item in taken] == [False, False, False, True, False]
    assert told_of(store, endpoint) == ids(good)


def test_what_cannot_be_told_is_not_accepted(
    store: SqlStore, endpoint: WebhookEndpoint, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    row = make.notification(clock())
    with monkeypatch.context() as patched:
        patched.setattr("tidings.adapters.sql.timeline.insert_webhooks", broken)
        with pytest.raises(RuntimeError):
            store.insert([row])
    assert (store.get("acme", row.id), fed(store), told(store, endpoint)) == (None, [], [])


# --- what it costs ----------------------------------------------------------------------------------------------------


def counted(store: SqlStore, work: Callable[[], object]) -> int:
    statements: list[str] = []
    event.listen(store.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    work()
    return len(statements)


def test_where_none_is_told_it_costs_no_statement(
    store: SqlStore, webhooks: SqlWebhooks, database: DatabaseSettings, clock: TestClock
) -> None:
    """Two, as without webhooks: BEGIN on SQLite, or else the time, and the INSERT. On SQLite the question is put to the
    driver itself."""
    created(webhooks, clock, DEFAULT_TYPES)
    timed = SqlStore(Database(database))  # whose time the database tells
    for size in (1, 200):
        rows = [make.notification(clock()) for _ in range(size)]
        assert counted(timed, lambda rows=rows: timed.insert(rows)) == 2  # type: ignore[misc]
    timed.close()


@pytest.mark.usefixtures("endpoint")
def test_a_batch_of_any_size_is_told_with_the_same_number_of_statements(store: SqlStore, clock: TestClock) -> None:
    few, many = (counted(store, lambda size=size: inserted(store, clock, size)) for size in (2, 200))  # type: ignore[misc]
    assert few == many
    assert len(fed(store)) == 202

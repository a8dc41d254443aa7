"""What every Store promises of webhooks: an event and what tells it are written together, and the feed misses none."""

import json
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text
from tidings.adapters.sql.books import SqlBooks
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.insight import SqlInsight
from tidings.adapters.sql.schema import events
from tidings.adapters.sql.store import SqlStore
from tidings.adapters.sql.webhooks import SqlWebhooks
from tidings.domain.errors import OnHold, TransientError
from tidings.domain.notification import Notification, Status, new_id
from tidings.domain.receipt import Receipt, ReceiptKind
from tidings.domain.stopwatch import Stopwatch
from tidings.domain.webhook import (
    CREATED_TYPE,
    DEFAULT_TYPES,
    FAILING_FOR,
    HELD,
    MAX_TOLD,
    OVERLAP,
    TYPES,
    EndpointState,
    WebhookEndpoint,
)
from tidings.pipeline.audit import findings_in
from tidings.ports import Claims, Selection, Settlement
from tidings.ports.receipts import Result
from tidings.ports.webhooks import Only, WebhookReplay, WebhookReplayed

from tests import make
from tests.clock import TestClock

LEASE = timedelta(seconds=60)
CALL = Stopwatch().elapsed()
CHANGES = tuple(name for name in TYPES if name != CREATED_TYPE)


@pytest.fixture
def webhooks(store: SqlStore) -> SqlWebhooks:
    return SqlWebhooks(store.database)


def created(webhooks: SqlWebhooks, clock: TestClock, types: Sequence[str] = CHANGES, **more: Any) -> WebhookEndpoint:
    values = {"id": new_id(clock()), "tenant": "acme", "url": "https://orders.example/hook", **more}
    made = WebhookEndpoint(**values, events=tuple(types), created_at=clock(), changed_at=clock())
    assert webhooks.create(made)
    return made


def claimed(store: SqlStore, rows: Sequence[Notification]) -> Claims:
    return store.claim([make.message(row) for row in rows], LEASE)


def end(store: SqlStore, claims: Claims, status: Status, **more: Any) -> None:
    sent = {"provider": "smtp", "provider_message_id": "m"} if status is Status.SENT else {}
    values: dict[str, Any] = {"status": status, "elapsed": CALL, **sent, **more}
    store.settle([Settlement(claims=claims, notification=row, **values) for row in claims.acquired])


def inserted(store: SqlStore, clock: TestClock, count: int = 1, **changes: Any) -> list[Notification]:
    rows = [make.notification(clock(), **changes) for _ in range(count)]
    store.insert(rows)
    return rows


def sent(store: SqlStore, clock: TestClock, count: int = 1, **changes: Any) -> list[Notification]:
    rows = inserted(store, clock, count, **changes)
    end(store, claimed(store, rows), Status.SENT)
    return rows


def told(store: SqlStore, endpoint: WebhookEndpoint) -> list[Notification]:
    found = store.find(Selection(tenant=endpoint.tenant, channel="webhook"), 1000, oldest_first=True)
    full = [store.get(row.tenant, row.id) for row in found if row.recipient == endpoint.id]
    return sorted((row for row in full if row is not None), key=lambda row: int(data(row)["seq"]))


def data(row: Notification) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.content)["data"]
    return found


def statuses(store: SqlStore, endpoint: WebhookEndpoint) -> list[str]:
    return [data(row)["status"] for row in told(store, endpoint)]


def sound(store: SqlStore, clock: TestClock) -> None:
    """The audit finds nothing."""
    page = SqlBooks(store.database).rows("acme", None, None, after=None, limit=1000)
    assert [finding for audited in page.rows for finding in findings_in(audited, clock())] == []


# --- written together -------------------------------------------------------------------------------------------------


def _cancel(store: SqlStore, clock: TestClock) -> None:
    (row,) = inserted(store, clock)
    store.cancel(row.tenant, row.id)


def _expire(store: SqlStore, clock: TestClock) -> None:
    inserted(store, clock, expires_at=clock() + timedelta(seconds=1))
    clock.advance(seconds=60)
    store.overdue(100, LEASE)


def _receipt(store: SqlStore, clock: TestClock) -> None:
    sent(store, clock)
    values: dict[str, Any] = {"provider": "smtp", "connection": "main", "provider_message_id": "m", "at": clock()}
    store.apply_receipts([Receipt(**values, event_id="1", kind=ReceiptKind.DELIVERED)])


def _resolve(store: SqlStore, clock: TestClock) -> None:
    rows = inserted(store, clock)
    end(store, claimed(store, rows), Status.UNKNOWN, error=TransientError("t", "t"))
    store.resolve(rows[0].tenant, rows[0].id)


def _replay(store: SqlStore, clock: TestClock) -> None:
    rows = inserted(store, clock)
    end(store, claimed(store, rows), Status.FAILED, error=TransientError("503", "no"))
    store.reset_for_replay(Selection(tenant="acme"), 10, timedelta())


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda store, clock: sent(store, clock, 2), ["sent", "sent"]),
        (_cancel, ["canceled"]),
        (_expire, ["expired"]),
        (_receipt, ["sent", "delivered"]),
        (_resolve, ["unknown", "sent"]),
        (_replay, ["failed", "pending"]),
    ],
)
def test_an_event_and_its_webhook_are_written_together(
    store: SqlStore,
    webhooks: SqlWebhooks,
    clock: TestClock,
    write: Callable[[SqlStore, TestClock], object],
    expected: list[str],
) -> None:
    endpoint = created(webhooks, clock)
    other = created(webhooks, clock, tenant="globex")
    write(store, clock)
    assert statuses(store, endpoint) == expected
    assert told(store, other) == []
    sound(store, clock)


def test_it_has_the_payload_and_tells_nothing_of_itself(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock
) -> None:
    endpoint = created(webhooks, clock)
    full = created(webhooks, clock, with_recipient=True)
    (row,) = inserted(store, clock, metadata='{"order":"4711"}')
    end(store, claimed(store, [row]), Status.FAILED, error=TransientError("503", "a text that may name ada"))
    (webhook,) = told(store, endpoint)
    content = json.loads(webhook.content)
    seq = content["data"]["seq"]
    assert content["id"] == f"evt_{seq}"
    assert content["type"] == "notification.failed"
    assert content["data"] == {
        "id": row.id,
        "channel": "email",
        "status": "failed",
        "class": "transient",
        "code": "503",
        "generation": 1,
        "attempt": 1,
        "by": "provider",
        "metadata": {"order": "4711"},
        "seq": seq,
    }
    assert data(told(store, full)[0])["recipient"] == row.recipient
    end(store, claimed(store, [webhook]), Status.SENT)
    assert len(told(store, endpoint)) == 1
    assert [row.id for row in store.overdue(100, LEASE).wake] == [told(store, full)[0].id]  # published at once


def test_an_endpoint_gets_only_the_types_that_it_asked_for(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock
) -> None:
    endpoint, none = created(webhooks, clock, ["notification.canceled"]), created(webhooks, clock, [])
    sent(store, clock)
    _cancel(store, clock)
    assert statuses(store, endpoint) == ["canceled"]
    assert told(store, none) == []


def test_a_report_that_changes_nothing_tells_nothing(store: SqlStore, webhooks: SqlWebhooks, clock: TestClock) -> None:
    endpoint = created(webhooks, clock)
    sent(store, clock)
    values: dict[str, Any] = {"provider": "smtp", "connection": "main", "provider_message_id": "m", "at": clock()}
    complained = Receipt(**values, event_id="1", kind=ReceiptKind.COMPLAINED)
    delivered = Receipt(**values, event_id="2", kind=ReceiptKind.DELIVERED)
    out = Receipt(**values, event_id="3", kind=ReceiptKind.OPTED_OUT)
    assert [applied.consequence.result for applied in store.apply_receipts([complained])] == [Result.RECORDED]
    assert statuses(store, endpoint) == ["sent"]
    store.apply_receipts([delivered, out])
    assert statuses(store, endpoint) == ["sent", "delivered"]
    sound(store, clock)


def test_a_settlement_that_is_rolled_back_tells_nothing(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = created(webhooks, clock)
    claims = claimed(store, inserted(store, clock))

    def broken(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("tidings.adapters.sql.settle.webhook_health.note", broken)
        with pytest.raises(RuntimeError):
            end(store, claims, Status.SENT)
    assert (told(store, endpoint), store.events(claims.acquired[0].id)) == ([], [])


def test_endpoints_that_are_told_are_few(webhooks: SqlWebhooks, clock: TestClock) -> None:
    for _ in range(MAX_TOLD):
        created(webhooks, clock)
    one = WebhookEndpoint(
        id=new_id(clock()), tenant="acme", url="u", events=TYPES, created_at=clock(), changed_at=clock()
    )
    assert not webhooks.create(one)
    created(webhooks, clock, [])  # for the tenant's own notifications there may be any number
    assert len(webhooks.endpoints("acme")) == MAX_TOLD + 1


# --- held -------------------------------------------------------------------------------------------------------------


def hold(store: SqlStore, rows: Sequence[Notification], code: str = "endpoint_disabled") -> None:
    end(store, claimed(store, rows), Status.RETRYING, error=OnHold(code, "off"), uncounted=True, held=True)


def test_what_comes_while_it_is_disabled_is_held_and_released(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock
) -> None:
    endpoint = created(webhooks, clock)
    sent(store, clock)
    (early,) = told(store, endpoint)
    webhooks.set_state("acme", endpoint.id, EndpointState.DISABLED, "operator")
    hold(store, [early])
    sent(store, clock)
    assert [row.next_attempt_at for row in told(store, endpoint)] == [HELD, HELD]
    assert webhooks.held("acme", [endpoint.id], 10) == {endpoint.id: 2}
    clock.advance(days=400)
    assert store.overdue(100, LEASE).wake == []
    assert store.purge(timedelta(days=1), 100).rows == 2  # the mails; what is held stays, however old
    held = told(store, endpoint)
    late = claimed(store, held)
    assert (late.acquired, late.deferred, len(late.stale)) == ([], [], 2)
    sound(store, clock)
    webhooks.set_state("acme", endpoint.id, EndpointState.ENABLED, None)
    assert (webhooks.release(1), webhooks.release(10), webhooks.release(10)) == (1, 1, 0)
    assert len(store.overdue(100, LEASE).wake) == 2
    assert len(claimed(store, told(store, endpoint)).acquired) == 2


def test_the_number_of_held_ones_is_that_of_each_endpoint(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock
) -> None:
    """A full endpoint does not hide those of another one."""
    endpoints = []
    for count in (3, 1):
        endpoints.append(created(webhooks, clock).id)
        webhooks.set_state("acme", endpoints[-1], EndpointState.DISABLED, "operator")
        sent(store, clock, count)
    many, one = endpoints
    assert webhooks.held("acme", endpoints, 2) == {many: 2, one: 1}
    assert webhooks.held("acme", [], 2) == {}


def test_what_is_held_after_it_was_enabled_is_released_as_well(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock
) -> None:
    """A worker remembers an endpoint for a second."""
    endpoint = created(webhooks, clock)
    sent(store, clock)
    webhooks.set_state("acme", endpoint.id, EndpointState.DISABLED, "operator")
    webhooks.set_state("acme", endpoint.id, EndpointState.ENABLED, None)
    assert webhooks.release(10) == 0
    clock.advance(seconds=30)
    hold(store, told(store, endpoint))
    assert webhooks.release(10) == 1


def test_what_waits_for_a_deleted_endpoint_is_canceled(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock
) -> None:
    endpoint = created(webhooks, clock)
    sent(store, clock)
    hold(store, told(store, endpoint))
    webhooks.set_state("acme", endpoint.id, EndpointState.DELETED, "operator")
    assert webhooks.find("acme", endpoint.id) is None
    assert webhooks.release(10) == 1
    assert [row.status for row in told(store, endpoint)] == [Status.CANCELED]
    sent(store, clock)
    assert len(told(store, endpoint)) == 1
    sound(store, clock)


@pytest.mark.parametrize(
    ("state", "becomes"), [(EndpointState.DELETED, Status.CANCELED), (EndpointState.ENABLED, Status.RETRYING)]
)
def test_what_comes_back_hours_after_the_change_does_not_stay_held(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock, state: EndpointState, becomes: Status
) -> None:
    """From a retry queue after a Retry-After, or from a channel that was paused."""
    endpoint = created(webhooks, clock)
    sent(store, clock)
    rows = told(store, endpoint)
    webhooks.set_state("acme", endpoint.id, EndpointState.DISABLED, "operator")
    webhooks.set_state("acme", endpoint.id, state, "operator")
    clock.advance(hours=6)
    assert webhooks.release(10) == 0
    hold(store, rows)
    assert webhooks.release(10) == 1
    (row,) = told(store, endpoint)
    assert (row.status, row.next_attempt_at) == (becomes, None)
    sound(store, clock)


def test_gone_or_five_days_of_failure_disable(store: SqlStore, webhooks: SqlWebhooks, clock: TestClock) -> None:
    gone, failing, other = (created(webhooks, clock) for _ in range(3))
    sent(store, clock)

    def outcome(of: WebhookEndpoint, status: Status, **more: Any) -> None:
        row = told(store, of)[0]
        end(store, claimed(store, [row]), status, **more)

    no = {"error": TransientError("503", "no"), "delay": timedelta(seconds=1)}
    outcome(gone, Status.RETRYING, error=OnHold("410", "gone"), uncounted=True, held=True)
    outcome(failing, Status.RETRYING, **no)
    outcome(other, Status.SENT)
    clock.advance(days=4)
    outcome(failing, Status.RETRYING, **no)
    assert webhooks.find("acme", failing.id).state is EndpointState.ENABLED  # type: ignore[union-attr]
    clock.advance(seconds=(FAILING_FOR - timedelta(days=4)).total_seconds())
    outcome(failing, Status.RETRYING, **no)
    found = {one.id: (one.state, one.reason) for one in webhooks.endpoints("acme")}
    assert found[gone.id] == (EndpointState.DISABLED, "gone")
    assert found[failing.id] == (EndpointState.DISABLED, "failing")
    assert found[other.id] == (EndpointState.ENABLED, None)
    assert [row.error_code for row in webhooks.failures("acme", failing.id, 10)] == ["503"]
    assert webhooks.count_by_state() == {"enabled": 1, "disabled": 0, "gone": 1, "failing": 1}
    webhooks.set_state("acme", other.id, EndpointState.DISABLED, "operator")
    assert webhooks.count_by_state() == {"enabled": 0, "disabled": 1, "gone": 1, "failing": 1}


def test_a_success_ends_the_days_of_failure(store: SqlStore, webhooks: SqlWebhooks, clock: TestClock) -> None:
    endpoint = created(webhooks, clock)
    sent(store, clock, 2)
    bad, good = told(store, endpoint)
    end(store, claimed(store, [bad]), Status.FAILED, error=TransientError("503", "no"))
    assert webhooks.find("acme", endpoint.id).failing_since == clock()  # type: ignore[union-attr]
    end(store, claimed(store, [good]), Status.SENT)
    assert webhooks.find("acme", endpoint.id).failing_since is None  # type: ignore[union-attr]


def test_of_two_rotations_at_once_one_counts(webhooks: SqlWebhooks, clock: TestClock) -> None:
    endpoint = created(webhooks, clock)
    webhooks._rotate(endpoint)
    webhooks._rotate(endpoint)  # saw the same version
    found = webhooks.find("acme", endpoint.id)
    assert found is not None
    assert (found.version, found.versions(clock())) == (2, [2, 1])
    clock.advance(seconds=OVERLAP.total_seconds())
    assert found.versions(clock()) == [2]


# --- replay -----------------------------------------------------------------------------------------------------------


def replay(webhooks: SqlWebhooks, endpoint: WebhookEndpoint, clock: TestClock, only: Only, **more: Any) -> Any:
    values: dict[str, Any] = {"since": clock() - timedelta(days=1), "until": clock() + timedelta(1), "dry_run": False}
    wanted = WebhookReplay(tenant="acme", endpoint=endpoint.id, only=only, **{**values, **more})
    done = webhooks.replay(wanted, 100)
    return done.written, done.replayed


def test_a_replay_sends_what_is_missing_or_failed_or_all(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock
) -> None:
    sent(store, clock, 3)
    endpoint = created(webhooks, clock, DEFAULT_TYPES)
    assert replay(webhooks, endpoint, clock, Only.MISSING, dry_run=True) == (3, 0)
    assert told(store, endpoint) == []
    assert replay(webhooks, endpoint, clock, Only.MISSING) == (3, 0)
    assert replay(webhooks, endpoint, clock, Only.MISSING) == (0, 0)
    first, second, third = told(store, endpoint)
    end(store, claimed(store, [first]), Status.SENT)
    end(store, claimed(store, [second]), Status.FAILED, error=TransientError("503", "no"))
    assert replay(webhooks, endpoint, clock, Only.FAILED) == (0, 1)
    assert replay(webhooks, endpoint, clock, Only.ALL) == (0, 1)  # not those that are still to be sent
    again = {row.id: row for row in told(store, endpoint)}
    assert [again[row.id].generation for row in (first, second, third)] == [2, 2, 1]
    assert [json.loads(again[row.id].content)["id"] for row in (first,)] == [json.loads(first.content)["id"]]
    assert replay(webhooks, endpoint, clock, Only.ALL, until=clock() - timedelta(hours=1)) == (0, 0)
    sound(store, clock)


def test_a_replay_finds_its_time_and_goes_on_page_by_page(
    store: SqlStore, webhooks: SqlWebhooks, clock: TestClock
) -> None:
    for _ in range(6):
        sent(store, clock)
        clock.advance(hours=6)
    endpoint = created(webhooks, clock)
    since, until = clock() - timedelta(hours=19), clock() - timedelta(hours=7)
    after, total = 0, WebhookReplayed(next=0)
    while total.next is not None:
        wanted = WebhookReplay(
            tenant="acme",
            endpoint=endpoint.id,
            since=since,
            until=until,
            only=Only.ALL,
            dry_run=False,
            after=total.next,
        )
        total = webhooks.replay(wanted, 1)
        after += total.written
    assert after == len(told(store, endpoint)) == 2


# --- the feed ---------------------------------------------------------------------------------------------------------


def test_the_feed_has_each_event_of_its_tenant_once_and_in_order(store: SqlStore, clock: TestClock) -> None:
    mine = sent(store, clock, 3)
    sent(store, clock, 2, tenant="globex")
    more = sent(store, clock, 2)
    seen: list[dict[str, Any]] = []
    after = 0
    while True:
        page = store.feed("acme", after, 2)
        seen += page.events
        after = page.after
        if not page.more:
            break
    assert sorted(event["data"]["id"] for event in seen) == sorted(row.id for row in [*mine, *more])
    numbers = [event["data"]["seq"] for event in seen]
    assert numbers == sorted(set(numbers))
    assert store.feed("acme", after, 10).events == []


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_the_feed_waits_for_a_transaction_with_a_lower_number(
    store: SqlStore, database: DatabaseSettings, clock: TestClock
) -> None:
    """SQLite has one writer at a time, so there numbers are committed in their order."""
    early, late = inserted(store, clock), inserted(store, clock)
    other = Database(database, clock=clock)
    entry = {"generation": 1, "attempt": 1, "status": Status.SENT, "at": clock(), "uncounted": 0}
    with other.engine.connect() as under_way:
        transaction = under_way.begin()
        under_way.execute(insert(events).values(notification_id=early[0].id, **entry))
        end(store, claimed(store, late), Status.SENT)  # a higher number, committed first
        assert under_way.scalar(text("SELECT COUNT(*) FROM events")) == 2
        pages: list[Any] = []
        reader = threading.Thread(target=lambda: pages.append(store.feed("acme", 0, 10)))
        reader.start()
        reader.join(1.5)
        assert pages == []  # it does not answer with the second alone
        transaction.commit()
        reader.join(20)
    other.close()
    assert [event["data"]["id"] for event in pages[0].events] == [early[0].id, late[0].id]


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_a_reader_further_on_proves_nothing_for_one_that_is_behind(
    store: SqlStore, database: DatabaseSettings, clock: TestClock
) -> None:
    early, late, last = (inserted(store, clock) for _ in range(3))
    other = Database(database, clock=clock)
    entry = {"generation": 1, "attempt": 1, "status": Status.SENT, "at": clock(), "uncounted": 0}
    with other.engine.connect() as under_way, other.engine.connect() as in_vain:
        transaction = under_way.begin()
        under_way.execute(insert(events).values(notification_id=early[0].id, **entry))
        end(store, claimed(store, late), Status.SENT)
        further = under_way.scalar(text("SELECT MAX(seq) FROM events"))
        in_vain.execute(insert(events).values(notification_id=last[0].id, **entry))
        in_vain.rollback()
        end(store, claimed(store, last), Status.SENT)
        pages: list[Any] = []
        assert [event["data"]["id"] for event in store.feed("acme", further, 10).events] == [last[0].id]
        reader = threading.Thread(target=lambda: pages.append(store.feed("acme", 0, 10)))
        reader.start()
        reader.join(1.5)
        assert pages == []
        transaction.commit()
        reader.join(20)
    other.close()
    assert [event["data"]["id"] for event in pages[0].events] == [early[0].id, late[0].id, last[0].id]


def test_a_number_that_was_rolled_back_stops_the_feed_no_longer_than_a_pause(
    store: SqlStore, database: DatabaseSettings, clock: TestClock
) -> None:
    (row,) = inserted(store, clock)
    other = Database(database, clock=clock)
    entry = {"generation": 1, "attempt": 1, "status": Status.SENT, "at": clock(), "uncounted": 0}
    with other.engine.connect() as under_way:
        under_way.execute(insert(events).values(notification_id=row.id, **entry))
        under_way.rollback()
    other.close()
    end(store, claimed(store, [row]), Status.SENT)
    assert [event["data"]["id"] for event in store.feed("acme", 0, 10).events] == [row.id]


def test_after_the_retention_numbers_go_on_upwards(store: SqlStore, clock: TestClock) -> None:
    sent(store, clock)
    after = store.feed("acme", 0, 10).after
    clock.advance(days=10)
    assert store.purge(timedelta(days=1), 100).rows == 1
    (row,) = sent(store, clock)
    assert [event["data"]["id"] for event in store.feed("acme", after, 10).events] == [row.id]


def test_the_counts_of_the_channel_balance(store: SqlStore, webhooks: SqlWebhooks, clock: TestClock) -> None:
    created(webhooks, clock)
    sent(store, clock, 3)
    clock.advance(seconds=60)
    insight = SqlInsight(store.database)
    while insight.summarize(1000):
        pass
    found = {
        (line.channel, line.counted, line.rows)
        for line in SqlBooks(store.database).accepted("acme", clock() - timedelta(days=1), None)
    }
    assert found == {("email", 3, 3), ("webhook", 3, 3)}

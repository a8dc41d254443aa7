"""The table of docs/webhooks.md says who writes each change, and what tells it. Here each of its rows happens."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tidings.adapters.sql import creation, timeline
from tidings.adapters.sql.store import SqlStore
from tidings.adapters.sql.webhooks import SqlWebhooks
from tidings.domain.connection import Connection
from tidings.domain.errors import LEASE_EXPIRED, AmbiguousError, PermanentError, Suppressed, TransientError
from tidings.domain.notification import Notification, OnAmbiguous
from tidings.domain.receipt import By, Receipt, ReceiptKind
from tidings.domain.webhook import DEFAULT_TYPES, TYPES, EndpointState
from tidings.pipeline.outcomes import ExpiredBeforeSend, Outcome
from tidings.pipeline.retry import RetrySchedule
from tidings.pipeline.settlement import Settler
from tidings.ports import Acceptance, Selection
from tidings.ports.webhooks import Only

from tests.clock import TestClock
from tests.contracts.test_webhooks import LEASE, claimed, created, hold, inserted, replay, told

PAGE = Path(__file__).parents[2] / "docs/webhooks.md"
SQL = Path(timeline.__file__).parent

WRITERS = {
    "creation": "intake",
    "settle": "settlement",
    "sweep": "the sweep",
    "receipts": "receipts",
    "cancel": "the API",
    "replay": "the API",
    "webhook_release": "the sweep",
    "webhook_replay": "the API",
}
"""By the module of `adapters.sql` that writes events."""

Act = Callable[[SqlStore, TestClock, Notification], object]


@dataclass(frozen=True, kw_only=True)
class Change:
    """`before`: what leads to it."""

    before: Act = lambda *_: None
    happens: Act


# --- the changes ------------------------------------------------------------------------------------------------------


def settled(outcome: Outcome, by: By | None = None, **changes: Any) -> Act:
    """As the pipeline settles it."""

    def settle(store: SqlStore, _clock: TestClock, row: Notification) -> None:
        claims = claimed(store, [row])
        held = replace(claims.acquired[0], **changes)
        broker: Any = None
        settler = Settler(store=store, broker=broker, retry=RetrySchedule())
        store.settle([settler.settlement_for(claims, held, outcome, provider="smtp", by=by)])

    return settle


def reported(kind: ReceiptKind, **more: Any) -> Act:
    def report(store: SqlStore, clock: TestClock, row: Notification) -> None:
        values: dict[str, Any] = {"provider": "smtp", "connection": "main", "at": clock(), "kind": kind, **more}
        store.apply_receipts([Receipt(**values, provider_message_id=row.id, event_id=f"{row.id} {kind}")])

    return report


def accepted(store: SqlStore, clock: TestClock, row: Notification) -> None:
    settled(Acceptance(provider_message_id=row.id, reports=True))(store, clock, row)


def expired(store: SqlStore, clock: TestClock, _row: Notification) -> None:
    clock.advance(seconds=10)
    store.overdue(100, LEASE)


def given_up(store: SqlStore, clock: TestClock, row: Notification) -> None:
    refusing = Connection(name="smtp", channel="email", refusing_at=clock(), error_code="535", error_message="no")
    assert store.give_up([row], refusing)


def replayed(store: SqlStore, _clock: TestClock, row: Notification) -> None:
    assert store.reset_for_replay(Selection(tenant="acme", ids=[row.id]), 10, timedelta())


REFUSED, AMBIGUOUS = PermanentError("550", "no"), AmbiguousError("timeout", "?")
held_unknown = settled(AMBIGUOUS, on_ambiguous=OnAmbiguous.HOLD)

CHANGES: Mapping[str, Change] = {
    "it is accepted: `pending`": Change(happens=lambda store, clock, _: inserted(store, clock)),
    "a worker claims it: `sending`": Change(happens=lambda store, _, row: claimed(store, [row])),
    "its provider accepts it": Change(happens=accepted),
    "refused for now, or no clear answer: it is tried again": Change(happens=settled(TransientError("451", "later"))),
    "refused for good": Change(happens=settled(REFUSED)),
    "its last attempt failed": Change(happens=settled(TransientError("451", "later"), max_attempts=1)),
    "no clear answer, and `on_ambiguous` is `hold`": Change(happens=held_unknown),
    "the provider's list has it (`reconcile`)": Change(
        happens=settled(Acceptance(provider_message_id="m", by=By.LOOKUP))
    ),
    "its recipient is suppressed": Change(happens=settled(Suppressed("opted_out", "suppressed"))),
    "claimed, and expired before a call": Change(happens=settled(ExpiredBeforeSend())),
    "its worker is lost: it is tried again": Change(
        happens=settled(AmbiguousError(LEASE_EXPIRED, "gone"), by=By.SWEEP)
    ),
    "its provider refused our account for a day": Change(happens=given_up),
    "expired while it waited": Change(
        before=lambda store, clock, _: inserted(store, clock, expires_at=clock() + timedelta(seconds=1)),
        happens=expired,
    ),
    "a receipt: delivered": Change(before=accepted, happens=reported(ReceiptKind.DELIVERED)),
    "a receipt: not delivered": Change(before=accepted, happens=reported(ReceiptKind.FAILED_HARD)),
    "the provider, when asked: delivered": Change(
        before=accepted, happens=reported(ReceiptKind.DELIVERED, by=By.LOOKUP)
    ),
    "a receipt that changes no status": Change(before=accepted, happens=reported(ReceiptKind.COMPLAINED)),
    "no receipt within 72 hours": Change(
        before=accepted, happens=lambda store, _, row: store.mark_receipts_missing([row])
    ),
    "it is canceled": Change(happens=lambda store, _, row: store.cancel("acme", row.id)),
    "an operator marks it as sent": Change(
        before=held_unknown, happens=lambda store, _, row: store.resolve("acme", row.id)
    ),
    "an operator replays it: `pending` again": Change(before=settled(REFUSED), happens=replayed),
}


# --- the table --------------------------------------------------------------------------------------------------------


def test_each_change_is_told_as_the_table_says(
    store: SqlStore, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    created(SqlWebhooks(store.database), clock, TYPES)
    writers: list[str] = []
    for module, name in ((timeline, "write"), (timeline, "write_rows"), (creation, "insert_many")):
        monkeypatch.setattr(module, name, _noting(getattr(module, name), writers))
    happened = []
    for name, change in CHANGES.items():
        (row,) = inserted(store, clock)
        change.before(store, clock, row)
        writers.clear()
        before = _events(store), _feed(store), _webhooks(store)
        change.happens(store, clock, row)
        after = _events(store), _feed(store), _webhooks(store)
        events, types, webhooks = (now[len(then) :] for then, now in zip(before, after, strict=True))
        assert webhooks == types, name  # the feed is the same
        by = " ".join(f"`{by}`" for by in events) or "-"
        writer = WRITERS[writers[0]] if writers else "-"
        happened.append((name, writer, by, " ".join(map(_shown, types)) or "nothing"))
    assert happened == _table()


def test_the_table_has_every_type_and_every_writer() -> None:
    cells = [cell for row in _table() for cell in row]
    assert [name for name in TYPES if _shown(name) not in cells] == []
    source = {file.stem: file.read_text(encoding="utf-8") for file in SQL.glob("*.py")}
    writing = {name for name, text in source.items() if re.search(r"timeline\.(write|INSERT_EVENTS)", text)}
    assert writing == set(WRITERS)
    assert [name for name, text in source.items() if re.search(r"insert\w*\(events\b", text)] == ["timeline"]
    assert {WRITERS[name] for name in writing} <= set(cells)


def test_no_change_of_a_status_webhook_is_told(store: SqlStore, clock: TestClock) -> None:
    """Whoever writes it."""
    webhooks = SqlWebhooks(store.database)
    endpoint = created(webhooks, clock, TYPES)
    inserted(store, clock, 4)
    failed, canceled, sent, held = told(store, endpoint)
    settled(REFUSED)(store, clock, failed)
    replayed(store, clock, failed)
    store.cancel("acme", canceled.id)
    accepted(store, clock, sent)
    assert replay(webhooks, endpoint, clock, Only.ALL) == (0, 2)
    hold(store, [held])
    webhooks.set_state("acme", endpoint.id, EndpointState.DELETED, "operator")
    assert webhooks.release(10) == 1
    assert len(told(store, endpoint)) == len(_feed(store)) == 4


def _table() -> Sequence[tuple[str, ...]]:
    section = PAGE.read_text(encoding="utf-8").partition("## Which events exist\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \| (.+) \| (.+) \|$", section, re.MULTILINE)
    return [tuple(row) for row in rows[1:] if not row[0].startswith("---")]


def _shown(name: str) -> str:
    return f"`{name}`" + ("" if name in DEFAULT_TYPES else ", if it is named")


def _events(store: SqlStore) -> list[str]:
    with store.database.engine.connect() as connection:
        return [*connection.exec_driver_sql("SELECT `by` FROM events ORDER BY seq").scalars()]


def _feed(store: SqlStore) -> list[str]:
    return [event["type"] for event in store.feed("acme", 0, 1000).events]


def _webhooks(store: SqlStore) -> list[str]:
    with store.database.engine.connect() as connection:
        contents = connection.exec_driver_sql("SELECT content FROM notifications WHERE channel = 'webhook'").scalars()
        return [event["type"] for event in sorted(map(json.loads, contents), key=lambda event: event["data"]["seq"])]


def _noting(work: Callable[..., Any], writers: list[str]) -> Callable[..., Any]:
    """Note the module that calls it."""

    def noted(*given: Any, **named: Any) -> Any:
        writers.append(sys._getframe(1).f_globals["__name__"].rpartition(".")[2])
        return work(*given, **named)

    return noted

"""What every Store promises of receipts: applied once, in one transaction, and never past a worker's fence."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from tidings.adapters.sql.insight import SqlInsight
from tidings.adapters.sql.store import SqlStore
from tidings.domain.errors import LEASE_EXPIRED, AmbiguousError
from tidings.domain.notification import Notification, Status, TimelineEntry
from tidings.domain.receipt import By, Receipt, ReceiptKind
from tidings.domain.timing import RECEIPTS_KEPT, SWEEP_GRACE
from tidings.ports import Claims, Selection, Settlement
from tidings.ports.receipts import Applied, Result

from tests import make
from tests.clock import TestClock

LEASE = timedelta(seconds=60)
ACCEPTED, DELIVERED = ReceiptKind.ACCEPTED, ReceiptKind.DELIVERED
SOFT, HARD = ReceiptKind.FAILED_SOFT, ReceiptKind.FAILED_HARD


def receipt(clock: TestClock, kind: ReceiptKind, sid: str = "SM1", **more: Any) -> Receipt:
    values: dict[str, Any] = {
        "provider": "twilio",
        "connection": "main",
        "event_id": f"{sid}:{kind}",
        "kind": kind,
        "at": clock(),
        "provider_message_id": sid,
    }
    return Receipt(**{**values, **more})


def marked(clock: TestClock, kind: ReceiptKind, row: Notification, sid: str = "SM1", **more: Any) -> Receipt:
    """With the id from a sealed callback address."""
    values = {"notification_id": row.id, "generation": 1, "attempt": 1}
    return receipt(clock, kind, sid, **{**values, **more})


def claimed(store: SqlStore, clock: TestClock, count: int = 1) -> Claims:
    rows = [make.notification(clock(), channel="sms") for _ in range(count)]
    store.insert(rows)
    return store.claim([make.message(row) for row in rows], LEASE)


def settle(store: SqlStore, claims: Claims, status: Status, **more: Any) -> None:
    for number, row in enumerate(claims.acquired):
        values = {"provider": "twilio", "provider_message_id": f"SM{number + 1}"} if status is Status.SENT else {}
        store.settle([Settlement(claims=claims, notification=row, status=status, **{**values, **more})])


def ambiguous(status: Status = Status.RETRYING) -> dict[str, Any]:
    delay = timedelta(seconds=1) if status is Status.RETRYING else None
    return {"status": status, "provider": "twilio", "error": AmbiguousError("timeout", "no answer"), "delay": delay}


def sent(store: SqlStore, clock: TestClock, count: int = 1) -> Sequence[Notification]:
    claims = claimed(store, clock, count)
    settle(store, claims, Status.SENT)
    return claims.acquired


def now_of(store: SqlStore, row: Notification) -> Notification:
    found = store.get(row.tenant, row.id)
    assert found is not None
    return found


def results(applied: Sequence[Applied]) -> list[Result]:
    return [item.consequence.result for item in applied]


def timeline(store: SqlStore, row: Notification) -> list[tuple[Status, str | None]]:
    return [(entry.status, entry.by) for entry in store.events(row.id)]


def statements(store: SqlStore, run: Any) -> int:
    seen: list[str] = []

    def record(_c: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool) -> None:
        seen.append(statement)

    event.listen(store.database.engine, "before_cursor_execute", record)
    run()
    event.remove(store.database.engine, "before_cursor_execute", record)
    return len(seen)


# --- applied ----------------------------------------------------------------------------------------------------------


def test_a_receipt_finds_its_row_by_the_providers_id_or_by_the_mark(store: SqlStore, clock: TestClock) -> None:
    first, second = sent(store, clock, 2)
    batch = [receipt(clock, DELIVERED, "SM1"), marked(clock, SOFT, second, "SM2", code="30003", message="unreachable")]
    assert results(store.apply_receipts(batch)) == [Result.APPLIED] * 2
    found = now_of(store, second)
    assert now_of(store, first).status is Status.DELIVERED
    assert (found.status, found.error_class, found.error_code) == (Status.UNDELIVERED, "transient", "30003")
    assert timeline(store, first) == [(Status.SENT, By.PROVIDER), (Status.DELIVERED, By.RECEIPT)]


def test_what_is_told_of_a_notification_is_as_its_row_is_afterwards(store: SqlStore, clock: TestClock) -> None:
    """Of the columns that are read."""
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    rows = [make.notification(clock(), channel="sms", traceparent=trace) for _ in range(2)]
    store.insert(rows)
    claims = store.claim([make.message(row) for row in rows], LEASE)
    settle(store, claims, **ambiguous())
    clock.advance(seconds=1)
    accepted, failed = marked(clock, ACCEPTED, rows[0]), marked(clock, SOFT, rows[1], "SM2")
    told = store.apply_receipts([accepted, failed])
    clock.advance(seconds=1)
    told = [*store.apply_receipts([marked(clock, DELIVERED, rows[0])]), told[1]]
    assert [item.consequence.delay for item in told] == [None, None]  # no answer of the provider's is known
    names = ("id", "tenant", "channel", "recipient", "traceparent", "created_at", "updated_at", "status")
    for item in told:
        assert item.notification is not None
        row = now_of(store, item.notification)
        for name in (*names, "generation", "attempt", "next_attempt_at"):
            assert getattr(item.notification, name) == getattr(row, name), name
    assert [now_of(store, row).status for row in rows] == [Status.DELIVERED, Status.RETRYING]


def test_another_providers_message_with_the_same_id_is_not_matched(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    assert results(store.apply_receipts([receipt(clock, DELIVERED, provider="other")])) == [Result.UNMATCHED]
    assert now_of(store, row).status is Status.SENT


def test_46_copies_change_nothing(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    copies = [receipt(clock, DELIVERED)] * 23
    found = [*store.apply_receipts(copies), *store.apply_receipts(copies)]
    assert results(found) == [Result.APPLIED, *[Result.DUPLICATE] * 45]
    assert len(timeline(store, row)) == 2
    clock.advance(hours=1)
    store.reset_for_replay(Selection(tenant="acme", ids=[row.id], statuses=[Status.DELIVERED]), 1, timedelta(0))
    assert now_of(store, row).status is Status.DELIVERED, "what is delivered is not replayed"


def test_copies_at_once_are_applied_once(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    found: list[Applied] = []
    threads = [
        threading.Thread(target=lambda: found.extend(store.apply_receipts([receipt(clock, DELIVERED)])))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results(found)) == [Result.APPLIED, *[Result.DUPLICATE] * 7]
    assert len(timeline(store, row)) == 2


def test_a_batch_is_applied_in_its_order_with_as_many_statements_as_one(store: SqlStore, clock: TestClock) -> None:
    rows = sent(store, clock, 31)
    one = statements(store, lambda: store.apply_receipts([receipt(clock, DELIVERED, "SM31")]))
    batch = [receipt(clock, kind, f"SM{number}") for number in range(1, 31) for kind in (SOFT, DELIVERED)]
    assert statements(store, lambda: store.apply_receipts(batch)) == one
    assert {now_of(store, row).status for row in rows} == {Status.DELIVERED}
    assert [status for status, _ in timeline(store, rows[0])] == [Status.SENT, Status.UNDELIVERED, Status.DELIVERED]


def test_a_batch_is_one_transaction(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)

    def fail(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "receipts" in statement and statement.startswith("INSERT"):
            raise KeyboardInterrupt

    event.listen(store.database.engine, "before_cursor_execute", fail)
    with pytest.raises(KeyboardInterrupt):
        store.apply_receipts([receipt(clock, DELIVERED)])
    event.remove(store.database.engine, "before_cursor_execute", fail)
    assert now_of(store, row).status is Status.SENT
    assert results(store.apply_receipts([receipt(clock, DELIVERED)])) == [Result.APPLIED], "nothing is lost"


def test_evidence_cancels_the_resend(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    settle(store, claims, **ambiguous())
    assert results(store.apply_receipts([marked(clock, ACCEPTED, row)])) == [Result.APPLIED]
    clock.advance(seconds=5)
    again = store.claim([make.message(row, attempt=1)], LEASE)
    assert (len(again.acquired), len(again.stale)) == (0, 1), "the queued message is stale"
    clock.advance(hours=1)
    assert store.overdue(10, LEASE).wake == []
    found = now_of(store, row)
    assert (found.status, found.provider_message_id, found.error_class) == (Status.SENT, "SM1", None)


def test_a_hard_failure_of_an_ambiguous_attempt_owes_a_dead_letter(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    settle(store, claims, **ambiguous())
    store.apply_receipts([marked(clock, HARD, claims.acquired[0], code="30005")])
    clock.advance(seconds=10)
    assert [row.id for row in store.overdue(10, LEASE).dead_letters_owed] == [claims.acquired[0].id]


def test_a_soft_failure_leaves_the_retry_as_it_is(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    settle(store, claims, **ambiguous())
    store.apply_receipts([marked(clock, SOFT, row, code="30003")])
    found = now_of(store, row)
    assert (found.status, found.error_class, found.next_attempt_at is None) == (Status.RETRYING, "transient", False)
    clock.advance(seconds=5)
    assert len(store.claim([make.message(row, attempt=1)], LEASE).acquired) == 1


def test_what_failed_later_is_replayed(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    store.apply_receipts([receipt(clock, HARD)])
    chosen = Selection(tenant="acme", statuses=[Status.UNDELIVERED])
    assert [found.id for found in store.reset_for_replay(chosen, 10, timedelta(0))] == [row.id]
    late = marked(clock, DELIVERED, row, event_id="late")
    assert results(store.apply_receipts([late])) == [Result.NOTHING], "a hard failure of that message stands"
    assert now_of(store, row).status is Status.PENDING


def test_a_replay_is_withdrawn(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    settle(store, claims, **ambiguous(Status.UNKNOWN))
    store.reset_for_replay(Selection(tenant="acme", statuses=[Status.UNKNOWN]), 10, timedelta(0))
    store.apply_receipts([marked(clock, DELIVERED, row)])
    assert now_of(store, row).status is Status.DELIVERED
    assert store.claim([make.message(row, generation=2, attempt=0)], LEASE).acquired == []


def test_a_recorded_receipt_counts_as_no_change(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    settle(store, claims, **ambiguous(Status.FAILED))
    assert results(store.apply_receipts([marked(clock, SOFT, row)])) == [Result.RECORDED]
    counts = SqlInsight(store.database).activity("acme", clock() - timedelta(hours=1)).counts
    assert sum(count.count for count in counts if count.what == Status.FAILED) == 1
    assert timeline(store, row)[-1] == (Status.FAILED, By.RECEIPT)


# --- before the settlement --------------------------------------------------------------------------------------------


def test_a_receipt_before_the_settlement_is_kept_and_applied_with_it(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    assert results(store.apply_receipts([marked(clock, DELIVERED, row)])) == [Result.KEPT]
    assert now_of(store, row).status is Status.SENDING, "the worker's fence holds"
    settle(store, claims, Status.SENT)
    assert now_of(store, row).status is Status.DELIVERED
    assert timeline(store, row) == [(Status.SENT, By.PROVIDER), (Status.DELIVERED, By.RECEIPT)]


def test_the_resend_of_an_ambiguous_attempt_is_cancelled_in_its_settlement(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    store.apply_receipts([marked(clock, ACCEPTED, row)])
    settle(store, claims, **ambiguous())
    assert now_of(store, row).status is Status.SENT
    clock.advance(seconds=5)
    assert store.claim([make.message(row, attempt=1)], LEASE).acquired == []


def test_the_sweep_tells_of_a_receipt_that_a_settlement_applied(store: SqlStore, clock: TestClock) -> None:
    first = claimed(store, clock)
    (row,) = first.acquired
    settle(store, first, **ambiguous())
    clock.advance(seconds=5)
    second = store.claim([make.message(row, attempt=1)], LEASE)
    store.apply_receipts([marked(clock, ACCEPTED, row, "SM9")])
    settle(store, second, Status.SENT)
    told = store.retry_receipts(10)
    assert [(item.consequence.result, item.consequence.doubled) for item in told] == [(Result.RECORDED, True)]
    assert now_of(store, row).provider_message_id == "SM1"
    clock.advance(hours=1)
    assert store.retry_receipts(10) == [], "once"


def test_receipts_of_a_lost_worker_are_found_for_the_sweep(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock, 2)
    row, other = claims.acquired
    store.apply_receipts([marked(clock, DELIVERED, row)])
    kept = store.kept_receipts([row.id, other.id])
    assert {id: [found.kind for found in several] for id, several in kept.items()} == {row.id: [DELIVERED]}


def test_a_lease_that_expires_after_the_receipt_was_looked_for_is_decided_by_it(
    store: SqlStore, clock: TestClock
) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    for seconds in (61, SWEEP_GRACE.total_seconds() + 1):
        clock.advance(seconds=seconds)
        overdue = store.overdue(10, LEASE)
    assert overdue.abandoned is not None
    store.apply_receipts([marked(clock, DELIVERED, row)])
    error = AmbiguousError(LEASE_EXPIRED, "lost")
    settle(store, overdue.abandoned, Status.RETRYING, error=error, delay=timedelta(seconds=1))
    assert now_of(store, row).status is Status.DELIVERED


# --- without a row ----------------------------------------------------------------------------------------------------


def test_a_receipt_that_comes_before_its_message_is_known_is_applied_later(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    assert results(store.apply_receipts([receipt(clock, DELIVERED)])) == [Result.UNMATCHED]
    settle(store, claims, Status.SENT)
    assert store.retry_receipts(10) == [], "not at once"
    clock.advance(seconds=6)
    assert results(store.retry_receipts(10)) == [Result.APPLIED]
    assert now_of(store, claims.acquired[0]).status is Status.DELIVERED


def test_a_receipt_for_a_deleted_row_is_kept_for_72_hours_and_dropped(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    clock.advance(hours=25)
    assert store.purge(timedelta(days=1), 10).rows == 1
    assert (
        results(store.apply_receipts([marked(clock, DELIVERED, row), receipt(clock, HARD)])) == [Result.UNMATCHED] * 2
    )
    clock.advance(hours=71)
    assert store.retry_receipts(10) == []
    clock.advance(hours=2)
    assert results(store.retry_receipts(10)) == [Result.DROPPED] * 2
    clock.advance(hours=100)
    assert store.retry_receipts(10) == []


def test_done_receipts_are_deleted_after_72_hours(store: SqlStore, clock: TestClock) -> None:
    sent(store, clock)
    store.apply_receipts([receipt(clock, DELIVERED)])
    clock.advance(hours=71)
    assert store.purge_receipts() == 0
    clock.now += RECEIPTS_KEPT
    assert store.purge_receipts() == 1


def test_long_words_of_a_vendor_are_cut(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    long = receipt(clock, SOFT, code="3ü" * 100, message="é" * 1000, event_id="x" * 128)
    assert results(store.apply_receipts([long])) == [Result.APPLIED]
    found = now_of(store, row)
    assert (len(found.error_code or ""), len(found.error_message or "")) == (64, 500)


def test_a_receipt_of_the_future_happened_now(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    store.apply_receipts([replace(receipt(clock, DELIVERED), at=clock() + timedelta(days=9))])
    entry: TimelineEntry = store.events(row.id)[-1]
    assert entry.at == clock()


def test_without_receipts_a_row_stays_sent(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    clock.advance(hours=100)
    store.retry_receipts(10)
    store.overdue(10, LEASE)
    assert now_of(store, row).status is Status.SENT, "no guess"


def test_a_release_without_the_column_writes_beside_this_one(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    with store.database.engine.begin() as connection:
        quote = connection.dialect.identifier_preparer.quote
        connection.execute(text(f"UPDATE events SET {quote('by')} = NULL"))
    assert results(store.apply_receipts([receipt(clock, DELIVERED)])) == [Result.APPLIED]
    assert timeline(store, row) == [(Status.SENT, None), (Status.DELIVERED, By.RECEIPT)]


# --- what books and proofs need ---------------------------------------------------------------------------------------


def test_a_notification_is_found_by_the_providers_id_by_its_tenant_alone(store: SqlStore, clock: TestClock) -> None:
    first, second, _ = sent(store, clock, 3)
    wanted = ["SM1", "SM2", "SM99"]
    found = store.find(Selection(tenant="acme", channel="sms", provider_message_ids=wanted), 10)
    assert {row.id for row in found} == {first.id, second.id}
    assert store.find(Selection(tenant="globex", provider_message_ids=wanted), 10) == []


def test_the_hash_of_the_report_stands_with_what_it_says_however_it_was_applied(
    store: SqlStore, clock: TestClock
) -> None:
    """At once, with the settlement of a row that was being sent, and by the sweep once it has a match."""
    (row,) = sent(store, clock)
    store.apply_receipts([receipt(clock, DELIVERED, raw_sha256="a" * 64)])
    claims = claimed(store, clock)
    kept = marked(clock, DELIVERED, claims.acquired[0], sid="SM7", raw_sha256="b" * 64)
    store.apply_receipts([kept])
    settle(store, claims, Status.SENT, provider_message_id="SM7")
    store.apply_receipts([receipt(clock, DELIVERED, sid="SM8", raw_sha256="c" * 64)])
    late = claimed(store, clock)
    settle(store, late, Status.SENT, provider_message_id="SM8")
    clock.advance(seconds=60)
    store.retry_receipts(10)
    for of, letter in ((row, "a"), (claims.acquired[0], "b"), (late.acquired[0], "c")):
        assert [entry.raw_sha256 for entry in store.events(of.id)] == [None, letter * 64]

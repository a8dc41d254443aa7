"""Receipts that suppress, and a recipient's STOP and START: alike on every database."""

import itertools
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tidings.adapters.sql.books import SqlBooks
from tidings.adapters.sql.store import SqlStore
from tidings.domain.errors import AmbiguousError
from tidings.domain.notification import Notification, Status
from tidings.domain.receipt import By, Receipt, ReceiptKind
from tidings.domain.timing import HARD_BOUNCE_LASTS
from tidings.pipeline.audit import findings_in
from tidings.pipeline.suppression import suppression
from tidings.ports import Selection, Settlement, SuppressionEntry, SuppressionSelection
from tidings.ports.receipts import Result

from tests import make
from tests.clock import TestClock
from tests.contracts.test_receipts import HARD, SOFT, ambiguous, claimed, marked, receipt, results, sent, settle

NUMBER, LEASE = "+15005550010", timedelta(seconds=60)
OUT, BACK = ReceiptKind.OPTED_OUT, ReceiptKind.OPTED_IN
numbers = itertools.count()


def said(clock: TestClock, kind: ReceiptKind, **more: Any) -> Receipt:
    """An SMS of the recipient."""
    sid = f"SMin{next(numbers)}"
    return receipt(clock, kind, sid, **{"recipient": NUMBER, **more})


def row_to(store: SqlStore, clock: TestClock, recipient: str = NUMBER, **more: Any) -> Notification:
    row = make.notification(clock(), channel="sms", recipient=recipient, **more)
    store.insert([row])
    return row


def listed(store: SqlStore, tenant: str = "acme", **chosen: Any) -> Sequence[SuppressionEntry]:
    return store.find_suppressions(SuppressionSelection(tenant=tenant, **{"in_force": True, **chosen}), 100)


def reasons(store: SqlStore, tenant: str = "acme") -> list[str]:
    return [entry.reason for entry in listed(store, tenant)]


def audited(store: SqlStore, clock: TestClock) -> list[Any]:
    found = SqlBooks(store.database).rows("acme", None, None, after=None, limit=100).rows
    return [finding for one in found for finding in findings_in(one, clock())]


def test_a_lost_attempt_that_a_receipt_decided_is_no_finding(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    store.apply_receipts([marked(clock, ReceiptKind.DELIVERED, claims.acquired[0])])
    settle(store, claims, Status.SENT, by=By.RECEIPT)  # as the sweep settles it
    assert not audited(store, clock)


# --- receipts about a message -----------------------------------------------------------------------------------------


def test_a_receipt_that_says_why_suppresses_its_recipient_in_its_transaction(store: SqlStore, clock: TestClock) -> None:
    rows = sent(store, clock, 5)
    kinds = [HARD, HARD, SOFT, ReceiptKind.COMPLAINED, OUT]
    why = ["hard_bounce", None, "hard_bounce", None, None]
    batch = [
        receipt(clock, kind, f"SM{number}", suppress=reason)
        for number, (kind, reason) in enumerate(zip(kinds, why, strict=True), start=1)
    ]
    store.apply_receipts(batch)
    found = {entry.recipient: (entry.reason, entry.source, entry.notification_id) for entry in listed(store)}
    assert found == {
        rows[0].recipient: ("hard_bounce", "receipt", rows[0].id),
        rows[3].recipient: ("complaint", "receipt", rows[3].id),
        rows[4].recipient: ("opted_out", "receipt", rows[4].id),
    }
    assert {store.get("acme", row.id).status for row in rows[3:]} == {Status.SENT}  # type: ignore[union-attr]
    assert not audited(store, clock)
    clock.now += HARD_BOUNCE_LASTS + timedelta(seconds=1)
    assert rows[0].recipient not in {entry.recipient for entry in listed(store)}


def test_a_receipt_before_the_settlement_suppresses_with_it(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    store.apply_receipts([marked(clock, HARD, row, suppress="hard_bounce", code="30005")])
    assert reasons(store) == []
    settle(store, claims, Status.SENT)
    assert [(entry.recipient, entry.reason) for entry in listed(store)] == [(row.recipient, "hard_bounce")]


def test_a_receipt_without_a_row_suppresses_once_it_finds_one(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    store.apply_receipts([receipt(clock, HARD, suppress="mailbox_unknown")])
    settle(store, claims, Status.SENT)
    clock.advance(seconds=6)
    assert results(store.retry_receipts(10)) == [Result.APPLIED]
    assert reasons(store) == ["mailbox_unknown"]


def test_a_duplicate_does_not_suppress_again_what_an_operator_removed(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    bounce = receipt(clock, HARD, suppress="hard_bounce")
    store.apply_receipts([bounce])
    assert store.remove_suppression("acme", "sms", row.recipient, "", "ops")
    assert results(store.apply_receipts([bounce])) == [Result.DUPLICATE]
    assert reasons(store) == []


def test_a_recorded_receipt_of_a_replay_that_waits_is_no_finding(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    settle(store, claims, **ambiguous(Status.UNKNOWN))
    store.reset_for_replay(Selection(tenant="acme", statuses=[Status.UNKNOWN]), 10, timedelta(0))
    assert results(store.apply_receipts([marked(clock, HARD, row)])) == [Result.RECORDED]
    assert not audited(store, clock)


# --- STOP and START ---------------------------------------------------------------------------------------------------


def test_a_stop_counts_for_every_tenant_that_sent_to_the_number_and_for_no_other(
    store: SqlStore, clock: TestClock
) -> None:
    row_to(store, clock)
    row_to(store, clock, tenant="globex")
    row_to(store, clock, "+15005550011", tenant="initech")
    applied = store.apply_receipts([said(clock, OUT)])
    assert results(applied) == [Result.APPLIED]
    assert {tenant: reasons(store, tenant) for tenant in ("acme", "globex", "initech")} == {
        "acme": ["opted_out"],
        "globex": ["opted_out"],
        "initech": [],
    }
    row = row_to(store, clock)
    [suppressed] = store.claim([make.message(row)], LEASE).suppressed[row.id].values()
    assert suppressed.reason == "opted_out"


def test_start_ends_the_opt_out_of_every_tenant_and_nothing_else(store: SqlStore, clock: TestClock) -> None:
    row_to(store, clock)
    row_to(store, clock, tenant="globex")
    store.add_suppressions("globex", "sms", [suppression(NUMBER, "manual", source="operator")])
    store.apply_receipts([said(clock, OUT)])
    clock.advance(minutes=5)
    assert results(store.apply_receipts([said(clock, BACK)])) == [Result.APPLIED]
    assert (reasons(store), reasons(store, "globex")) == ([], ["manual"])
    assert [entry.removed_by for entry in listed(store, in_force=None)] == ["receipt"]


@pytest.mark.parametrize("last", [OUT, BACK])
def test_the_later_word_counts_in_whatever_order_they_come(
    store: SqlStore, clock: TestClock, last: ReceiptKind
) -> None:
    row_to(store, clock)
    words = []
    for kind in (OUT, BACK, OUT) if last is OUT else (OUT, BACK):
        words.append(said(clock, kind))
        clock.advance(hours=1)
    shuffled = random.Random(7)
    for _ in range(6):
        copies = [Receipt(**{**_fields(one), "event_id": f"{next(numbers)}"}) for one in words]
        shuffled.shuffle(copies)
        for batch in [[one] for one in copies] if shuffled.random() < 0.5 else [copies]:
            store.apply_receipts(batch)
        assert reasons(store) == (["opted_out"] if last is OUT else []), [one.kind for one in copies]


def _fields(one: Receipt) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Receipt.__dataclass_fields__}


def test_a_stop_that_found_nobody_is_tried_again_and_a_start_meanwhile_counts(
    store: SqlStore, clock: TestClock
) -> None:
    first, second = said(clock, OUT), said(clock, OUT, recipient="+15005550011")
    assert results(store.apply_receipts([first, second])) == [Result.UNMATCHED] * 2
    row_to(store, clock)
    row_to(store, clock, "+15005550011")
    clock.advance(seconds=6)
    store.apply_receipts([said(clock, BACK)])
    assert sorted(results(store.retry_receipts(10))) == [Result.APPLIED, Result.NOTHING]
    assert [entry.recipient for entry in listed(store)] == ["+15005550011"]


def test_a_refusal_after_a_start_does_not_bring_the_opt_out_back(store: SqlStore, clock: TestClock) -> None:
    """Its receipt waited for the settlement."""
    row = row_to(store, clock)
    claims = store.claim([make.message(row)], LEASE)
    store.apply_receipts([marked(clock, HARD, row, suppress="opted_out", code="21610")])
    clock.advance(seconds=5)
    store.apply_receipts([said(clock, BACK)])
    error = AmbiguousError("timeout", "no answer")
    store.settle(
        [Settlement(claims=claims, notification=claims.acquired[0], status=Status.UNKNOWN, error=error)],
    )
    assert reasons(store) == []


def test_many_words_at_once_each_find_their_tenants(
    store: SqlStore, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.adapters.sql.opt_outs.LOOK_UPS", 4)
    others = [f"+1500555{number:04}" for number in range(20, 30)]
    for number, recipient in enumerate(others):
        row_to(store, clock, recipient, tenant=f"tenant-{number % 3}")
    store.apply_receipts([said(clock, OUT, recipient=recipient) for recipient in [*others, NUMBER]])
    found = {
        entry.recipient: tenant for tenant in ("tenant-0", "tenant-1", "tenant-2") for entry in listed(store, tenant)
    }
    assert found == {recipient: f"tenant-{number % 3}" for number, recipient in enumerate(others)}


def test_46_copies_of_a_stop_are_one_entry(store: SqlStore, clock: TestClock) -> None:
    row_to(store, clock)
    word = said(clock, OUT)
    found = [*store.apply_receipts([word] * 23), *store.apply_receipts([word] * 23)]
    assert results(found) == [Result.APPLIED, *[Result.DUPLICATE] * 45]
    assert reasons(store) == ["opted_out"]

"""Sent, and no receipt in time: which rows are due to be asked for, and what the retention leaves."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from tidings.adapters.sql.store import SqlStore
from tidings.api.responses import to_response
from tidings.domain.notification import Notification, Status
from tidings.domain.receipt import By, Receipt, ReceiptKind
from tidings.domain.timing import LOOKUP_RETRIES, LOOKUPS, LOOKUPS_PER_MESSAGE, RECEIPT_WINDOW
from tidings.pipeline.missing_receipts import MissingReceipts
from tidings.ports import Selection, Settlement
from tidings.ports.receipts import LookupFailed

from tests.clock import TestClock
from tests.contracts.test_opt_outs import audited
from tests.contracts.test_receipts import (
    DELIVERED,
    HARD,
    SOFT,
    ambiguous,
    claimed,
    marked,
    now_of,
    receipt,
    settle,
    timeline,
)


def sent(store: SqlStore, clock: TestClock, count: int = 1, *, reports: bool = True) -> Sequence[Notification]:
    """Settled together, as SM1, SM2 ..."""
    claims = claimed(store, clock, count)
    accepted: dict[str, Any] = {"status": Status.SENT, "provider": "twilio", "reports": reports}
    store.settle(
        [
            Settlement(claims=claims, notification=row, provider_message_id=f"SM{number}", **accepted)
            for number, row in enumerate(claims.acquired, start=1)
        ]
    )
    return claims.acquired


class Vendor:
    """ReceiptLookup."""

    provider = "twilio"

    def __init__(self, **answers: ReceiptKind | None) -> None:
        self.answers, self.asked, self.down = answers, list[str](), False

    def report(self, message_id: str, at: datetime) -> Receipt | None:
        self.asked.append(message_id)
        if self.down:
            raise LookupFailed("no answer")
        kind = self.answers.get(message_id)
        values: dict[str, Any] = {"provider": "twilio", "connection": "main", "at": at, "by": By.LOOKUP}
        event = f"lookup:{message_id}:{kind}"
        return Receipt(**values, event_id=event, kind=kind, provider_message_id=message_id) if kind else None


def ask(store: SqlStore, vendor: Vendor | None) -> None:
    """As a sweep does."""
    store.stop_waiting(100)
    MissingReceipts(store=store, lookups={"twilio": vendor} if vendor is not None else {}).ask()


def test_a_slow_provider_does_not_keep_the_sweep(
    store: SqlStore, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that runs out of time leaves the remaining questions to the next sweep."""
    sent(store, clock, 3)
    clock.advance(seconds=RECEIPT_WINDOW.total_seconds() + 1)
    vendor = Vendor(SM1=DELIVERED, SM2=DELIVERED, SM3=DELIVERED)
    with monkeypatch.context() as patched:
        patched.setattr("tidings.pipeline.missing_receipts.LOOKUPS_FOR", timedelta(0))
        ask(store, vendor)
    assert vendor.asked == []
    ask(store, vendor)
    assert sorted(vendor.asked) == ["SM1", "SM2", "SM3"]


def test_after_72_hours_the_provider_is_asked_and_its_answer_is_a_receipt_by_lookup(
    store: SqlStore, clock: TestClock
) -> None:
    delivered, failed, open_ = sent(store, clock, 3)
    vendor = Vendor(SM1=DELIVERED, SM2=HARD)
    clock.now += RECEIPT_WINDOW - timedelta(seconds=1)
    ask(store, vendor)
    assert vendor.asked == [], "not before"
    clock.advance(seconds=2)
    ask(store, vendor)
    assert sorted(vendor.asked) == ["SM1", "SM2", "SM3"]
    assert timeline(store, delivered)[-1] == (Status.DELIVERED, By.LOOKUP)
    assert now_of(store, failed).status is Status.UNDELIVERED
    still = now_of(store, open_)
    assert (still.status, to_response(still).receipt) == (Status.SENT, "missing"), "never a guess"
    assert not audited(store, clock)
    clock.advance(days=30)
    ask(store, vendor)
    assert len(vendor.asked) == 3, "once"


def test_who_was_not_asked_to_report_or_has_reported_is_not_asked(store: SqlStore, clock: TestClock) -> None:
    (never,) = sent(store, clock, reports=False)
    (told,) = sent(store, clock)
    store.apply_receipts([marked(clock, DELIVERED, told)])
    clock.now += RECEIPT_WINDOW * 2
    assert store.receipts_due(10) == []
    assert to_response(now_of(store, never)).receipt is None


def test_any_number_of_reported_ones_is_forgotten_beside_those_to_ask_about(store: SqlStore, clock: TestClock) -> None:
    """A sweep asks about 20 messages at most, and far more are sent between two sweeps."""
    rows = sent(store, clock, LOOKUPS + 5)
    store.apply_receipts([receipt(clock, DELIVERED, f"SM{number}") for number in range(1, len(rows))])
    assert store.stop_waiting(100) == 0, "not before"
    clock.now += RECEIPT_WINDOW * 2
    assert store.stop_waiting(LOOKUPS) == LOOKUPS
    assert store.stop_waiting(100) == 4
    assert store.stop_waiting(100) == 0
    assert [row.id for row in store.receipts_due(10)] == [rows[-1].id]


def test_what_a_receipt_made_sent_is_awaited_too(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    settle(store, claims, **ambiguous())
    store.apply_receipts([marked(clock, ReceiptKind.ACCEPTED, row)])
    clock.now += RECEIPT_WINDOW + timedelta(seconds=1)
    assert [due.id for due in store.receipts_due(10)] == [row.id]


def test_without_a_way_to_ask_the_receipt_is_missing_and_a_late_one_still_counts(
    store: SqlStore, clock: TestClock
) -> None:
    (row,) = sent(store, clock)
    clock.now += RECEIPT_WINDOW + timedelta(seconds=1)
    ask(store, None)
    assert now_of(store, row).receipt == "missing"
    store.apply_receipts([receipt(clock, DELIVERED)])
    found = now_of(store, row)
    assert (found.status, found.receipt) == (Status.DELIVERED, None)


def test_a_provider_that_is_down_is_asked_once_a_sweep_and_later_again(store: SqlStore, clock: TestClock) -> None:
    rows = sent(store, clock, 3)
    vendor = Vendor(SM1=DELIVERED, SM2=DELIVERED, SM3=DELIVERED)
    vendor.down = True
    clock.now += RECEIPT_WINDOW + timedelta(seconds=1)
    ask(store, vendor)
    ask(store, vendor)
    assert len(vendor.asked) == 1
    assert {now_of(store, row).receipt for row in rows} == {None}
    vendor.down = False
    clock.now += LOOKUP_RETRIES[0] + timedelta(seconds=1)
    ask(store, vendor)
    assert {now_of(store, row).status for row in rows} == {Status.DELIVERED}


def test_a_provider_that_stays_down_is_given_up_without_a_guess(store: SqlStore, clock: TestClock) -> None:
    (row,) = sent(store, clock)
    vendor = Vendor()
    vendor.down = True
    clock.now += RECEIPT_WINDOW
    for _ in range(LOOKUPS_PER_MESSAGE + 3):
        clock.now += LOOKUP_RETRIES[-1] + timedelta(seconds=1)
        ask(store, vendor)
    assert len(vendor.asked) == LOOKUPS_PER_MESSAGE
    assert (now_of(store, row).status, now_of(store, row).receipt) == (Status.SENT, "missing")


def test_those_that_are_given_up_do_not_keep_others_from_being_asked_about(store: SqlStore, clock: TestClock) -> None:
    early = sent(store, clock, 3)
    vendor = Vendor()
    vendor.down = True
    clock.now += RECEIPT_WINDOW
    for _ in range(LOOKUPS_PER_MESSAGE):
        clock.now += LOOKUP_RETRIES[-1] + timedelta(seconds=1)
        ask(store, vendor)
    (late,) = sent(store, clock)
    clock.now += RECEIPT_WINDOW + timedelta(seconds=1)
    vendor.down, vendor.asked = False, []
    ask(store, vendor)
    assert len(vendor.asked) == 1
    assert {now_of(store, row).receipt for row in (*early, late)} == {"missing"}


def test_a_sweep_asks_a_few_and_two_sweeps_ask_for_different_ones(store: SqlStore, clock: TestClock) -> None:
    sent(store, clock, LOOKUPS + 5)
    clock.now += RECEIPT_WINDOW + timedelta(seconds=1)
    first, second = store.receipts_due(LOOKUPS), store.receipts_due(LOOKUPS)
    assert (len(first), len(second)) == (LOOKUPS, 5)
    assert not {row.id for row in first} & {row.id for row in second}


# --- the retention ----------------------------------------------------------------------------------------------------


def test_undelivered_is_kept_until_its_receipts_have_come(store: SqlStore, clock: TestClock) -> None:
    failed, delivered = sent(store, clock, 2)
    store.apply_receipts([receipt(clock, SOFT, "SM1"), receipt(clock, DELIVERED, "SM2")])
    clock.advance(hours=25)
    assert store.purge(timedelta(days=1), 10).rows == 1
    assert store.get("acme", delivered.id) is None
    assert now_of(store, failed).status is Status.UNDELIVERED, "it may still be delivered"
    clock.advance(hours=48)
    assert store.purge(timedelta(days=1), 10).rows == 1
    clock.advance(hours=100)
    assert store.receipts_due(10) == []


# --- what may have been sent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SOFT, HARD])
def test_proof_that_every_ambiguous_attempt_failed_ends_the_doubt(
    store: SqlStore, clock: TestClock, kind: ReceiptKind
) -> None:
    claims = claimed(store, clock)
    (row,) = claims.acquired
    settle(store, claims, **ambiguous(Status.FAILED))

    def doubts() -> tuple[bool, bool | None, bool | None, int]:
        found = store.get_with_timeline("acme", row.id)
        assert found is not None
        view = to_response(*found)
        assert view.events is not None
        counted = store.count_doubtful(Selection(tenant="acme"), 10)
        doubtful = row.id in store.may_have_been_sent([row.id])
        return doubtful, view.may_have_been_sent, view.events[-1].may_have_been_sent, counted

    assert doubts() == (True, True, True, 1)
    store.apply_receipts([marked(clock, ReceiptKind.COMPLAINED, row)])
    assert doubts() == (True, True, True, 1)
    store.apply_receipts([marked(clock, kind, row)])
    assert doubts() == (False, None, None, 0)


def test_one_of_two_ambiguous_attempts_that_failed_leaves_the_doubt(store: SqlStore, clock: TestClock) -> None:
    from tests import make

    first = claimed(store, clock)
    (row,) = first.acquired
    settle(store, first, **ambiguous())
    clock.advance(seconds=5)
    second = store.claim([make.message(row, attempt=1)], timedelta(seconds=60))
    settle(store, second, **ambiguous(Status.FAILED))
    store.apply_receipts([marked(clock, SOFT, row)])
    assert store.may_have_been_sent([row.id]) == {row.id}
    store.apply_receipts([marked(clock, SOFT, row, "SM2", attempt=2)])
    assert not store.may_have_been_sent([row.id])

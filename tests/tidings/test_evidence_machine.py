"""Receipts and suppressions among all that happens: a Hypothesis state machine beside test_state_machine.py.

Its parts are the same (simulation.py). What a receipt may change breaks what the other machine asserts of ends, so this
one has promises of its own: after each step the audit finds nothing, what a receipt has proven accepted is not sent
again in its generation, a suppressed recipient is not called, and the later of STOP and START counts. In the end every
row has ended.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from tidings.adapters.embedded import EmbeddedBroker
from tidings.adapters.sql.books import SqlBooks
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.domain.notification import REPLAYABLE, Status
from tidings.domain.receipt import Receipt, ReceiptKind
from tidings.domain.timing import RECEIPT_WINDOW, RECEIPTS_KEPT, VISIBILITY
from tidings.migrate import migrate
from tidings.pipeline.audit import findings_in
from tidings.pipeline.receipts import Receipts
from tidings.ports import SuppressionSelection
from tidings.ports.receipts import Applied

from tests.clock import TestClock
from tests.tidings.actors import TENANT, Call, WeakStore
from tests.tidings.conftest import MIGRATIONS
from tests.tidings.promises import MOVING
from tests.tidings.simulation import START, WORK, Ground, Simulation, letter_of
from tests.tidings.strategies import DRAFTS, PICKED, TURNS, Draft, Turn

ADA = "ada@example.com"  # of half of the drafts
OUT, BACK = ReceiptKind.OPTED_OUT, ReceiptKind.OPTED_IN
KINDS = st.sampled_from([kind for kind in ReceiptKind if kind not in (OUT, BACK)])


class Evidence(Simulation, RuleBasedStateMachine):
    """A few notifications, what their vendor reports of them, and what their recipients want."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self.receipts = Receipts(store=self.store)
        self.reports = 0
        self.proven: dict[tuple[str, int], int] = {}  # the calls of a generation, when its acceptance was proven
        self.word: ReceiptKind | None = None  # Ada's last one
        self.said_at = self.clock()
        self.found = False  # there was a notification to her when she said it

    # --- rules --------------------------------------------------------------------------------------------------------

    @initialize(draft=DRAFTS, count=st.integers(1, 3))
    def begin(self, draft: Draft, count: int) -> None:
        self._accepted(replace(draft, send_in=None), count, None, None)

    @precondition(lambda self: self._moving() < 4)
    @rule(draft=DRAFTS)
    def accept(self, draft: Draft) -> None:
        self._accepted(draft, 1, None, None)

    @rule(turn=TURNS)
    def deliver(self, turn: Turn) -> None:
        before, suppressed = self._counts(), self._suppressed()
        moving = sorted(id for id, row in self._rows().items() if row.status in MOVING)
        self._attempted(self._wake_ups(moving), turn)
        rows = self._rows()
        called = {rows[id].recipient for id, count in self._counts().items() if count > before[id]}
        assert not called & suppressed, "a suppressed recipient was called"

    @precondition(lambda self: self.vendor.calls)
    @rule(picked=st.integers(0, 9), kind=KINDS, marked=st.booleans(), copies=st.integers(1, 3), gone=st.booleans())
    def report(self, picked: int, kind: ReceiptKind, marked: bool, copies: int, gone: bool) -> None:
        """About any message that arrived, in any order; with a mark or by its id."""
        arrived = [call for call in self.vendor.books() if call.arrived]
        if arrived:
            receipt = self._receipt(arrived[picked % len(arrived)], kind, marked, gone)
            for item in self.receipts.record([receipt] * copies):
                self._note(item)

    @precondition(lambda self: self.ids)
    @rule(kind=st.sampled_from([OUT, BACK]), late=st.booleans())
    def say(self, kind: ReceiptKind, late: bool) -> None:
        """Ada says STOP or START. A late word is older than the last one, which is known for 72 hours."""
        late = late and self.word is not None and self.clock() - self.said_at < RECEIPTS_KEPT
        at = self.said_at - timedelta(hours=1) if late else self.clock()
        self.receipts.record([self._made(kind, f"SMS{self.reports}", at=at, recipient=ADA)])
        if not late:
            self.said_at = at
            self.word, self.found = kind, any(row.recipient == ADA for row in self._rows().values())
            self.clock.advance(seconds=1)
        entries = self.store.find_suppressions(SuppressionSelection(tenant=TENANT, recipients=[ADA], in_force=True), 9)
        if self.word is BACK:
            assert "opted_out" not in {entry.reason for entry in entries}, "START was the last word"
        elif self.found:  # else it is tried again by the sweep
            assert entries, "STOP was the last word"

    @precondition(lambda self: any(self.seen[status] for status in REPLAYABLE))
    @rule(picked=PICKED)
    def replay(self, picked: list[int]) -> None:
        self._alive(lambda: self._replayed(self._some(picked)))

    @rule(after=st.sampled_from([0, 6, 70, 700]))
    def sweep(self, after: float) -> None:
        self.clock.advance(seconds=after)
        self._swept()

    @rule()
    def sweep_after_the_window(self) -> None:
        self.clock.now += RECEIPT_WINDOW
        self._swept()

    # --- what holds after every step ----------------------------------------------------------------------------------

    @invariant()
    def the_promises_hold(self) -> None:
        audited = SqlBooks(self.store.database).rows(TENANT, None, None, after=None, limit=1000).rows
        found = [finding for one in audited for finding in findings_in(one, START)]
        assert not found, found
        for (id, generation), calls in self.proven.items():
            made = sum(call.generation == generation for call in self.vendor.calls[id])
            assert made == calls, "sent again after a receipt had proven its acceptance"
        self.seen = Counter(row.status for row in self._rows().values())

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:
            return
        for _ in range(40):
            self.clock.now += VISIBILITY
            self._swept()
            consumer = self.broker.consume(WORK)
            while received := consumer.receive(50, timedelta(0)):
                self._delivered([letter_of(item) for item in received])
                consumer.acknowledge(received)
            self.the_promises_hold()
            if not any(row.status in MOVING for row in self._rows().values()):
                return
        raise AssertionError("not ended")

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _receipt(self, call: Call, kind: ReceiptKind, marked: bool, gone: bool) -> Receipt:
        about: dict[str, Any] = {"provider_message_id": call.receipt}
        if marked:
            about |= {"notification_id": call.id, "generation": call.generation, "attempt": call.attempt}
        return self._made(kind, f"{call.receipt}", suppress="hard_bounce" if gone else None, **about)

    def _made(self, kind: ReceiptKind, name: str, **more: Any) -> Receipt:
        self.reports += 1
        values = {"provider": "vendor", "connection": "main", "at": self.clock(), "kind": kind, **more}
        return Receipt(event_id=f"{name}:{kind}:{self.reports}", **values)

    def _note(self, item: Applied) -> None:
        row = item.notification
        if row is not None and item.consequence.status in (Status.SENT, Status.DELIVERED):
            made = [call for call in self.vendor.calls[row.id] if call.generation == row.generation]
            self.proven[row.id, row.generation] = len(made)

    def _counts(self) -> Counter[str]:
        return Counter({id: len(calls) for id, calls in self.vendor.calls.items()})

    def _suppressed(self) -> set[str]:
        found = self.store.find_suppressions(SuppressionSelection(tenant=TENANT, in_force=True), 100)
        # Under `reconcile` too: the vendor is asked first, and never called.
        return {entry.recipient for entry in found if entry.expires_at is None}  # others may end meanwhile


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    given = DatabaseSettings(database_url=f"sqlite:///{tmp_path}/tidings.db")
    migrate(given, MIGRATIONS)
    clock = TestClock()
    store, broker = WeakStore(Database(given, clock=clock)), EmbeddedBroker(Database(given, clock=clock))
    yield Ground(clock, store, broker, monkeypatch)
    broker.close()
    store.close()


@pytest.mark.slow
def test_whatever_is_reported_the_promises_hold(ground: Ground, nightly: bool) -> None:
    run_machine(
        lambda: Evidence(ground),  # type: ignore[arg-type]  # any factory will do
        settings=settings(
            max_examples=60 if nightly else 3,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

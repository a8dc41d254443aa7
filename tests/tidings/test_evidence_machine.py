"""Receipts, suppressions and webhooks among all that happens: a Hypothesis state machine beside test_state_machine.py.

Its parts are the same (simulation.py, told.py). What a receipt may change breaks what the other machine asserts of
ends, so this one has promises of its own. After each step the audit finds nothing; what a receipt has proven accepted
is not sent again in its generation; a suppressed recipient is not called; the later of STOP and START counts; no event
tells less than the one before it; the feed has each event once, and each endpoint one webhook for each event that it
must be told. In the end every row has ended, and every webhook has arrived.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from tidings.adapters.embedded import EmbeddedBroker
from tidings.adapters.sql.books import SqlBooks
from tidings.adapters.sql.database import Database
from tidings.domain.notification import REPLAYABLE, Notification, Status
from tidings.domain.receipt import PROOF_OF_ACCEPTANCE, Receipt, ReceiptKind
from tidings.domain.timing import RECEIPT_WINDOW, RECEIPTS_KEPT, VISIBILITY
from tidings.domain.webhook import DEFAULT_TYPES, HELD, TYPES, EndpointState
from tidings.messaging import topology
from tidings.messaging.envelope import IncomingMessage
from tidings.pipeline.audit import findings_in
from tidings.pipeline.receipts import Receipts
from tidings.pipeline.suppression import Reason, suppression
from tidings.ports import Provider, SuppressionSelection
from tidings.ports.receipts import Applied, Result
from tidings.ports.webhooks import Only

from tests import make
from tests.clock import TestClock
from tests.migrated import migrated
from tests.tidings.actors import TENANT, Call, WeakStore
from tests.tidings.promises import MOVING
from tests.tidings.simulation import START, Ground, Simulation, letter_of
from tests.tidings.strategies import DRAFTS, PICKED, STEPS, TURNS, Draft, Turn
from tests.tidings.told import ANSWERS, Told, types_of

ADA = "ada@example.com"  # of half of the drafts
OUT, BACK = ReceiptKind.OPTED_OUT, ReceiptKind.OPTED_IN
KINDS = st.sampled_from([kind for kind in ReceiptKind if kind not in (OUT, BACK)])
REASONS = [Reason.MANUAL, Reason.COMPLAINT, Reason.HARD_BOUNCE]
CHANGES = [EndpointState.DISABLED, EndpointState.ENABLED, EndpointState.DELETED]
LISTENERS = [TYPES, DEFAULT_TYPES, types_of(Status.DELIVERED, Status.UNDELIVERED, Status.PENDING)]
WEBHOOKS = topology.work_queues("webhook")


class Evidence(Simulation, RuleBasedStateMachine):
    """A few notifications, what their vendor reports of them, and what their recipients want."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self.told = Told(ground.store, ground.clock, self.reached, ground.monkeypatch)
        self.sweeper = replace(self.sweeper, webhooks=self.told.webhooks)
        self.receipts = Receipts(store=self.store)
        self.reports = 0
        self.reported: list[tuple[Receipt, datetime]] = []
        self.meanwhile: tuple[ReceiptKind, bool] | None = None  # what is reported during a delivery
        self.proven: dict[tuple[str, int], int] = {}  # the calls of a generation, when its acceptance was proven
        self.word: ReceiptKind | None = None  # Ada's last one
        self.said_at = self.clock()
        self.found = False  # there was a notification to her when she said it

    # --- rules --------------------------------------------------------------------------------------------------------

    @initialize(draft=DRAFTS, count=st.integers(1, 3), listens=st.booleans())
    def begin(self, draft: Draft, count: int, listens: bool) -> None:
        if listens:
            self.told.create(TYPES)
        self._accepted(replace(draft, send_in=None), count, None, None)

    @precondition(lambda self: self._moving() < 4)
    @rule(
        draft=DRAFTS,
        ignoring=st.sampled_from([None, None, True]),
        category=st.sampled_from([None, "news"]),
        critical=st.sampled_from([None, None, True]),
    )
    def accept(self, draft: Draft, ignoring: bool | None, category: str | None, critical: bool | None) -> None:
        made = replace(draft, ignore_suppression=ignoring, category=category, critical=critical)
        self._accepted(made, 1, None, None)

    @rule(
        turn=TURNS,
        at=st.sampled_from([*[None] * len(STEPS), *STEPS]),
        kind=KINDS,
        marked=st.booleans(),
        after=st.sampled_from([0, 10, 200]),
    )
    def deliver(self, turn: Turn, at: str | None, kind: ReceiptKind, marked: bool, after: int) -> None:
        """`at`: the vendor reports at this step, before the attempt is settled or while it is."""
        self.clock.advance(seconds=after)
        if at is not None:
            turn, self.meanwhile = replace(turn, step=at), (kind, marked)
        moving = sorted(id for id, row in self._rows().items() if row.status in MOVING)
        self._attempted(self._wake_ups(moving), turn)
        self.meanwhile = None

    @precondition(lambda self: self.vendor.calls)
    @rule(picked=st.integers(0, 9), kind=KINDS, marked=st.booleans(), copies=st.integers(1, 3), gone=st.booleans())
    def report(self, picked: int, kind: ReceiptKind, marked: bool, copies: int, gone: bool) -> None:
        """About any message that arrived, in any order; with a mark or by its id."""
        arrived = [call for call in self.vendor.books() if call.arrived]
        if arrived:
            receipt = self._receipt(arrived[picked % len(arrived)], kind, marked, gone)
            for item in self.receipts.record([receipt] * copies):
                self._note(item)

    @precondition(lambda self: self.reported)
    @rule(picked=st.integers(0, 20))
    def report_again(self, picked: int) -> None:
        """A copy, however late."""
        receipt, at = self.reported[picked % len(self.reported)]
        before = self._rows()
        (applied,) = self.receipts.record([receipt])
        if self.clock() - at < RECEIPTS_KEPT:
            assert applied.consequence.result is Result.DUPLICATE
            assert self._rows() == before, "a copy of a receipt changed something"

    @rule(kind=KINDS)
    def report_of_nothing(self, kind: ReceiptKind) -> None:
        """Nobody knows the message, now and later."""
        (applied,) = self.receipts.record([self._made(kind, "stranger", provider_message_id=f"no{self.reports}")])
        assert applied.consequence.result is Result.UNMATCHED

    @precondition(lambda self: self.ids)
    @rule(
        picked=st.integers(0, 5),
        reason=st.sampled_from(REASONS),
        scope=st.sampled_from(["", "", "news"]),
        removed=st.booleans(),
    )
    def suppress(self, picked: int, reason: Reason, scope: str, removed: bool) -> None:
        """By an operator, while they wait, are retried or are scheduled; or the entry is removed."""
        recipient = self._some_that_move(picked).recipient
        if not removed:
            added = suppression(recipient, reason, source="operator", scope=scope)
            self.store.add_suppressions(TENANT, "email", [added])
            return
        removed = self.store.remove_suppression(TENANT, "email", recipient, scope, "operator")
        if removed and (recipient, scope) == (ADA, ""):
            self.word, self.found = None, False

    @precondition(lambda self: self.ids)
    @rule(picked=st.integers(0, 5))
    def cancel(self, picked: int) -> None:
        self._canceled(self._some([picked])[0])

    @precondition(lambda self: self.seen[Status.UNKNOWN])
    @rule()
    def resolve(self) -> None:
        """An operator says that it was sent."""
        for id, row in self._rows().items():
            if row.status is Status.UNKNOWN:
                self.store.resolve(TENANT, id)

    # --- rules: endpoints ---------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.told.alive) < 2)
    @rule(types=st.sampled_from(LISTENERS))
    def create_endpoint(self, types: list[str]) -> None:
        self.told.create(types)

    @precondition(lambda self: self.told.alive)
    @rule(picked=st.integers(0, 1), to=st.sampled_from(CHANGES), later=st.sampled_from([0, 2]))
    def change_endpoint(self, picked: int, to: EndpointState, later: int) -> None:
        self.told.change(self.told.alive[picked % len(self.told.alive)], to)
        self.clock.advance(seconds=later)

    @precondition(lambda self: self.told.alive)
    @rule(picked=st.integers(0, 1), only=st.sampled_from(Only))
    def replay_webhooks(self, picked: int, only: Only) -> None:
        self.told.replay(self.told.alive[picked % len(self.told.alive)], only)

    @precondition(lambda self: self.told.listeners)
    @rule(
        answers=st.lists(st.sampled_from([*ANSWERS]), max_size=4),
        turn=TURNS,
        after=st.sampled_from([0, 0, 70, 4000, 25000]),
    )
    def deliver_webhooks(self, answers: list[str], turn: Turn, after: int) -> None:
        self.clock.advance(seconds=after)
        self.told.answers = answers
        self._attempted(self._webhooks(), turn, self.told.provider)
        self.told.answers = []

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
        hers = SuppressionSelection(tenant=TENANT, recipients=[ADA], scope="", in_force=True)
        entries = self.store.find_suppressions(hers, 9)
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
        rows = self._rows()
        self.seen = Counter(row.status for row in rows.values())
        self.told.hold(rows)

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:
            return
        for listener in self.told.alive:
            self.told.change(listener, EndpointState.ENABLED)
        for _ in range(40):
            self.clock.now += VISIBILITY
            self._swept()
            self._drain("email", None)
            self._drain("webhook", self.told.provider)
            self.the_promises_hold()
            waiting = self.told.waiting()
            if not waiting and not any(row.status in MOVING for row in self._rows().values()):
                break
            due = [row.next_attempt_at for row in waiting if row.next_attempt_at not in (None, HELD)]
            self.clock.now = max([self.clock.now, *due[:1]])
        else:
            raise AssertionError(f"not ended: {self.told.waiting()}")
        for listener in self.told.alive:
            assert listener.taken >= listener.due, f"events that did not arrive: {listener.due - listener.taken}"

    def _drain(self, channel: str, provider: Provider | None) -> None:
        consumer = self.broker.consume(topology.work_queues(channel))
        while received := consumer.receive(50, timedelta(0)):
            self._delivered([letter_of(item, channel) for item in received], provider)
            consumer.acknowledge(received)

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _receipt(self, call: Call, kind: ReceiptKind, marked: bool, gone: bool) -> Receipt:
        about: dict[str, Any] = {"provider_message_id": call.receipt}
        if marked:
            about |= {"notification_id": call.id, "generation": call.generation, "attempt": call.attempt}
        return self._made(kind, f"{call.receipt}", suppress="hard_bounce" if gone else None, **about)

    def _made(self, kind: ReceiptKind, name: str, **more: Any) -> Receipt:
        self.reports += 1
        values = {"provider": "vendor", "connection": "main", "at": self.clock(), "kind": kind, **more}
        receipt = Receipt(event_id=f"{name}:{kind}:{self.reports}", **values)
        self.reported.append((receipt, self.clock()))
        return receipt

    def _note(self, item: Applied) -> None:
        """An acceptance is proven if it decides, or will when the attempt that it names is settled."""
        row, receipt = item.notification, item.receipt
        if row is None:
            return
        kept = item.consequence.result is Result.KEPT and receipt.kind in PROOF_OF_ACCEPTANCE
        of_this_attempt = (receipt.generation, receipt.attempt) == (row.generation, row.attempt)
        if item.consequence.status in (Status.SENT, Status.DELIVERED) or (kept and of_this_attempt):
            made = [call for call in self.vendor.calls[row.id] if call.generation == row.generation]
            self.proven[row.id, row.generation] = len(made)

    def _strike(self, kind: str) -> None:
        if self.meanwhile is None:
            super()._strike(kind)
            return
        told, marked = self.meanwhile
        for call in [call for call in self.vendor.books() if call.arrived][-1:]:
            for item in self.receipts.record([self._receipt(call, told, marked, gone=False)]):
                self._note(item)

    def _delivered(self, batch: Sequence[IncomingMessage], provider: Provider | None = None) -> None:
        before, suppressed = self._counts(), self._suppressed()
        try:
            super()._delivered(batch, provider)
        finally:
            called = [self._row(id) for id, count in self._counts().items() if count > before[id]]
            wrong = [row.id for row in called if not row.ignore_suppression and self._scopes(row) & suppressed]
            assert not wrong, "a suppressed recipient was called"

    def _webhooks(self) -> list[IncomingMessage]:
        return [IncomingMessage(queue=WEBHOOKS[1], body=b"", message=make.message(row)) for row in self.told.waiting()]

    def _counts(self) -> Counter[str]:
        return Counter({id: len(calls) for id, calls in self.vendor.calls.items()})

    def _some_that_move(self, picked: int) -> Notification:
        """Of all, if none does."""
        rows = [row for _, row in sorted(self._rows().items())]
        chosen = [row for row in rows if row.status in MOVING] or rows
        return chosen[picked % len(chosen)]

    def _scopes(self, row: Notification) -> set[tuple[str, str]]:
        """What would suppress it."""
        of_category = {(row.recipient, row.category)} if row.category is not None and not row.critical else set()
        return {(row.recipient, ""), *of_category}

    def _suppressed(self) -> set[tuple[str, str]]:
        """Recipients with their scopes."""
        found = self.store.find_suppressions(SuppressionSelection(tenant=TENANT, in_force=True), 100)
        # Under `reconcile` too: the vendor is asked first, and never called.
        lasting = self.clock() + timedelta(days=1)  # others may end meanwhile
        return {
            (entry.recipient, entry.scope) for entry in found if entry.expires_at is None or entry.expires_at > lasting
        }


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.nightly)])
def ground(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    url = f"sqlite:///{tmp_path}/tidings.db" if request.param == "sqlite" else request.getfixturevalue("mariadb_url")
    given = migrated(url)
    clock = TestClock()
    store, broker = WeakStore(Database(given, clock=clock)), EmbeddedBroker(Database(given, clock=clock))
    yield Ground(clock, store, broker, monkeypatch)
    broker.close()
    store.close()


EXAMPLES, NIGHTLY = 5, {"sqlite": 60, "mariadb": 15}


@pytest.mark.slow
def test_whatever_is_reported_the_promises_hold(ground: Ground, request: pytest.FixtureRequest, nightly: bool) -> None:
    run_machine(
        lambda: Evidence(ground),  # type: ignore[arg-type]  # any factory will do
        settings=settings(
            max_examples=NIGHTLY[request.node.callspec.params["ground"]] if nightly else EXAMPLES,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

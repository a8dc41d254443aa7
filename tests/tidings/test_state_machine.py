"""The promises, checked after every step: a Hypothesis state machine over the real parts.

The Store (SQLite, MariaDB), the intake, the delivery, the settling, the reconciling, the replay, the sweep and the
embedded broker are real; the clock, the provider's answers and lists and the crashes are drawn. The invariants (their
words are in promises.py, the parts in simulation.py):

A. every accepted row ends; B. whatever arrived unambiguously was sent for the last time in its generation;
C. `sent` only after the provider accepted, or by an operator's word; D. nothing moves after its end without a replay or
that word; G. whatever is dead or open can be replayed, and replaying twice sends once. And at most one live claim, a
timeline that agrees with its row, an audit that finds nothing, `hold` that never sends again after an ambiguity,
`reconcile` that never does before it has asked, nor what had arrived.

Where CI is set, Hypothesis derandomizes by itself; `--hypothesis-seed` repeats any other run.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tidings.adapters.embedded import EmbeddedBroker
from tidings.adapters.sql.books import SqlBooks
from tidings.adapters.sql.database import Database
from tidings.domain.notification import REPLAYABLE, Notification, OnAmbiguous, Status, TimelineEntry, first_id
from tidings.domain.timing import SWEEP_GRACE, VISIBILITY
from tidings.messaging import topology
from tidings.messaging.envelope import IncomingMessage, Message
from tidings.pipeline.audit import findings_in

from tests.clock import TestClock
from tests.migrated import migrated
from tests.tidings import promises
from tests.tidings.actors import TENANT, WeakStore
from tests.tidings.promises import MOVING
from tests.tidings.simulation import START, WORK, Ground, Simulation, letter_of
from tests.tidings.strategies import DRAFTS, OPEN, PICKED, SETTLED, TURNS, Draft, Turn

MANY = 4


class Notifications(Simulation, RuleBasedStateMachine):
    """Everything that can happen to a few notifications."""

    # --- rules --------------------------------------------------------------------------------------------------------

    @initialize(draft=DRAFTS, count=st.integers(1, 3), slow_by=st.sampled_from([0, 0, -30, 30]))
    def begin(self, draft: Draft, count: int, slow_by: int) -> None:
        self.vendor.slow_by = timedelta(seconds=slow_by)
        self._accepted(draft, count, None, None)

    @precondition(lambda self: self._moving() < MANY)
    @rule(
        draft=DRAFTS,
        count=st.integers(1, 3),
        key=st.sampled_from([None, None, "a", "b"]),
        crash=st.sampled_from([*[None] * 6, "intake.after_commit", "intake.before_answer"]),
    )
    def accept(self, draft: Draft, count: int, key: str | None, crash: str | None) -> None:
        self._accepted(draft, count, key, crash)

    @precondition(lambda self: self.ids)
    @rule(limit=st.integers(1, 4), turn=TURNS, trigger=st.sampled_from(["gives back", "dies too"]))
    def deliver(self, limit: int, turn: Turn, trigger: str) -> None:
        """A batch from the queue, as a trigger does it."""
        consumer = self.broker.broker.consume(WORK)
        received = consumer.receive(limit, timedelta(0))
        if self._attempted([letter_of(item) for item in received], turn):
            consumer.acknowledge(received)
        elif trigger == "gives back":
            consumer.give_back(received)

    @precondition(lambda self: self.ids)
    @rule(picked=PICKED, older=st.integers(0, 1), turn=TURNS)
    def deliver_a_copy(self, picked: list[int], older: int, turn: Turn) -> None:
        """A message that came twice, late, or from an older generation; and one that nobody knows."""
        stranger = Message(id=first_id(START), channel="email", generation=1)
        letters = [
            *self._wake_ups(self._some(picked), older),
            IncomingMessage(queue=WORK[1], body=b"", message=stranger),
        ]
        self._attempted(letters, turn)

    @precondition(lambda self: self._moving())
    @rule(turn=TURNS, early=st.booleans())
    def deliver_all_that_move(self, turn: Turn, early: bool) -> None:
        """Copies of them all, when the next attempt is due or just before: rivals are asked for in one batch."""
        moving = [row for row in self._rows().values() if row.status in MOVING]
        due = [row.next_attempt_at for row in moving if row.next_attempt_at is not None]
        ahead = min((at for at in due if at > self.clock()), default=self.clock())
        self.clock.now = max(self.clock(), ahead - timedelta(seconds=0.5 if early else 0))
        self._attempted(self._wake_ups(sorted(row.id for row in moving)), turn)

    @precondition(lambda self: self._moving() < MANY)
    @rule(draft=DRAFTS, answers=st.lists(st.sampled_from(OPEN), min_size=2, max_size=3))
    def leave_rivals_open(self, draft: Draft, answers: list[str]) -> None:
        """The same to one recipient, and nobody knows which of it arrived."""
        alike = replace(draft, on_ambiguous=OnAmbiguous.RECONCILE, recipient="ada@example.com", send_in=None)
        self._begun(alike, Turn(answers=answers))

    @precondition(lambda self: self._moving() < MANY)
    @rule(draft=DRAFTS, broker=st.sampled_from(["down", "deaf"]))
    def fail_without_the_broker(self, draft: Draft, broker: str) -> None:
        """Their letters cannot be published, or are not confirmed."""
        self._begun(replace(draft, send_in=None), Turn(answers=["permanent"], broker=broker))

    @rule(
        after=st.sampled_from([0, 6, 70]),
        crash=st.sampled_from(
            [*[None] * 5, "sweep.after_take", "settlement.after_dead_letters", *SETTLED, "sweep.after_publish"]
        ),
    )
    def sweep(self, after: float, crash: str | None) -> None:
        self.clock.advance(seconds=after)
        self._alive(self.sweeper.run, self._dying(crash))

    @precondition(lambda self: any(self.seen[status] for status in REPLAYABLE))
    @rule(
        picked=st.one_of(st.none(), PICKED),
        rate=st.sampled_from([None, 1]),
        crash=st.sampled_from([None, None, "replay.after_reset", "replay.after_publish"]),
    )
    def replay(self, picked: list[int] | None, rate: int | None, crash: str | None) -> None:
        ids = self.ids if picked is None else self._some(picked)
        self._alive(lambda: self._replayed(ids, rate), self._dying(crash))

    @precondition(lambda self: self._moving())
    @rule(picked=st.integers(0, 30))
    def cancel(self, picked: int) -> None:
        """Seldom: it ends an example before it has begun."""
        if picked < len(self.ids):
            self._canceled(self.ids[picked])

    @precondition(lambda self: self.seen[Status.UNKNOWN])
    @rule(picked=st.integers(0, 5), sent=st.booleans(), crash=st.sampled_from([None, None, "replay.after_publish"]))
    def decide(self, picked: int, sent: bool, crash: str | None) -> None:
        """An operator's word on an unknown one; given once more, it changes nothing."""
        unknown = sorted(id for id, row in self._rows().items() if row.status is Status.UNKNOWN)
        id = unknown[picked % len(unknown)]
        if not sent:
            self._alive(lambda: self._again(id), self._dying(crash))
            return
        for _ in range(2):
            answer = self.replayer.mark_sent(TENANT, id)
            assert answer is not None
            assert (answer.notification.status, answer.stands) == (Status.SENT, True)
        del self.ended[id]

    @rule(by=st.sampled_from([0.5, 2, 6, 35, 70, 130, 700]))
    def wait(self, by: float) -> None:
        """A retry becomes due, a lease runs out, something expires."""
        self.clock.advance(seconds=by)

    @rule(state=st.sampled_from(["up", "up", "down", "deaf"]))
    def change_the_broker(self, state: str) -> None:
        self.broker.state = state

    # --- what holds after every step ----------------------------------------------------------------------------------

    @invariant()
    def the_promises_hold(self) -> None:
        rows, timelines = self._rows(), self._timelines()
        rivals = self._rivals(rows)
        for id, row in rows.items():
            timeline, calls = timelines.get(id, []), self.vendor.calls.get(id, [])
            self._ends_are_final(row, timeline)
            promises.timeline_tells_the_row(row, timeline)
            promises.sent_only_once(row, calls)
            promises.sent_only_after_it_was_accepted(row, timeline, calls)
            promises.open_only_where_nobody_sends_again(row)
        for key, same in rivals.items():
            promises.as_many_copies_as_are_sent({id: row for id, row in rows.items() if self.what[id] == key}, same)
        self._the_audit_finds_nothing(START)  # nothing is overdue yet: no sweep has run since the clock moved
        assert not self.vendor.complaints, self.vendor.complaints
        self.replayed = set()
        self.seen = Counter(row.status for row in rows.values())

    def _the_audit_finds_nothing(self, now: datetime) -> None:
        audited = SqlBooks(self.store.database).rows(TENANT, None, None, after=None, limit=1000).rows
        found = [finding for one in audited for finding in findings_in(one, now)]
        assert not found, found

    def _ends_are_final(self, row: Notification, timeline: list[TimelineEntry]) -> None:
        before = self.generations.get(row.id, 1)
        assert before <= row.generation, "a generation came back"
        assert row.generation == before or row.id in self.replayed, "D: a new generation without a replay"
        self.generations[row.id] = row.generation
        if row.id in self.ended and self.ended[row.id][0].generation == row.generation:
            assert (row, timeline) == self.ended[row.id], "D: it moved after its end"
        if row.status not in MOVING:
            self.ended[row.id] = row, timeline

    # --- what holds in the end ----------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:
            return  # a step has failed: the example is over
        self.broker.state = "up"
        self._quiet()
        self._every_failed_row_has_its_letter()
        dead = {id: row for id, row in self._rows().items() if row.status in REPLAYABLE}
        later = self.clock() + timedelta(days=1)  # for those that have expired, which are else left out
        for id, row in dead.items():
            if row.status is Status.UNKNOWN:
                self._again(id, expires_at=later)
        self._replayed(sorted(dead), expires_at=later)
        self._replayed(sorted(dead), expires_at=later)
        self._quiet()
        self._swept()  # it publishes the dead letters that are owed
        self._the_audit_finds_nothing(self.clock())
        rows = self._rows()
        for id, row in dead.items():
            promises.replayed_once(rows[id], row.generation, self.vendor.calls.get(id, []))

    def _quiet(self) -> None:
        """Sweep and deliver, with a provider that accepts, until every row has ended."""
        for _ in range(40):
            self._swept()
            consumer = self.broker.consume(WORK)
            while received := consumer.receive(50, timedelta(0)):
                self._delivered([letter_of(item) for item in received])
                consumer.acknowledge(received)
            self.the_promises_hold()
            if not any(row.status in MOVING for row in self._rows().values()):
                return
            self.clock.now += VISIBILITY
        raise AssertionError(f"A: not ended: {[row for row in self._rows().values() if row.status in MOVING]}")

    def _every_failed_row_has_its_letter(self) -> None:
        self.clock.now += VISIBILITY + SWEEP_GRACE
        self._swept()
        consumer = self.broker.consume([topology.dead_queue("email")])
        received = consumer.receive(1000, timedelta(0))
        consumer.give_back(received)
        letters = {
            (item.id, item.generation) for item in (letter_of(one).message for one in received) if item is not None
        }
        failed = {(id, row.generation) for id, row in self._rows().items() if row.status is Status.FAILED}
        assert failed <= letters, "A: failed, and no dead letter"


@pytest.fixture(params=["sqlite", "mariadb"])
def ground(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    url = f"sqlite:///{tmp_path}/tidings.db" if request.param == "sqlite" else request.getfixturevalue("mariadb_url")
    given = migrated(url)
    clock = TestClock()
    store, broker = WeakStore(Database(given, clock=clock)), EmbeddedBroker(Database(given, clock=clock))
    yield Ground(clock, store, broker, monkeypatch)
    broker.close()
    store.close()


EXAMPLES, NIGHTLY = {"sqlite": 8, "mariadb": 3}, {"sqlite": 50, "mariadb": 12}


@pytest.mark.slow
def test_whatever_happens_the_promises_hold(ground: Ground, request: pytest.FixtureRequest, nightly: bool) -> None:
    run_state_machine_as_test(
        lambda: Notifications(ground),  # type: ignore[arg-type]  # any factory will do
        settings=settings(
            max_examples=(NIGHTLY if nightly else EXAMPLES)[request.node.callspec.params["ground"]],
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

"""The promises, held after every step of any story: a Hypothesis state machine over the real parts.

The Store (SQLite, MariaDB), the intake, the delivery, the settling, the reconciling, the replay, the sweep and the
embedded broker are real; the clock, the provider's answers and lists and the crashes are drawn. The invariants (their
words are in promises.py):

A. every accepted row ends; B. whatever arrived unambiguously was sent for the last time in its generation;
C. `sent` only after the provider accepted, or by an operator's word; D. nothing moves after its end without a replay or
that word; G. whatever is dead or open can be replayed, and replaying twice sends once. And at most one live claim, a
timeline that agrees with its row, `hold` that never sends again after an ambiguity, `reconcile` that never does before
it has asked, nor what had arrived.

Where CI is set, Hypothesis derandomizes by itself; `--hypothesis-seed` repeats any other run.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

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
from sqlalchemy import delete, select
from tidings import failpoints, topology
from tidings.adapters.database import Database, DatabaseSettings
from tidings.adapters.embedded import VISIBILITY, EmbeddedBroker
from tidings.adapters.schema import events, messages, notifications
from tidings.adapters.waking import GRACE
from tidings.delivery import Delivery
from tidings.envelope import Letter, Message, parse
from tidings.errors import BrokerUnavailable, StoreUnavailable
from tidings.intake import Intake
from tidings.migrate import migrate
from tidings.notification import CLAIMABLE, REPLAYABLE, Event, Notification, OnAmbiguous, Status, first_id
from tidings.ports import Received, Selection
from tidings.replay import Replay
from tidings.retry import RetrySchedule
from tidings.settling import Settling
from tidings.sweep import Sweep

from tests import make
from tests.clock import TestClock
from tests.tidings import promises
from tests.tidings.conftest import MIGRATIONS
from tests.tidings.drawn import DRAFTS, OPEN, PICKED, SETTLED, TURNS, Draft, Turn
from tests.tidings.promises import MOVING
from tests.tidings.story import TENANT, Call, Crash, Vendor, WeakBroker, WeakStore, what

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)
MANY = 4
WORK = topology.work_queues("email")


@dataclass(frozen=True)
class Ground:
    """What the machines of one test share: a database, and a clock."""

    clock: TestClock
    store: WeakStore
    broker: EmbeddedBroker
    monkeypatch: pytest.MonkeyPatch

    def cleared(self) -> "Ground":
        self.clock.now = START
        self.store.fault = None
        with self.store.database.engine.begin() as connection:
            for table in (notifications, events, messages):
                connection.execute(delete(table))
        return self


class Notifications(RuleBasedStateMachine):
    """Every story that a few notifications can have."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.clock, self.store = ground.clock, ground.cleared().store
        self.broker = WeakBroker(ground.broker)
        self.vendor = Vendor(self.store, self.clock, self.reached)
        retry = RetrySchedule(jitter=0)
        self.settling = Settling(store=self.store, broker=self.broker, retry=retry, sleep=self._slept)
        self.intake = Intake(store=self.store, broker=self.broker)
        self.replayer = Replay(store=self.store, broker=self.broker)
        self.sweeper = Sweep(store=self.store, broker=self.broker, settling=self.settling)
        self.made = 0
        self.ids: list[str] = []
        self.what: dict[str, tuple[str, str]] = {}
        self.keys: dict[str, str] = {}  # the id that was answered for an idempotency key
        self.seen: Counter[Status] = Counter()  # at the last look
        self.ended: dict[str, tuple[Notification, list[Event]]] = {}
        self.generations: dict[str, int] = {}
        self.replayed: set[str] = set()  # since the last look
        self.fault: tuple[str, Callable[[], None]] | None = None
        self.dead = False
        ground.monkeypatch.setattr(failpoints, "step", self.reached)
        # A worker measures its lease with its own clock, which here is the test's.
        for module in ("delivery", "settling", "sweep"):
            ground.monkeypatch.setattr(f"tidings.{module}.time", SimpleNamespace(monotonic=self._monotonic))

    def _monotonic(self) -> float:
        return (self.clock.now - START).total_seconds()

    def _slept(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)

    # --- faults -------------------------------------------------------------------------------------------------------

    def reached(self, step: str) -> None:
        """A step of the code, in any of its threads."""
        if self.dead:
            raise Crash
        if step == "settling.after_rows":
            self.vendor.under_way.clear()
        if self.fault is not None and self.fault[0] == step:
            (_, strike), self.fault = self.fault, None
            strike()

    def _strike(self, kind: str) -> None:
        match kind:
            case "dies":
                self.dead = True
                raise Crash
            case "is not alone":
                self._others_come_by()
            case _:
                self._stall(replaying=kind == "stalls, is replayed")

    def _others_come_by(self) -> None:
        """What this worker has is nobody else's: not the sweep's, not another worker's, and not to be canceled."""
        with self._others():
            self._swept()
            self._delivered(self._wake_ups(self.ids))
            for id, row in self._rows().items():
                if row.status is Status.SENDING:
                    self._canceled(id)

    def _stall(self, *, replaying: bool) -> None:
        """This worker stands still past its lease, while others go on."""
        for call in self.vendor.under_way:
            call.ambiguous = True
        with self._others():
            self._leases_run_out()
            if replaying:
                self._replayed(self.ids)
            self.clock.advance(seconds=6)
            for letter in self._wake_ups(self.ids):  # whose worker was lost is claimed alone
                if not replaying:
                    self._delivered([letter])
                elif letter.message is not None:  # another has it, and is not done
                    self.store.claim([letter.message], LEASE)

    def _leases_run_out(self) -> None:
        """The sweep takes what was leased at its second look, after a grace."""
        for wait in (LEASE, GRACE):
            self.clock.now += wait + timedelta(seconds=1)
            self._swept()

    @contextmanager
    def _others(self) -> Iterator[None]:
        """Their calls are not this worker's, nor are their failures."""
        mine, self.vendor.under_way = self.vendor.under_way, []
        with suppress(BrokerUnavailable, StoreUnavailable):
            yield
        self.vendor.under_way = mine

    def _alive(self, work: Callable[[], object], fault: tuple[str, Callable[[], None]] | None = None) -> bool:
        """Whether it came to its end."""
        self.fault = fault
        try:
            work()
        except (Crash, BrokerUnavailable, StoreUnavailable):
            return False
        finally:
            self.fault, self.dead = None, False
        return True

    def _dying(self, step: str | None) -> tuple[str, Callable[[], None]] | None:
        return None if step is None else (step, lambda: self._strike("dies"))

    # --- the parts at work --------------------------------------------------------------------------------------------

    def _delivered(self, letters: Sequence[Letter]) -> None:
        """By a process of its own."""
        delivery = Delivery(
            provider=self.vendor,
            store=self.store,
            broker=self.broker,
            settling=self.settling,
            lease=LEASE,
            concurrency=1,  # so that a story can be told again
            reserved=0,
        )
        try:
            delivery.deliver(letters)
        finally:
            delivery.close()
            # What it had called and could not write down is for the sweep to find.
            for call in self.vendor.under_way:
                call.ambiguous = True
            self.vendor.under_way = []

    def _attempted(self, letters: Sequence[Letter], turn: Turn) -> bool:
        self.vendor.answers, self.vendor.lists, self.store.fault = list(turn.answers), list(turn.lists), turn.store
        before = self.broker.state
        self.broker.state = turn.broker or before
        fault = (turn.step, lambda: self._strike(turn.strike)) if turn.step is not None else None
        done = self._alive(lambda: self._delivered(letters), fault)
        self.vendor.answers, self.vendor.lists, self.store.fault = [], [], None
        self.broker.state = before
        return done

    def _swept(self) -> None:
        with suppress(BrokerUnavailable, StoreUnavailable):
            self.sweeper.run()

    def _replayed(self, ids: Sequence[str], rate: int | None = None) -> None:
        self.replayed |= set(ids)
        self.replayer.replay(Selection(tenant=TENANT, ids=ids), limit=100, rate=rate)

    def _again(self, id: str) -> None:
        self.replayed.add(id)
        self.replayer.again(TENANT, id)

    def _canceled(self, id: str) -> None:
        before, answer = self._row(id), self.store.cancel(TENANT, id)
        assert answer is not None
        assert answer.status is (Status.CANCELED if before.status in CLAIMABLE else before.status)

    def _wake_ups(self, ids: Sequence[str], older: int = 0) -> list[Letter]:
        rows = [self._row(id) for id in ids]
        return [
            Letter(queue=WORK[1], body=b"", message=make.message(row, generation=max(1, row.generation - older)))
            for row in rows
        ]

    def _moving(self) -> int:
        return sum(self.seen[status] for status in MOVING)

    def _some(self, picked: Sequence[int]) -> list[str]:
        return [self.ids[index % len(self.ids)] for index in picked]

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
        crash=st.sampled_from([*[None] * 6, "intake.after_commit", "intake.after_publish", "intake.before_answer"]),
    )
    def accept(self, draft: Draft, count: int, key: str | None, crash: str | None) -> None:
        self._accepted(draft, count, key, crash)

    def _accepted(self, draft: Draft, count: int, key: str | None, crash: str | None) -> None:
        """An idempotency key, if there is one, is the first one's."""
        first, self.made = self.made + 1, self.made + count
        batch = [draft.made(self.clock(), first + more, key if more == 0 else None) for more in range(count)]
        self.what |= {item.id: what(item) for item in batch}
        answered: list[str] = []

        def accepted() -> None:
            inserted = self.intake.accept(batch)
            answered.extend((item.existing or item.notification).id for item in inserted)

        self._alive(accepted, self._dying(crash))
        if answered and key is not None:
            assert self.keys.setdefault(key, answered[0]) == answered[0], "a key was answered with another notification"
        self.ids = sorted(self._rows())
        assert set(answered) <= set(self.ids), "202, and no row"

    @precondition(lambda self: self.ids)
    @rule(limit=st.integers(1, 4), turn=TURNS, trigger=st.sampled_from(["gives back", "dies too"]))
    def deliver(self, limit: int, turn: Turn, trigger: str) -> None:
        """A batch from the queue, as a trigger does it."""
        consumer = self.broker.broker.consume(WORK)
        received = consumer.receive(limit, timedelta(0))
        if self._attempted([_letter(item) for item in received], turn):
            consumer.acknowledge(received)
        elif trigger == "gives back":
            consumer.give_back(received)

    @precondition(lambda self: self.ids)
    @rule(picked=PICKED, older=st.integers(0, 1), turn=TURNS)
    def deliver_a_copy(self, picked: list[int], older: int, turn: Turn) -> None:
        """A message that came twice, late, or from an older generation; and one that nobody knows."""
        stranger = Message(id=first_id(START), channel="email", generation=1)
        letters = [*self._wake_ups(self._some(picked), older), Letter(queue=WORK[1], body=b"", message=stranger)]
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

    def _begun(self, draft: Draft, turn: Turn) -> None:
        before = set(self.ids)
        self._accepted(draft, len(turn.answers), None, None)
        self._attempted(self._wake_ups([id for id in self.ids if id not in before]), turn)

    @rule(
        after=st.sampled_from([0, 6, 70]),
        crash=st.sampled_from(
            [*[None] * 5, "sweep.after_take", "settling.after_letters", *SETTLED, "sweep.after_publish"]
        ),
    )
    def sweep(self, after: float, crash: str | None) -> None:
        self.clock.advance(seconds=after)
        self._alive(self.sweeper.run, self._dying(crash))

    @precondition(lambda self: any(self.seen[status] for status in REPLAYABLE))
    @rule(
        picked=st.one_of(st.none(), PICKED),
        rate=st.sampled_from([None, 1]),
        crash=st.sampled_from([None, None, "replay.after_revive", "replay.after_publish"]),
    )
    def replay(self, picked: list[int] | None, rate: int | None, crash: str | None) -> None:
        ids = self.ids if picked is None else self._some(picked)
        self._alive(lambda: self._replayed(ids, rate), self._dying(crash))

    @precondition(lambda self: self._moving())
    @rule(picked=st.integers(0, 30))
    def cancel(self, picked: int) -> None:
        """Seldom: it ends a story before it has begun."""
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
            assert answer.status is Status.SENT
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
        assert not self.vendor.complaints, self.vendor.complaints
        self.replayed = set()
        self.seen = Counter(row.status for row in rows.values())

    def _ends_are_final(self, row: Notification, timeline: list[Event]) -> None:
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
            return  # a step has failed, and that is the story
        self.broker.state = "up"
        self._quiet()
        self._every_failed_row_has_its_letter()
        dead = {id: row for id, row in self._rows().items() if row.status in REPLAYABLE}
        for id, row in dead.items():
            if row.status is Status.UNKNOWN:
                self._again(id)
        self._replayed(sorted(dead))
        self._replayed(sorted(dead))
        self._quiet()
        rows = self._rows()
        for id, row in dead.items():
            promises.replayed_once(rows[id], row.generation, self.vendor.calls.get(id, []))

    def _quiet(self) -> None:
        """Sweep and deliver, with a provider that accepts, until every row has ended."""
        for _ in range(40):
            self._swept()
            consumer = self.broker.consume(WORK)
            while received := consumer.receive(50, timedelta(0)):
                self._delivered([_letter(item) for item in received])
                consumer.acknowledge(received)
            self.the_promises_hold()
            if not any(row.status in MOVING for row in self._rows().values()):
                return
            self.clock.now += VISIBILITY
        raise AssertionError(f"A: not ended: {[row for row in self._rows().values() if row.status in MOVING]}")

    def _every_failed_row_has_its_letter(self) -> None:
        self.clock.now += VISIBILITY + GRACE
        self._swept()
        consumer = self.broker.consume([topology.dead_queue("email")])
        received = consumer.receive(1000, timedelta(0))
        consumer.give_back(received)
        letters = {
            (item.id, item.generation) for item in (_letter(one).message for one in received) if item is not None
        }
        failed = {(id, row.generation) for id, row in self._rows().items() if row.status is Status.FAILED}
        assert failed <= letters, "A: failed, and no dead letter"

    # --- the books ----------------------------------------------------------------------------------------------------

    def _row(self, id: str) -> Notification:
        row = self.store.get(TENANT, id)
        assert row is not None
        return row

    def _rows(self) -> dict[str, Notification]:
        return {row.id: row for row in self.store.find(Selection(tenant=TENANT), 1000)}

    def _rivals(self, ids: Iterable[str]) -> Mapping[tuple[str, str], Sequence[Call]]:
        """The calls, by what was sent to whom."""
        rivals: dict[tuple[str, str], list[Call]] = {self.what[id]: [] for id in ids}
        for call in self.vendor.books():
            rivals[self.what[call.id]].append(call)
        return rivals

    def _timelines(self) -> dict[str, list[Event]]:
        columns = [events.c[name] for name in Event.__dataclass_fields__]
        with self.store.database.engine.begin() as connection:
            found = connection.execute(select(events.c.notification_id, *columns).order_by(events.c.seq)).all()
        timelines: dict[str, list[Event]] = {}
        for id, *values in found:
            made = Event(**dict(zip(Event.__dataclass_fields__, values, strict=True)))
            timelines.setdefault(id, []).append(replace(made, status=Status(made.status)))
        return timelines


def _letter(item: Received) -> Letter:
    return Letter(queue=item.queue, body=item.body, message=parse(item.body, item.headers, "email"))


@pytest.fixture(params=["sqlite", "mariadb"])
def ground(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    url = f"sqlite:///{tmp_path}/tidings.db" if request.param == "sqlite" else request.getfixturevalue("mariadb_url")
    given = DatabaseSettings(database_url=url)
    migrate(given, MIGRATIONS)
    clock = TestClock()
    store, broker = WeakStore(Database(given, clock=clock)), EmbeddedBroker(Database(given, clock=clock))
    yield Ground(clock, store, broker, monkeypatch)
    broker.close()
    store.close()


EXAMPLES = {"sqlite": 50, "mariadb": 12}


def test_whatever_happens_the_promises_hold(ground: Ground, request: pytest.FixtureRequest) -> None:
    run_state_machine_as_test(
        lambda: Notifications(ground),  # type: ignore[arg-type]  # any factory will do
        settings=settings(
            max_examples=EXAMPLES[request.node.callspec.params["ground"]],
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

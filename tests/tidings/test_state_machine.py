"""The promises, held after every step of any story: a Hypothesis state machine over the real parts.

The Store (SQLite, MariaDB), the intake, the delivery, the settling, the replay, the sweep and the embedded broker are
real; the clock, the provider's answers and the crashes are drawn. The invariants:

A. every accepted row ends; B. whatever arrived unambiguously was sent for the last time in its generation;
C. `sent` only after the provider accepted; D. nothing moves after its end without a replay; G. every dead letter can be
replayed, and replaying twice sends once. And at most one live claim, a timeline that agrees with its row, and `hold`
that never sends again after an ambiguity.

Where CI is set, Hypothesis derandomizes by itself; `--hypothesis-seed` repeats any other run.
"""

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
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
from tidings.adapters.sql import SqlStore
from tidings.adapters.waking import GRACE
from tidings.delivery import Delivery
from tidings.envelope import Letter, Message, parse
from tidings.errors import (
    AccountError,
    AmbiguousError,
    BrokerUnavailable,
    DeliveryError,
    PermanentError,
    StoreUnavailable,
    TransientError,
)
from tidings.intake import Intake
from tidings.migrate import migrate
from tidings.notification import CLAIMABLE, Event, Notification, OnAmbiguous, Priority, Status, first_id
from tidings.ports import Claims, Consumer, Outbound, Outgoing, Receipt, Received, Selection, Settlement
from tidings.replay import Replay, Sweep
from tidings.retry import RetrySchedule
from tidings.settling import Settling

from tests import make
from tests.clock import TestClock
from tests.tidings.conftest import MIGRATIONS, FragileBroker

TENANT = "acme"
START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)
WORK = topology.work_queues("email")
MOVING = {*CLAIMABLE, Status.SENDING}
UNSETTLED = ("call", "delivery.mid_send", "delivery.after_send", "settling.after_letters")
STEPS = (
    "delivery.after_claim",
    *UNSETTLED,
    "settling.after_rows",
    "settling.after_retries",
    "delivery.before_return",
)


class Crash(BaseException):
    """The process is gone: nothing below may catch it."""


@dataclass
class WeakBroker(FragileBroker):
    """It may be down, or deaf: it queues the wave, and the confirms are lost."""

    deaf: bool = False

    def publish(self, wave: Sequence[Outgoing]) -> None:
        super().publish(wave)
        if self.deaf and wave:
            raise BrokerUnavailable("the confirms are lost")

    def depth(self, queue: str) -> int:
        self._answer()
        return super().depth(queue)

    def consume(self, queues: Sequence[str]) -> Consumer:
        self._answer()
        return super().consume(queues)

    def _answer(self) -> None:
        if self.down:
            raise BrokerUnavailable("down")


class WeakStore(SqlStore):
    """Its next settlement may fail before its COMMIT, or after it."""

    fault: str | None = None

    def settle(
        self, claims: Claims, settlements: Sequence[Settlement], *, letters_owed: bool = False
    ) -> Sequence[Settlement]:
        fault, self.fault = self.fault, None
        if fault == "before":
            raise StoreUnavailable("down")
        lost = super().settle(claims, settlements, letters_owed=letters_owed)
        if fault == "after":
            raise StoreUnavailable("the answer to COMMIT is lost")
        return lost


@dataclass
class Call:
    """One call of the provider."""

    generation: int
    attempt: int
    arrived: bool  # the vendor has it
    ambiguous: bool  # we cannot know
    receipt: str | None = None


@dataclass
class Vendor:
    """Answers as planned, in that order, then accepts."""

    store: SqlStore
    reached: Callable[[str], None]
    clock: TestClock
    name: str = "vendor"
    timeout: timedelta = timedelta(seconds=5)
    plan: list[str] = field(default_factory=list)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    under_way: list[Call] = field(default_factory=list)  # of the deliveries whose ends are not written down yet

    def send(self, outbound: Outbound) -> Receipt:
        self.reached("alive")
        row = self.store.get(TENANT, outbound.id)
        assert row is not None
        assert (row.status, row.attempt) == (Status.SENDING, outbound.attempt), "a call without a live claim"
        assert row.next_attempt_at is None or row.next_attempt_at <= self.clock(), "sent before it was due"
        made = self.calls.setdefault(outbound.id, [])
        answer = self.plan.pop(0) if self.plan else "accept"
        arrived, ambiguous = answer in ("accept", "ambiguous, accepted"), answer.startswith("ambiguous")
        call = Call(row.generation, row.attempt, arrived, ambiguous)
        made.append(call)
        self.under_way.append(call)
        self.reached("call")
        if answer != "accept":
            raise ERRORS[answer]()
        call.receipt = f"{outbound.id}:{len(made)}"
        return Receipt(provider_message_id=call.receipt)

    def close(self) -> None:
        return


ERRORS: dict[str, Callable[[], DeliveryError]] = {
    "transient": lambda: TransientError("451", "later"),
    "permanent": lambda: PermanentError("550", "no such user"),
    "account": lambda: AccountError("535", "who are you"),
    "ambiguous, accepted": lambda: AmbiguousError("timeout", "no answer"),
    "ambiguous, not accepted": lambda: AmbiguousError("timeout", "no answer"),
}


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
        self.vendor = Vendor(self.store, self.reached, self.clock)
        retry = RetrySchedule(jitter=0)
        self.settling = Settling(store=self.store, broker=self.broker, retry=retry, sleep=self._slept)
        self.intake = Intake(store=self.store, broker=self.broker)
        self.replayer = Replay(store=self.store, broker=self.broker)
        self.sweeper = Sweep(store=self.store, broker=self.broker, settling=self.settling)
        self.made = 0
        self.ids: list[str] = []
        self.keys: dict[str, str] = {}  # the id that was answered for an idempotency key
        self.ended: dict[str, tuple[Notification, list[Event]]] = {}
        self.generations: dict[str, int] = {}
        self.replayed = False  # since the last look
        self.fault: tuple[str, Callable[[], None]] | None = None
        self.dead = False
        ground.monkeypatch.setattr(failpoints, "step", self.reached)
        # A worker measures its lease with its own clock, which here is the test's.
        for module in ("delivery", "settling", "replay"):
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

    def _die(self) -> None:
        self.dead = True
        raise Crash

    def _stall(self, replaying: bool) -> None:
        """This worker stands still past its lease, while others go on."""
        stalled, self.vendor.under_way = self.vendor.under_way, []
        for call in stalled:
            call.ambiguous = True
        plan, self.vendor.plan = self.vendor.plan, []
        self.clock.now += LEASE + GRACE + timedelta(seconds=1)
        self._swept()
        if replaying:
            self._replayed(None)
        self.clock.advance(seconds=2)
        if replaying:  # another has it, and is not done
            self.store.claim([item.message for item in self._wake_ups(self.ids) if item.message is not None], LEASE)
        else:
            self._delivered(self._wake_ups(self.ids))
        self.vendor.plan = plan

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
        )
        try:
            delivery.deliver(letters)
        finally:
            delivery.close()
            # What it had called and could not write down is for the sweep to find.
            for call in self.vendor.under_way:
                call.ambiguous = True
            self.vendor.under_way = []

    def _swept(self) -> None:
        with suppress(BrokerUnavailable):
            self.sweeper.run()

    def _replayed(self, ids: Sequence[str] | None, rate: int | None = None) -> None:
        self.replayed = True
        self.replayer.replay(Selection(tenant=TENANT, ids=ids), limit=100, rate=rate)

    def _wake_ups(self, ids: Sequence[str], older: int = 0) -> list[Letter]:
        rows = [row for row in (self.store.get(TENANT, id) for id in ids) if row is not None]
        return [
            Letter(queue=WORK[1], body=b"", message=make.message(row, generation=max(1, row.generation - older)))
            for row in rows
        ]

    def _some(self, picked: Sequence[int]) -> list[str]:
        return [self.ids[index % len(self.ids)] for index in picked]

    # --- rules --------------------------------------------------------------------------------------------------------

    @rule(
        count=st.integers(1, 3),
        key=st.sampled_from([None, None, "a", "b"]),
        send_in=st.sampled_from([None, None, 5, 120]),
        expires_in=st.sampled_from([None, None, 30, 300]),
        on_ambiguous=st.sampled_from([OnAmbiguous.RESEND, OnAmbiguous.HOLD]),
        priority=st.sampled_from(Priority),
        max_attempts=st.integers(1, 3),
        crash=st.sampled_from(
            [None, None, None, "intake.after_commit", "intake.after_publish", "intake.before_answer"]
        ),
    )
    def accept(
        self,
        *,
        count: int,
        key: str | None,
        send_in: int | None,
        expires_in: int | None,
        on_ambiguous: OnAmbiguous,
        priority: Priority,
        max_attempts: int,
        crash: str | None,
    ) -> None:
        """An idempotency key, if there is one, is the first one's."""
        now = self.clock()
        send_at = now + timedelta(seconds=send_in) if send_in is not None else None
        batch = []
        for number in range(count):
            self.made += 1
            batch.append(
                make.notification(
                    now,
                    id=f"{first_id(now)[:-12]}{self.made:012x}",
                    idempotency_hash=key if number == 0 else None,
                    fingerprint=key if number == 0 else None,
                    send_at=send_at,
                    next_attempt_at=send_at,
                    expires_at=now + timedelta(seconds=expires_in + (send_in or 0)) if expires_in is not None else None,
                    on_ambiguous=on_ambiguous,
                    priority=priority,
                    max_attempts=max_attempts,
                )
            )
        answered: list[str] = []

        def accepted() -> None:
            inserted = self.intake.accept(batch)
            answered.extend((item.existing or item.notification).id for item in inserted)

        self._alive(accepted, (crash, self._die) if crash is not None else None)
        if answered and key is not None:
            assert self.keys.setdefault(key, answered[0]) == answered[0], "a key was answered with another notification"
        self.ids = sorted(self._rows())
        assert set(answered) <= set(self.ids), "202, and no row"

    @precondition(lambda self: self.ids)
    @rule(
        limit=st.integers(1, 4),
        plan=st.lists(st.sampled_from(["accept", *ERRORS]), max_size=4),
        step=st.sampled_from([None, None, *STEPS]),
        stalls=st.booleans(),
        replaying=st.booleans(),
        trigger=st.sampled_from(["gives back", "dies too"]),
        store_fault=st.sampled_from([None, None, "before", "after"]),
    )
    def deliver(
        self,
        *,
        limit: int,
        plan: list[str],
        step: str | None,
        stalls: bool,
        replaying: bool,
        trigger: str,
        store_fault: str | None,
    ) -> None:
        """A batch from the queue, as a trigger does it."""
        consumer = self.broker.broker.consume(WORK)
        received = consumer.receive(limit, timedelta(0))
        letters = [_letter(item) for item in received]
        if self._attempted(letters, plan=plan, step=step, stalls=stalls, replaying=replaying, store_fault=store_fault):
            consumer.acknowledge(received)
        elif trigger == "gives back":
            consumer.give_back(received)

    @precondition(lambda self: self.ids)
    @rule(
        picked=st.lists(st.integers(0, 5), min_size=1, max_size=3),
        older=st.integers(0, 1),
        plan=st.lists(st.sampled_from(["accept", *ERRORS]), max_size=3),
        step=st.sampled_from([None, None, *STEPS]),
        stalls=st.booleans(),
    )
    def deliver_a_copy(self, picked: list[int], older: int, plan: list[str], step: str | None, stalls: bool) -> None:
        """A message that came twice, late, or from an older generation; and one that nobody knows."""
        stranger = Message(id=first_id(START), channel="email", generation=1)
        letters = [*self._wake_ups(self._some(picked), older), Letter(queue=WORK[1], body=b"", message=stranger)]
        self._attempted(letters, plan=plan, step=step, stalls=stalls)

    def _attempted(
        self,
        letters: Sequence[Letter],
        *,
        plan: list[str],
        step: str | None,
        stalls: bool,
        replaying: bool = False,
        store_fault: str | None = None,
    ) -> bool:
        self.vendor.plan, self.store.fault = list(plan), store_fault
        strike = functools.partial(self._stall, replaying) if stalls else self._die
        done = self._alive(lambda: self._delivered(letters), (step, strike) if step is not None else None)
        self.vendor.plan, self.store.fault = [], None
        return done

    @rule(crash=st.sampled_from([None, None, "sweep.after_take", *UNSETTLED[3:], *STEPS[5:7], "sweep.after_publish"]))
    def sweep(self, crash: str | None) -> None:
        self._alive(self.sweeper.run, (crash, self._die) if crash is not None else None)

    @precondition(lambda self: self.ids)
    @rule(
        picked=st.one_of(st.none(), st.lists(st.integers(0, 5), min_size=1, max_size=3)),
        rate=st.sampled_from([None, 1]),
        crash=st.sampled_from([None, None, "replay.after_revive", "replay.after_publish"]),
    )
    def replay(self, picked: list[int] | None, rate: int | None, crash: str | None) -> None:
        ids = None if picked is None else self._some(picked)
        self._alive(lambda: self._replayed(ids, rate), (crash, self._die) if crash is not None else None)

    @precondition(lambda self: self.ids)
    @rule(picked=st.integers(0, 5))
    def cancel(self, picked: int) -> None:
        (id,) = self._some([picked])
        before, answer = self.store.get(TENANT, id), self.store.cancel(TENANT, id)
        assert before is not None
        assert answer is not None
        assert answer.status is (Status.CANCELED if before.status in CLAIMABLE else before.status)

    @rule(by=st.sampled_from([0.5, 2, 6, 35, 70, 130, 700]))
    def wait(self, by: float) -> None:
        """A retry becomes due, a lease runs out, something expires."""
        self.clock.advance(seconds=by)

    @rule(state=st.sampled_from(["up", "up", "down", "deaf"]))
    def change_the_broker(self, state: str) -> None:
        self.broker.down, self.broker.deaf = state == "down", state == "deaf"

    # --- what holds after every step ----------------------------------------------------------------------------------

    @invariant()
    def the_promises_hold(self) -> None:
        rows, timelines = self._rows(), self._timelines()
        for id, row in rows.items():
            timeline, calls = timelines.get(id, []), self.vendor.calls.get(id, [])
            self._frozen(row, timeline)
            _called(row, calls)
            _consistent(row, timeline)
            assert row.attempt - row.spared <= row.max_attempts
            if row.status is Status.SENT:
                accepted = {call.receipt for call in calls if call.generation == row.generation}
                assert row.provider_message_id in accepted - {None}, "C: sent, and nobody accepted it"
            if row.status is Status.UNKNOWN:
                assert row.on_ambiguous is OnAmbiguous.HOLD
        self.replayed = False

    def _frozen(self, row: Notification, timeline: list[Event]) -> None:
        before = self.generations.get(row.id, 1)
        assert before <= row.generation, "a generation came back"
        assert row.generation == before or self.replayed, "D: a new generation without a replay"
        self.generations[row.id] = row.generation
        if row.id in self.ended and self.ended[row.id][0].generation == row.generation:
            assert (row, timeline) == self.ended[row.id], "D: it moved after its end"
        if row.status not in MOVING:
            self.ended[row.id] = row, timeline

    # --- what holds in the end ----------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:
            return  # a step has failed, and that is the story
        self.broker.down = self.broker.deaf = False
        self._quiet()
        self._every_failed_row_has_its_letter()
        failed = {id: row.generation for id, row in self._rows().items() if row.status is Status.FAILED}
        self._replayed(sorted(failed))
        self._replayed(sorted(failed))
        self._quiet()
        for id, generation in failed.items():
            row, calls = self._rows()[id], self.vendor.calls.get(id, [])
            over = row.expires_at is not None and row.status is Status.EXPIRED
            assert row.generation == generation + 1, "G: a dead letter was not replayed once"
            assert over or row.status is Status.SENT, "G: replayed, and not sent"
            assert sum(call.generation == row.generation for call in calls) == (0 if over else 1), "G: sent twice"

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

    # --- the database -------------------------------------------------------------------------------------------------

    def _rows(self) -> dict[str, Notification]:
        return {row.id: row for row in self.store.find(Selection(tenant=TENANT), 1000)}

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


def _called(row: Notification, calls: Sequence[Call]) -> None:
    """B: each generation is sent once, and once more for each ambiguity; under `hold` for none."""
    for _, group in groupby(calls, key=lambda call: call.generation):
        made = list(group)
        arrivals = sum(call.arrived or call.ambiguous for call in made)
        ambiguities = sum(call.ambiguous for call in made)
        assert arrivals <= 1 + ambiguities, "B: sent twice"
        for call in made[:-1]:
            assert call.ambiguous or not call.arrived, "B: sent again after it was accepted"
            if row.on_ambiguous is OnAmbiguous.HOLD:
                assert not call.ambiguous, "hold: sent again after an ambiguity"
    assert [call.generation for call in calls] == sorted(call.generation for call in calls)


def _consistent(row: Notification, timeline: Sequence[Event]) -> None:
    """The timeline tells the row's way, and ends where the row is."""
    generation, attempt, ended = 1, 0, False
    for event in timeline:
        if event.status is Status.PENDING:
            assert ended, "replayed before its end"
            assert event.generation == generation + 1
            generation, attempt, ended = event.generation, 0, False
            continue
        assert not ended, "an event after the end"
        assert event.generation == generation
        claimed = event.started_at is not None
        assert event.attempt == attempt + claimed, "an attempt without an event, or with two"
        attempt, ended = event.attempt, event.status is not Status.RETRYING
    assert row.generation == generation
    assert row.attempt == attempt + (row.status is Status.SENDING)
    assert ended == (row.status not in MOVING)
    if row.status is not Status.SENDING:
        assert row.status is (timeline[-1].status if timeline else Status.PENDING)


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

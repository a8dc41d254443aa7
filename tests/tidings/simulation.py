"""What test_state_machine.py runs: the real parts on a real database, and the faults that happen to them.

The machine's rules say what happens next, its invariants judge it. How it is done is here: a worker that crashes or
stalls at a step, other workers that run meanwhile, the parts at work, and the record of all calls.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select
from tidings.adapters.embedded import EmbeddedBroker
from tidings.adapters.sql.schema import (
    awaited_receipts,
    connections,
    events,
    messages,
    notifications,
    receipts,
    suppression_list,
    webhooks,
)
from tidings.config import failpoints
from tidings.domain.errors import BrokerUnavailable, StoreUnavailable
from tidings.domain.notification import CLAIMABLE, REPLAYABLE, Notification, Status, TimelineEntry
from tidings.domain.timing import SWEEP_GRACE
from tidings.messaging import topology
from tidings.messaging.envelope import IncomingMessage, parse
from tidings.pipeline.delivery import Delivery
from tidings.pipeline.intake import Intake
from tidings.pipeline.replay import Replay
from tidings.pipeline.retry import RetrySchedule
from tidings.pipeline.settlement import Settler
from tidings.pipeline.sweep import Sweep
from tidings.ports import Inserted, Provider, Received, Selection

from tests import make
from tests.clock import TestClock
from tests.tidings.actors import TENANT, Call, Crash, Vendor, WeakBroker, WeakStore, what
from tests.tidings.conftest import set_worker_clock
from tests.tidings.promises import MOVING
from tests.tidings.strategies import Draft, Turn

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)
WORK = topology.work_queues("email")
TABLES = (
    notifications,
    events,
    messages,
    connections,
    receipts,
    awaited_receipts,
    suppression_list,
    webhooks,
)


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
            for table in TABLES:
                connection.execute(delete(table))
        return self


class Simulation:
    """The parts of one example, made anew on an empty database. All of them read one test clock."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()  # of the state machine, when it is one
        self.clock, self.store = ground.clock, ground.cleared().store
        self.broker = WeakBroker(ground.broker)
        self.vendor = Vendor(self.store, self.clock, self.reached)
        retry = RetrySchedule(jitter=0)
        self.settler = Settler(store=self.store, broker=self.broker, retry=retry, sleep=self._slept)
        self.intake = Intake(store=self.store, broker=self.broker)
        self.replayer = Replay(store=self.store, broker=self.broker)
        self.sweeper = Sweep(store=self.store, broker=self.broker, settler=self.settler)
        self.made = 0
        self.ids: list[str] = []
        self.what: dict[str, tuple[str, str]] = {}
        self.keys: dict[str, str] = {}  # the id that was answered for an idempotency key
        self.seen: Counter[Status] = Counter()  # at the last look
        self.ended: dict[str, tuple[Notification, list[TimelineEntry]]] = {}
        self.generations: dict[str, int] = {}
        self.replayed: set[str] = set()  # since the last look
        self.fault: tuple[str, Callable[[], None]] | None = None
        self.dead = False
        ground.monkeypatch.setattr(failpoints, "step", self.reached)
        # A worker measures its lease with its own clock, which here is the test's.
        set_worker_clock(ground.monkeypatch, self._monotonic)
        # A group is as large as what is under way, however slow the machine is.
        ground.monkeypatch.setattr("tidings.pipeline.settlement_buffer.RECORD_WITHIN", timedelta(hours=1))

    def _monotonic(self) -> float:
        return (self.clock.now - START).total_seconds()

    def _slept(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)

    # --- faults -------------------------------------------------------------------------------------------------------

    def reached(self, step: str) -> None:
        """A step of the code, in any of its threads."""
        if self.dead:
            raise Crash
        if step == "settlement.after_rows":
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
        for wait in (LEASE, SWEEP_GRACE):
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

    def _accepted(self, draft: Draft, count: int, key: str | None, crash: str | None) -> None:
        """An idempotency key, if there is one, is the first one's."""
        first, self.made = self.made + 1, self.made + count
        batch = [draft.made(self.clock(), first + more, key if more == 0 else None) for more in range(count)]
        self.what |= {item.id: what(item) for item in batch}
        answered: list[str] = []

        def accepted() -> None:
            for item in self.intake.accept(batch):
                assert isinstance(item, Inserted)
                answered.append((item.existing or item.notification).id)

        self._alive(accepted, self._dying(crash))
        if answered and key is not None:
            assert self.keys.setdefault(key, answered[0]) == answered[0], "a key was answered with another notification"
        self.ids = sorted(self._rows())
        assert set(answered) <= set(self.ids), "202, and no row"

    def _begun(self, draft: Draft, turn: Turn) -> None:
        before = set(self.ids)
        self._accepted(draft, len(turn.answers), None, None)
        self._attempted(self._wake_ups([id for id in self.ids if id not in before]), turn)

    def _delivered(self, batch: Sequence[IncomingMessage], provider: Provider | None = None) -> None:
        """By a process of its own. `provider`: in place of the vendor."""
        delivery = Delivery(
            provider=provider or self.vendor,
            store=self.store,
            broker=self.broker,
            settler=self.settler,
            lease=LEASE,
            concurrency=1,  # so that an example can be run again
            reserved=0,
        )
        try:
            delivery.deliver(batch)
        finally:
            delivery.close()
            # What it had called and could not write down is for the sweep to find.
            for call in self.vendor.under_way:
                call.ambiguous = True
            self.vendor.under_way = []

    def _attempted(self, batch: Sequence[IncomingMessage], turn: Turn, provider: Provider | None = None) -> bool:
        self.vendor.answers, self.vendor.lists, self.store.fault = list(turn.answers), list(turn.lists), turn.store
        before = self.broker.state
        self.broker.state = turn.broker or before
        fault = (turn.step, lambda: self._strike(turn.strike)) if turn.step is not None else None
        done = self._alive(lambda: self._delivered(batch, provider), fault)
        self.vendor.answers, self.vendor.lists, self.store.fault = [], [], None
        self.broker.state = before
        return done

    def _swept(self) -> None:
        with suppress(BrokerUnavailable, StoreUnavailable):
            self.sweeper.run()

    def _replayed(self, ids: Sequence[str], rate: int | None = None, *, expires_at: datetime | None = None) -> None:
        self.replayed |= set(ids)
        dead = Selection(tenant=TENANT, ids=ids, statuses=sorted(REPLAYABLE))
        self.replayer.replay(dead, limit=100, rate=rate, expires_at=expires_at)

    def _again(self, id: str, *, expires_at: datetime | None = None) -> None:
        self.replayed.add(id)
        self.replayer.again(TENANT, id, expires_at=expires_at)

    def _canceled(self, id: str) -> None:
        before, answer = self._row(id), self.store.cancel(TENANT, id)
        assert answer is not None
        due = Status.CANCELED if before.status in CLAIMABLE else before.status
        assert answer.notification.status is due, "a cancel ends what waits, and nothing else"

    def _wake_ups(self, ids: Sequence[str], older: int = 0) -> list[IncomingMessage]:
        rows = [self._row(id) for id in ids]
        return [
            IncomingMessage(
                queue=WORK[1], body=b"", message=make.message(row, generation=max(1, row.generation - older))
            )
            for row in rows
        ]

    # --- the books ----------------------------------------------------------------------------------------------------

    def _moving(self) -> int:
        return sum(self.seen[status] for status in MOVING)

    def _some(self, picked: Sequence[int]) -> list[str]:
        return [self.ids[index % len(self.ids)] for index in picked]

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

    def _timelines(self) -> dict[str, list[TimelineEntry]]:
        columns = [events.c[name] for name in TimelineEntry.__dataclass_fields__]
        with self.store.database.engine.begin() as connection:
            found = connection.execute(select(events.c.notification_id, *columns).order_by(events.c.seq)).all()
        timelines: dict[str, list[TimelineEntry]] = {}
        for id, *values in found:
            made = TimelineEntry(**dict(zip(TimelineEntry.__dataclass_fields__, values, strict=True)))
            timelines.setdefault(id, []).append(replace(made, status=Status(made.status)))
        return timelines


def letter_of(item: Received, channel: str = "email") -> IncomingMessage:
    return IncomingMessage(queue=item.queue, body=item.body, message=parse(item.body, item.headers, channel))

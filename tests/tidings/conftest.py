"""The core on real adapters: SQLite and the embedded broker, with a clock in the test's hand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from tidings.adapters.embedded import EmbeddedBroker
from tidings.adapters.sql.database import Database
from tidings.adapters.sql.store import SqlStore
from tidings.domain.errors import BrokerUnavailable
from tidings.domain.notification import Notification
from tidings.pipeline.delivery import Delivery
from tidings.pipeline.outgoing import to_work
from tidings.pipeline.retry import RetrySchedule
from tidings.pipeline.settlement import Settler
from tidings.ports import Acceptance, Broker, Consumer, Depth, Outgoing, SendRequest

from tests.clock import TestClock
from tests.migrated import migrated

MIGRATIONS = Path(__file__).parents[2] / "infra" / "migrations"


def set_worker_clock(monkeypatch: pytest.MonkeyPatch, monotonic: Callable[[], float]) -> None:
    """By which a worker measures leases, deadlines and durations."""
    measuring = (
        "account",
        "account_probe",
        "attempts",
        "delivery",
        "leases",
        "retention",
        "send_checks",
        "settlement",
        "sweep",
    )
    for module in ("domain.stopwatch", *(f"pipeline.{name}" for name in measuring)):
        monkeypatch.setattr(f"tidings.{module}.time", SimpleNamespace(monotonic=monotonic))


@dataclass
class ScriptedProvider:
    """Ends each call as the script says for that recipient; else accepts. Keeps every call."""

    name: str = "scripted"
    timeout: timedelta = timedelta(seconds=5)
    script: dict[str, list[Exception]] = field(default_factory=dict)
    calls: list[SendRequest] = field(default_factory=list)

    def send(self, outbound: SendRequest) -> Acceptance:
        self.calls.append(outbound)
        planned = self.script.get(outbound.recipient)
        if planned:
            raise planned.pop(0)
        return Acceptance(provider_message_id=f"receipt-{outbound.id}")

    def close(self) -> None:
        return


@dataclass
class FragileBroker:
    """A broker that refuses waves while it is down, and counts."""

    broker: Broker
    down: bool = False

    def publish(self, wave: Sequence[Outgoing]) -> None:
        if self.down and wave:
            raise BrokerUnavailable("down")
        self.broker.publish(wave)

    def depth(self, queue: str) -> int:
        return self.broker.depth(queue)

    def depths(self, queues: Sequence[str]) -> Mapping[str, Depth]:
        return self.broker.depths(queues)

    def consume(self, queues: Sequence[str]) -> Consumer:
        return self.broker.consume(queues)

    def declare(self) -> None:
        self.broker.declare()

    def check(self) -> None:
        self.broker.check()

    def close(self) -> None:
        self.broker.close()


@dataclass
class Parts:
    """All parts of one process."""

    clock: TestClock
    store: SqlStore
    broker: FragileBroker
    provider: ScriptedProvider
    settler: Settler
    delivery: Delivery

    def add(self, *rows: Notification) -> None:
        """Committed and queued, as the intake leaves them."""
        self.store.insert(rows)
        self.broker.publish([to_work(row) for row in rows])

    def row(self, of: Notification) -> Notification:
        found = self.store.get(of.tenant, of.id)
        assert found is not None
        return found


@pytest.fixture(autouse=True, scope="session")
def quick_commits(sqlite_not_kept: None) -> None:
    """On SQLite, in all tests of this folder."""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    settings = migrated(f"sqlite:///{tmp_path}/tidings.db")
    clock = TestClock()
    store = SqlStore(Database(settings, clock=clock))
    broker = FragileBroker(EmbeddedBroker(Database(settings, clock=clock)))
    provider = ScriptedProvider()
    settling = Settler(store=store, broker=broker, retry=RetrySchedule(jitter=0), sleep=lambda _: None)
    delivery = Delivery(
        provider=provider,
        store=store,
        broker=broker,
        settler=settling,
        lease=timedelta(seconds=60),
        concurrency=4,
    )
    yield Parts(clock, store, broker, provider, settling, delivery)
    delivery.close()
    broker.close()
    store.close()

"""What each step of a batch takes: the store's three and the broker's wave, by the size of the batch."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from tidings.adapters.rabbitmq.broker import RabbitBroker
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.store import SqlStore
from tidings.domain.notification import Notification, Status
from tidings.migrate import migrate
from tidings.pipeline.settlement import to_work, wake_up
from tidings.ports import Settlement

from local.stack.stack import ROOT
from tests.load.plan import percentile
from tests.load.usage import cpu_seconds
from tests.load.world import World
from tests.make import notification

TIMES = {1: 300, 10: 150, 100: 60, 500: 16}
"""How often, by rows a batch."""
LEASE = timedelta(seconds=60)


@dataclass(kw_only=True)
class Spent:
    """By one step at one size."""

    server: Callable[[], float]  # CPU seconds of whoever is asked, so far
    seconds: list[float] = field(default_factory=list)
    here: float = 0.0  # CPU seconds of this process
    there: float = 0.0

    def on(self, work: Callable[[], Any]) -> Any:
        here, there, begun = time.process_time(), self.server(), time.perf_counter()
        done = work()
        self.seconds.append(time.perf_counter() - begun)
        self.here += time.process_time() - here
        self.there += self.server() - there
        return done


def steps(ready: World) -> Iterator[tuple[str, float]]:
    url = ready.mariadb.create_database("steps")
    settings = DatabaseSettings(database_url=url)
    migrate(settings, ROOT / "infra" / "migrations")
    store = SqlStore(Database(settings))
    try:
        with ready.paused(), ready.broker() as broker:
            for size, times in TIMES.items():
                _cycle(ready, store, broker, size, times=5)
                for step, spent in _cycle(ready, store, broker, size, times=times).items():
                    yield from _figures(f"steps.{step}.{size}", spent)
    finally:
        store.close()
        ready.mariadb.drop_database("steps")


def _cycle(ready: World, store: SqlStore, broker: RabbitBroker, size: int, *, times: int) -> dict[str, Spent]:
    def of(pid: int) -> Spent:
        return Spent(server=lambda: cpu_seconds(pid))

    database = ready.mariadb.pid
    spent = {"insert": of(database), "publish": of(ready.rabbitmq.pid), "claim": of(database), "settle": of(database)}
    for _ in range(times):
        _batch(spent, store, broker, size)
    return spent


def _batch(spent: dict[str, Spent], store: SqlStore, broker: RabbitBroker, size: int) -> None:
    batch = new_rows(size, recipient=lambda: f"{secrets.token_hex(6)}@example.com")
    spent["insert"].on(lambda: store.insert(batch))
    spent["publish"].on(lambda: broker.publish([to_work(row) for row in batch]))
    claims = spent["claim"].on(lambda: store.claim([wake_up(row) for row in batch], LEASE))
    assert len(claims.acquired) == size, len(claims.acquired)
    settlements = [
        Settlement(
            claims=claims, notification=row, status=Status.SENT, provider="smtp", provider_message_id=f"<{row.id}@x>"
        )
        for row in claims.acquired
    ]
    spent["settle"].on(lambda: store.settle(settlements))


def new_rows(size: int, recipient: Callable[[], str]) -> Sequence[Notification]:
    """Each with an idempotency key of its own."""
    now = datetime.now(UTC)
    return [
        notification(
            now, recipient=recipient(), idempotency_hash=secrets.token_hex(32), fingerprint=secrets.token_hex(32)
        )
        for _ in range(size)
    ]


def _figures(name: str, spent: Spent) -> Iterator[tuple[str, float]]:
    """Milliseconds, a batch."""
    count = len(spent.seconds)
    yield f"{name}.quick", 1000 * percentile(spent.seconds, 0.1)  # what others' load on the machine adds is not ours
    yield f"{name}.median", 1000 * median(spent.seconds)
    yield f"{name}.cpu_here", 1000 * spent.here / count
    yield f"{name}.cpu_there", 1000 * spent.there / count

"""What a large table costs whose indexes do not fit in memory: pages read and written, a row and step.

In a database with 500,000 rows and next to no buffer pool, so that what is not at the end of an index comes from disk.
A real one has memory for a part of them, and reads that much less.
"""

import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.store import SqlStore
from tidings.domain.notification import Status
from tidings.migrate import migrate
from tidings.pipeline.settlement import wake_up
from tidings.ports import Settlement

from local.services.database import connection
from local.services.mariadb import MariaDB
from local.stack.stack import ROOT
from tests.capacity.steps import LEASE, new_rows
from tests.load.filling import fill_ended
from tests.load.usage import cpu_seconds

ROWS = 500_000
SMALL = "16M"
BATCHES, SIZE = 60, 100
PAGES, PAGE = 10, 500  # of old rows that are deleted
READ, WRITTEN = "Innodb_buffer_pool_reads", "Innodb_pages_written"


def cold() -> Iterator[tuple[str, float]]:
    folder = Path(tempfile.mkdtemp(prefix="tidings-"))
    try:
        with MariaDB(folder, buffer_pool="2G", log_file="512M") as server:
            migrate(DatabaseSettings(database_url=server.url), ROOT / "infra" / "migrations")
            fill_ended(server.url, ROWS, days_ago=60)
        with MariaDB(folder, buffer_pool=SMALL, log_file="512M") as server:
            yield from _steps(server)
        with MariaDB(folder, buffer_pool="2G", log_file="512M") as server:
            yield from _warm_purge(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _steps(server: MariaDB) -> Iterator[tuple[str, float]]:
    store = SqlStore(Database(DatabaseSettings(database_url=server.url)))
    reads: dict[str, float] = {"insert": 0, "claim": 0, "settle": 0}
    written = _status(server, WRITTEN)
    for _ in range(BATCHES):
        batch = new_rows(SIZE, recipient=lambda: f"customer-{random.randrange(100_000)}@example.com")
        at = _status(server, READ)
        store.insert(batch)
        reads["insert"] += (after := _status(server, READ)) - at
        claims = store.claim([wake_up(row) for row in batch], LEASE)
        reads["claim"] += (then := _status(server, READ)) - after
        store.settle([Settlement(claims=claims, notification=row, status=Status.SENT) for row in claims.acquired])
        reads["settle"] += _status(server, READ) - then
    time.sleep(5)  # what is changed is written a little later
    for step, count in reads.items():
        yield f"cold.reads.{step}", count / (BATCHES * SIZE)
    yield "cold.writes.sent", (_status(server, WRITTEN) - written) / (BATCHES * SIZE)
    at, written, rows = _status(server, READ), _status(server, WRITTEN), _purge(store)
    yield "cold.reads.purge", (_status(server, READ) - at) / rows
    time.sleep(5)
    yield "cold.writes.purge", (_status(server, WRITTEN) - written) / rows
    store.close()


def _warm_purge(server: MariaDB) -> Iterator[tuple[str, float]]:
    """And what deleting costs where all is in memory."""
    store = SqlStore(Database(DatabaseSettings(database_url=server.url)))
    _purge(store)
    before, begun = cpu_seconds(server.pid), time.perf_counter()
    rows = _purge(store)
    yield "purge.milliseconds", 1000 * (time.perf_counter() - begun) / rows
    time.sleep(3)  # InnoDB goes on in the background
    yield "purge.cpu", 1000 * (cpu_seconds(server.pid) - before) / rows
    store.close()


def _purge(store: SqlStore) -> int:
    rows, after = 0, ""
    for _ in range(PAGES):
        purged = store.purge(timedelta(days=30), PAGE, after=after)
        rows, after = rows + purged.rows, purged.last or ""
    assert rows == PAGES * PAGE, rows
    return rows


def _status(server: MariaDB, name: str) -> float:
    with connection(server.url) as connected, connected.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE %s", (name,))
        found = cursor.fetchone()
        assert found is not None
        return float(found[1])

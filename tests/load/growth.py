"""Scale: the same work with few rows in the table, and with very many."""

import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Any

from pymysql.connections import Connection
from pymysql.cursors import Cursor
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.insight import SqlInsight
from tidings.adapters.sql.rollups import SETTLED_DOWN
from tidings.adapters.sql.store import SqlStore
from tidings.domain.notification import Notification, Status, new_id
from tidings.migrate import migrate
from tidings.pipeline.outgoing import message_for
from tidings.ports import Claims, Selection, Settlement

from local.services.database import connection
from local.stack.stack import ROOT
from local.stack.state import TENANT
from tests.load import pictures, plain
from tests.load.figures import Figure, Report, milliseconds, shown
from tests.load.filling import fill_ended
from tests.load.sizes import Sizes
from tests.load.usage import cpu_seconds
from tests.load.world import BUFFER_POOL, World
from tests.make import notification

BATCH = 100
AT_ONCE = 50_000  # rows that are counted in a transaction, of those that were there before
IN_A_BLOCK = 2  # batches of one table, before the other's turn
LOOK_UPS = 40  # a block
LEASE = timedelta(seconds=60)
RATIO = 1.2
NEWEST = 1000
ANY = "look-up, any of all"
PLAINLY = "reference: plain insert of 100"


@dataclass(kw_only=True)
class Table:
    """A database of its own with so many rows, worked on by the real Store."""

    rows: int
    store: SqlStore
    insight: SqlInsight
    given: plain.Rows  # that are inserted anew, for reference
    connected: "Connection[Cursor]"
    cpu: Callable[[], float]  # of MariaDB, so far
    ids: Sequence[str]
    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def block(self) -> None:
        """Some batches from the insert to `sent`, and some look-ups."""
        batches = [_batch() for _ in range(IN_A_BLOCK)]
        self._each("insert of 100", [partial(self.store.insert, batch) for batch in batches])
        self._each(PLAINLY, [self._insert_plainly] * IN_A_BLOCK)
        messages = [[message_for(row) for row in batch] for batch in batches]
        claims = self._each("claim of 100", [partial(self.store.claim, these, LEASE) for these in messages])
        self._each("settle of 100", [partial(self._settle, claim) for claim in claims])
        newest = [row.id for batch in batches for row in batch] + list(self.ids[:NEWEST])
        for what, ids in (("look-up, one of the newest 1,000", newest), (ANY, self.ids)):
            self._each(what, [partial(self._look_up, id) for id in random.choices(ids, k=LOOK_UPS)])
        for what, selection in LISTS.items():
            self._each(what, [partial(self.store.find, selection, 50)] * (LOOK_UPS // 4))
        for what, look in self._console().items():
            self._each(what, [look] * (LOOK_UPS // 8))
        self.insight.summarize(100 * BATCH)

    def _console(self) -> dict[str, Callable[[], Any]]:
        hour = datetime.now(UTC) - timedelta(hours=1)
        return {
            "console, the last hour": partial(self.insight.activity, TENANT, hour),
            "console, what waits": partial(self.insight.backlog, TENANT),
            "console, dead letters by error": partial(self.insight.dead_groups, Selection(tenant=TENANT)),
        }

    def _insert_plainly(self) -> None:
        now = datetime.now(UTC)
        new = {"id": lambda: new_id(now), "idempotency_hash": lambda: secrets.token_hex(32)}
        columns = self.given.columns
        rows = [
            tuple(new[name]() if name in new else value for name, value in zip(columns, values, strict=True))
            for values in self.given.values
        ]
        with self.connected.cursor() as cursor:
            cursor.executemany(self.given.insert("notifications"), rows)

    def _settle(self, claims: Claims) -> None:
        assert len(claims.acquired) == BATCH, f"{len(claims.acquired)} of {BATCH} were claimed"
        sent = partial(Settlement, claims=claims, status=Status.SENT, provider="smtp")
        self.store.settle([sent(notification=row, provider_message_id=f"<{row.id}@x>") for row in claims.acquired])

    def _look_up(self, id: str) -> None:
        assert self.store.get_with_timeline(TENANT, id) is not None

    def _each(self, what: str, works: Sequence[Callable[[], Any]]) -> list[Any]:
        done, before = [], self.cpu()
        for work in works:
            begun = time.perf_counter()
            done.append(work())
            self.seconds[what].append(time.perf_counter() - begun)
        self.spent[what] += self.cpu() - before
        return done


LISTS = {
    "list, the newest 50": Selection(tenant=TENANT),
    "list, 50 by status": Selection(tenant=TENANT, statuses=[Status.FAILED]),
    "list, 50 by channel": Selection(tenant=TENANT, channel="sms"),
}


def _batch() -> list[Notification]:
    now = datetime.now(UTC)
    return [
        notification(now, tenant=TENANT, idempotency_hash=secrets.token_hex(32), fingerprint=secrets.token_hex(32))
        for _ in range(BATCH)
    ]


def growth(world: World, sizes: Sizes) -> Report:
    fewer, more = sizes.rows
    with world.paused(), _table(world, fewer) as few, _table(world, more) as many:
        for table in (few, many):
            table.block()  # warms it up
            table.seconds.clear()
            table.spent.clear()
        for _ in range(sizes.cycles // IN_A_BLOCK):
            few.block()
            many.block()
    pairs = {what: tuple(milliseconds(median(table.seconds[what])) for table in (few, many)) for what in few.seconds}
    return Report(
        title=f"Scale: {fewer:,} rows and {more:,}",
        how=f"""The store, used as by intake, delivery and look-ups, in two databases of the same server, in turns:
batches of {BATCH} are inserted, claimed and settled, and rows are looked up and listed. For reference, PyMySQL
alone inserts such rows as well. The existing rows have ended, with an event each. Time is the median of one call;
CPU is that of MariaDB and this process, per call. The server's buffer pool is {BUFFER_POOL}, which holds the
indexes of a million rows. If they do not fit (256 MB), an insert takes 1.7 times as long, with Tidings and with
plain PyMySQL. The look-up of any row has no target.""",
        figures=[figure for what in few.seconds for figure in _figures(what, few, many)],
        pictures={
            "growth": pictures.bars("Time of one call", f"{fewer:,} rows", f"{more:,} rows", _two(pairs), "ms"),
        },
    )


def _two(pairs: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, float]]:
    return {what: (pair[0], pair[1]) for what, pair in pairs.items()}


def _figures(what: str, few: Table, many: Table) -> Iterator[Figure]:
    target = None if what in (ANY, PLAINLY) else RATIO
    times = [milliseconds(median(table.seconds[what])) for table in (few, many)]
    cpus = [milliseconds(table.spent[what] / len(table.seconds[what])) for table in (few, many)]
    for kind, (before, after) in (("time", times), ("CPU", cpus)):
        yield Figure(
            what=f"{what}: {kind}, times",
            value=after / before if before else float("nan"),
            at_most=target,
            compared=f"{shown(after, 'ms')}, where few rows take {shown(before, 'ms')}",
        )


@contextmanager
def _table(world: World, rows: int) -> Iterator[Table]:
    name = f"growth_{rows}"
    url = world.mariadb.create_database(name)
    settings = DatabaseSettings(database_url=url)
    migrate(settings, ROOT / "infra" / "migrations")
    fill_ended(url, rows)
    store = SqlStore(Database(settings))
    insight = SqlInsight(store.database)
    time.sleep(SETTLED_DOWN.total_seconds())  # what is younger is counted live
    while insight.summarize(AT_ONCE):
        pass
    try:
        found = world.query(f"SELECT id FROM {name}.notifications ORDER BY id DESC")
        pid = world.mariadb.pid
        with connection(url) as connected:
            yield Table(
                rows=rows,
                store=store,
                insight=insight,
                given=plain.rows(url, BATCH),
                connected=connected,
                cpu=lambda: cpu_seconds(pid) + time.process_time(),
                ids=[row[0] for row in found],
            )
    finally:
        store.close()
        world.mariadb.drop_database(name)

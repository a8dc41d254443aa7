"""Ten thousand dead letters replayed at once, and a hundred thousand due rows swept."""

import random
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from pymysql.cursors import Cursor
from tidings.domain.notification import Priority
from tidings.messaging import topology
from tidings.messaging.envelope import Message
from tidings.ports import PAGE, Outgoing

from local.services.database import connection
from tests.load import plain
from tests.load.figures import Figure, Report, milliseconds, shown
from tests.load.filling import fill
from tests.load.plan import percentile
from tests.load.sizes import Sizes
from tests.load.world import World
from tests.wait import eventually

CALM = 200  # locks taken while nothing else happens, to compare with
PAUSE = 0.002  # seconds between two looks
REASON = {"tidings-class": "permanent", "tidings-code": "550"}


def replay(world: World, sizes: Sizes) -> Report:
    count = sizes.replayed
    with world.paused():
        _dead(world, count)
        queued, answered, problems = _replayed(world, count)
        beside = plain.beside(world.mariadb.url, count / queued)
    return Report(
        title=f"Replay of {count:,} dead letters",
        how="""Rows that are `failed`, each with its dead letter in the queue; then one POST to
`/v1/dead-letters/replay`, while nothing reads the queues. The answer comes when the dead letters, which are now
stale, are gone from their queue as well.""",
        figures=[
            Figure(what="until all are in the queue", value=queued, unit="s", at_most=5),
            Figure(what="rate", value=count / queued, unit="/s", compared=beside),
            Figure(what="until the answer", value=answered, unit="s"),
        ],
        problems=problems,
    )


def _dead(world: World, count: int) -> None:
    failed = {"status": "'failed'", "error_class": "'permanent'", "error_code": "'550'", "provider": "'smtp'"}
    fill(world.mariadb.url, count, **failed)
    ids = [row[0] for row in world.query("SELECT id FROM notifications")]
    letters = [Message(id=id, channel="email", generation=1, attempt=1) for id in ids]
    with world.broker() as broker:
        for start in range(0, count, PAGE):
            wave = letters[start : start + PAGE]
            broker.publish([Outgoing(message=letter, to=topology.dead("email"), headers=REASON) for letter in wave])


def _replayed(world: World, count: int) -> tuple[float, float, list[str]]:
    """Seconds until all are queued, and until the answer."""
    queue, begun = topology.work_queue("email", Priority.NORMAL), time.monotonic()
    with ThreadPoolExecutor(1) as thread, world.broker() as broker:
        asked = thread.submit(world.caller.replay, limit=count)
        queued = eventually(
            "all are in the queue", lambda: asked.done() or broker.depth(queue) >= count, within=60, every=0.02
        )
        answer = asked.result()
        answered = time.monotonic() - begun
        in_queue = broker.depth(queue)
    right = answer["count"] == answer["queued"] == in_queue == count
    told = f"{answer['count']} replayed, {answer['queued']} queued, {in_queue} in the queue, of {count}"
    return queued, answered, [] if right else [told]


def sweep(world: World, sizes: Sizes) -> Report:
    count = sizes.swept
    with world.paused():
        fill(world.mariadb.url, count, status="'pending'", attempt="0", wake_at="UTC_TIMESTAMP(6) - INTERVAL 60 SECOND")
        ids = [row[0] for row in world.query("SELECT id FROM notifications ORDER BY id")]
        with _locks(world, ids) as calm:
            eventually("calm looks", lambda: len(calm) >= CALM, within=60)
        with _locks(world, ids) as waits:
            seconds = _swept(world)
        beside = plain.beside(world.mariadb.url, count / seconds)
        with world.broker() as broker:
            in_queue = broker.depth(topology.work_queue("email", Priority.NORMAL))
    quiet = milliseconds(percentile(calm, 0.99))
    return Report(
        title=f"Sweep of {count:,} due rows",
        how="""Rows that are `pending`, overdue and never queued, as after a long outage of the broker; the sweep is
called until none is left. Meanwhile a second connection locks and releases one random row after another, in the
page that the sweep is working on. It waits as long as a claim or a cancel would.""",
        figures=[
            Figure(what="until all are in the queue", value=seconds, unit="s"),
            Figure(what="rate", value=count / seconds, unit="/s", compared=beside),
            Figure(what="rows a transaction, at most", value=PAGE),
            Figure(
                what="a row's lock: 99th percentile of the wait",
                value=milliseconds(percentile(waits, 0.99)),
                unit="ms",
                compared=f"{shown(quiet, 'ms')} while nothing else happens",
            ),
            Figure(
                what="a row's lock: the longest wait", value=milliseconds(percentile(waits, 1)), unit="ms", at_most=100
            ),
            Figure(what="locks taken", value=len(waits)),
        ],
        problems=[] if in_queue >= count else [f"{in_queue} of {count} are in the queue"],
    )


def _swept(world: World) -> float:
    begun = time.monotonic()
    while world.rows("queued_at IS NULL"):
        answer = world.caller.ask(f"{world.stack.ops_url}/v1/sweep", {})
        assert answer.status == 200, answer
        assert time.monotonic() - begun < 600, "the sweep comes to no end"
    return time.monotonic() - begun


@contextmanager
def _locks(world: World, ids: Sequence[str]) -> Iterator[list[float]]:
    """In the block, one row after another is locked; seconds that each took. `ids`: in the sweep's order."""
    waits: list[float] = []
    over = threading.Event()

    def look() -> None:
        front = 0
        with connection(world.mariadb.url) as connected, connected.cursor() as cursor:
            while not over.wait(PAUSE):
                front = _front(cursor, ids, front)
                cursor.execute("BEGIN")
                begun = time.monotonic()
                one = random.choice(ids[front : front + PAGE])
                cursor.execute("SELECT id FROM notifications WHERE id = %s FOR UPDATE", (one,))
                waits.append(time.monotonic() - begun)
                cursor.execute("ROLLBACK")

    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(look)
        try:
            yield waits
        finally:
            over.set()
            looking.result()


def _front(cursor: Cursor, ids: Sequence[str], last: int) -> int:
    """The place of the first row that is not swept, from the last such place on."""
    cursor.execute(
        "SELECT id FROM notifications WHERE id >= %s AND queued_at IS NULL ORDER BY id LIMIT 1", (ids[last],)
    )
    found = cursor.fetchone()
    return bisect_left(ids, found[0]) if found is not None else last

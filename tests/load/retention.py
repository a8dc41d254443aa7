"""Retention: old rows are deleted while the load runs."""

import time

from tests.load.figures import Figure, Report, milliseconds, shown
from tests.load.filling import fill_ended
from tests.load.latency import CONNECTIONS, Arrived, arrived, warmed
from tests.load.plan import Plan, mail, percentile
from tests.load.sizes import Sizes
from tests.load.world import World
from tests.wait import eventually

OLD, KEPT = 60, 30  # days
PACE = 300  # mails a second meanwhile


def retention(world: World, sizes: Sizes) -> Report:
    count = sizes.purged
    with world.paused():
        fill_ended(world.mariadb.url, count, days_ago=OLD)
    warmed(world)
    before = _loaded(world, sizes)
    begun = time.monotonic()
    world.stack.processes.restart("replay", TIDINGS_RETENTION_DAYS=str(KEPT))
    during = _loaded(world, sizes)
    old = f"updated_at < UTC_TIMESTAMP() - INTERVAL {KEPT} DAY"
    left = world.rows(old)
    deleted, seconds = count - left, time.monotonic() - begun
    eventually("the old rows are gone", lambda: world.rows(old) == 0, within=60 + count / 100, every=0.5)
    orphans = "SELECT COUNT(*) FROM events WHERE notification_id NOT IN (SELECT id FROM notifications)"
    events = int(world.query(orphans)[0][0])
    world.stack.processes.restart("replay")
    return Report(
        title=f"Retention: {count:,} old rows",
        how=f"""Rows that ended {OLD} days ago, each with its event. {PACE} mails a second are submitted and sent at
an even pace, first with nothing to delete, then with `TIDINGS_RETENTION_DAYS={KEPT}`: every sweep deletes pages of
500 rows for two seconds, and pauses after each page as long as it took. The times are from before the POST to the
mail server.""",
        figures=[
            *_figures("nothing to delete", before),
            *_figures("while rows are deleted", during, than=before),
            Figure(what="deleted meanwhile", value=deleted / seconds, unit="/s"),
        ],
        problems=[
            *before.problems,
            *during.problems,
            *([f"{events} events are left without their row"] if events else []),
        ],
    )


def _loaded(world: World, sizes: Sizes) -> Arrived:
    plan = Plan(body=mail(), connections=CONNECTIONS * 4, seconds=sizes.loaded_seconds, every=1 / PACE)
    return arrived(world, plan)


def _figures(what: str, mails: Arrived, *, than: Arrived | None = None) -> list[Figure]:
    figures = []
    for name, share in (("median", 0.5), ("99th percentile", 0.99)):
        value = milliseconds(percentile(mails.latencies, share))
        compared = f"{shown(value / milliseconds(percentile(than.latencies, share)))} times" if than is not None else ""
        figures.append(Figure(what=f"{what}: {name}", value=value, unit="ms", compared=compared))
    return figures

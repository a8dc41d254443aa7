"""Scale: throughput with more calls at once, and with more instances of the function."""

import os
from collections.abc import Sequence

from tidings.pipeline.delivery import RESERVED

from tests.load.figures import Figure, Report
from tests.load.plan import Plan, array
from tests.load.sizes import Sizes
from tests.load.world import World
from tests.wait import eventually

DELAY = 0.1  # seconds that the mail server takes
EACH = 8  # calls at once of each instance
HELD = 200  # messages that a trigger holds: its two batches, so that it keeps none from the others
ARRAY = 100


def senders(world: World, sizes: Sizes) -> Report:
    figures = []
    for concurrency in sizes.concurrencies:
        figures.append(_figure(f"{concurrency} calls at once", world, sizes, 1, concurrency))
    for instances in sizes.instances:
        figures.append(_figure(f"{instances} instance(s), {EACH} calls each", world, sizes, instances, EACH))
    return Report(
        title="Scale: more senders",
        how=f"""The mail server takes {DELAY * 1000:.0f} ms to answer each final dot, so each concurrent call sends
at most {1 / DELAY:.0f} mails a second. First one email function with more and more concurrent calls
(`TIDINGS_CONCURRENCY`), then more and more functions with {EACH} each, all with their own trigger. The mails are in
the queue before the triggers start, each of which holds at most {HELD}; counted from the first tenth of the
arrivals to the ninth. The rate stops growing in proportion when the {os.cpu_count()} cores are full, which the CPU
shows.""",
        figures=figures,
    )


def _figure(what: str, world: World, sizes: Sizes, instances: int, concurrency: int) -> Figure:
    best = instances * concurrency / DELAY
    rate, busy = rate_of(world, sizes, instances, concurrency)
    compared = f"{100 * rate / best:.0f} % of {best:.0f}/s; {busy:.2f} cores busy with Tidings, MariaDB and RabbitMQ"
    return Figure(what=what, value=rate, unit="/s", compared=compared)


def rate_of(world: World, sizes: Sizes, instances: int, concurrency: int) -> tuple[float, float]:
    """Mails a second, and CPU seconds a second."""
    wanted = int(instances * (concurrency * sizes.scale_seconds / DELAY + (HELD if instances > 1 else 0)))
    settings = {
        "TIDINGS_CONCURRENCY": str(concurrency),
        "TIDINGS_SMTP_CONNECTIONS": str(concurrency + RESERVED),
        "TIDINGS_BROKER_PREFETCH": str(HELD),
    }
    with world.paused():
        handed = world.generator.run(Plan(body=array(ARRAY), connections=2, count=wanted // ARRAY + 1))
        assert not handed.failed, handed.problems()
        world.sink.delay(DELAY)
        with world.senders(instances, **settings):
            eventually("a first mail", lambda: world.sink.count() > 0, within=60)
            before = world.cpu()
            took = eventually("the mails", lambda: world.sink.count() >= wanted, within=120)
            cpu = world.cpu().since(before)
            world.sink.delay(0)
        arrived = sorted(world.sink.take().at)[:wanted]
    return _steady(arrived), sum(cpu.seconds.values()) / took


def _steady(arrived: Sequence[float]) -> float:
    first, last = len(arrived) // 10, len(arrived) * 9 // 10
    return (last - first) / (arrived[last] - arrived[first])

"""Scale: memory with few messages queued, and with very many."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from tidings.adapters.rabbitmq.broker import RabbitBroker
from tidings.domain.errors import BrokerUnavailable
from tidings.domain.notification import Priority, new_id
from tidings.messaging import topology
from tidings.messaging.envelope import Message
from tidings.ports import Outgoing

from tests.load.figures import Figure, Report
from tests.load.sizes import Sizes
from tests.load.usage import megabytes
from tests.load.world import World

PARTS = ("trigger", "email", "replay")
WAVE = 1000  # messages that are confirmed together
NO_MORE = 1.1  # times; what two starts of one process differ by


def memory(world: World, sizes: Sizes) -> Report:
    fewer, more = sizes.queued
    few, _ = _with_queued(world, fewer, sizes.watched_seconds)
    many, left = _with_queued(world, more, sizes.watched_seconds)
    return Report(
        title=f"Scale: {fewer:,} messages queued and {more:,}",
        how=f"""The messages are published to the work queue of `email` while its trigger does not run. (Their rows
are gone, so each message is stale and dropped.) Then the processes are restarted, and their resident memory is
watched for {sizes.watched_seconds:g} s while they work; the peak counts. The goal is no more memory; {NO_MORE:g}
times allows for the difference between two starts of a process.""",
        figures=[
            *(
                Figure(
                    what=f"{name}: memory, times",
                    value=many[name] / few[name],
                    at_most=NO_MORE,
                    compared=f"{many[name]:.0f} MiB, where few messages take {few[name]:.0f} MiB",
                )
                for name in PARTS
            ),
            Figure(what="still queued when the watch ended", value=left),
        ],
    )


def _with_queued(world: World, count: int, seconds: float) -> tuple[dict[str, float], int]:
    """The most memory of each, and how many messages were left."""
    processes = world.stack.processes
    with world.paused():
        with world.broker() as broker:
            publish(broker, count)
        for name in ("email", "replay"):
            processes.restart(name)
    most, until = dict.fromkeys(PARTS, 0.0), time.monotonic() + seconds
    while time.monotonic() < until:
        for name in PARTS:
            most[name] = max(most[name], megabytes(processes.running[name].pid))
        time.sleep(0.1)
    with world.broker() as broker:
        return most, broker.depth(topology.work_queue("email", Priority.NORMAL))


def publish(broker: RabbitBroker, count: int) -> None:
    def wave(size: int) -> None:
        now, to = datetime.now(UTC), topology.work("email", Priority.NORMAL)
        made = [Message(id=new_id(now), channel="email", generation=1) for _ in range(size)]
        outgoing = [Outgoing(message=message, to=to) for message in made]
        for _ in range(60):  # an alarm of the broker's memory passes
            try:
                return broker.publish(outgoing)
            except BrokerUnavailable:
                time.sleep(1)
        raise AssertionError("the broker took no messages for a minute")

    with ThreadPoolExecutor(2) as threads:  # while one wave is confirmed, the next is on its way
        list(threads.map(wave, [min(WAVE, count - start) for start in range(0, count, WAVE)]))

"""All faults, the rows of the table. Each is injected into real processes, servers or providers, and ended again."""

import signal

from tests.faults import (
    clocks,
    database_clock,
    failover,
    mariadb,
    messages,
    network,
    nodes,
    processes,
    providers,
    rabbitmq,
    scale,
)
from tests.faults.fault import Fault, Scene


def nothing(scene: Scene) -> None:
    scene.world.tell("trigger", signal.SIGCONT)


FAULTS = (
    Fault(name="none", inject=nothing),
    *processes.FAULTS,
    *rabbitmq.FAULTS,
    *nodes.FAULTS,
    *mariadb.FAULTS,
    *failover.FAULTS,
    *network.FAULTS,
    *providers.FAULTS,
    *messages.FAULTS,
    *clocks.FAULTS,
    *database_clock.FAULTS,
    *scale.FAULTS,
)

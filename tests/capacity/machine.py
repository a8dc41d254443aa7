"""One machine: SQLite as long as it will do, then the whole set, as the Compose file has it."""

import math
from collections.abc import Sequence

from tests.capacity.demand import OTHERS, SIZES, Demand
from tests.capacity.model import Need, at_least, sized

PARTS = ("intake", "trigger", "email", "mariadb", "rabbitmq", "replay", "schedule")


def is_embedded(demand: Demand, rate: float) -> bool:
    """Whether SQLite is enough."""
    return rate <= demand.given.measured("sqlite.rate") * demand.busy


def one_machine(demand: Demand, rate: float) -> Sequence[Need]:
    """SQLite as long as it will do; then the whole set with MariaDB and RabbitMQ, as the Compose file has it."""
    given = demand.given
    embedded = is_embedded(demand, rate)
    work = given.measured("sqlite.cpu") / 1000 if embedded else math.fsum(map(demand.cpu, PARTS))
    memory = _memory(demand, rate, embedded=embedded)
    cores = sized(max(rate * work / demand.busy, memory / 4), SIZES)
    stored = demand.gigabytes(rate) / given.assumed("disk_share")
    pages = rate * (given.measured("cold.writes.sent") + given.measured("cold.writes.purge")) / demand.busy
    disk = at_least(stored, 20)
    dollars = cores * demand.hours * given.price("vm") + disk * given.price("volume")
    queue = demand.broker(rate, nodes=0, core=0.0, gigabyte=0.0)[2]
    return [
        Need(part="machine", units=1, unit="machine", dollars=dollars),
        Need(part="functions", units=_processes(demand, rate), unit="process"),
        Need(
            part="SQLite's one writer",
            units=rate / (given.measured("sqlite.rate") * demand.busy),
            unit="file",
            most=1,
            can_grow=True,
            beyond="MariaDB and RabbitMQ on the same machine",
        ),
        Need(
            part="machine: CPU and memory",
            units=cores,
            unit="vCPU",
            most=given.limit("machine_cores"),
            beyond="more machines, a stack each",
        ),
        Need(
            part="machine: disk",
            units=disk,
            unit="GB",
            most=given.limit("database_storage"),
            beyond="fewer days; or more machines, a stack each",
        ),
        Need(
            part="machine: pages written",
            units=pages,
            unit="IOPS",
            most=given.limit("volume_iops"),
            dollars=max(0.0, pages - 3000) * given.price("volume_iops"),
            beyond="more machines, a stack each",
        ),
        queue,
        demand.sweep(rate),
    ]


def _processes(demand: Demand, rate: float) -> int:
    """Intake, functions with their triggers (one process has all), replay and schedule."""
    return at_least(rate * demand.cpu("intake") / demand.busy, 1) + demand.functions(rate) + OTHERS + 3


def _memory(demand: Demand, rate: float, *, embedded: bool) -> float:
    """GB."""
    measured = demand.given.measured
    names = ("intake", "trigger", "email", "replay", "schedule")
    processes = math.fsum(measured(f"megabytes.{name}") for name in names) + OTHERS * measured("megabytes.email")
    more = (demand.functions(rate) - 1) * measured("megabytes.email")
    servers = 0.0 if embedded else measured("megabytes.mariadb") + measured("megabytes.rabbitmq")
    indexes = demand.index_gigabytes(rate) / demand.given.assumed("index_share")
    return (processes + more + servers) / 1000 + indexes

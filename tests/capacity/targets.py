"""The four targets: what each part needs at a rate, and what it costs there."""

import math
from collections.abc import Mapping, Sequence

from tests.capacity.demand import EACH, OTHERS, SIZES, WORK_FOR, Demand
from tests.capacity.model import Need, Target, at_least, sized

MACHINE, KUBERNETES, LAMBDA, RUN = "One machine", "Kubernetes with KEDA", "AWS Lambda", "Cloud Run"
PARTS = ("intake", "trigger", "email", "mariadb", "rabbitmq", "replay", "schedule")
SWEEP_BEYOND = "more schedules and replays at once, which is allowed and was not measured; or a stack each"


def targets(demand: Demand) -> Mapping[str, Target]:
    return {
        MACHINE: lambda rate: _machine(demand, rate),
        KUBERNETES: lambda rate: _kubernetes(demand, rate),
        LAMBDA: lambda rate: _lambda(demand, rate),
        RUN: lambda rate: _run(demand, rate),
    }


def _sweep(demand: Demand, rate: float) -> Need:
    return Need(
        part="the sweep's deletions",
        units=rate / demand.purge_rate(),
        unit="sweep",
        most=1,
        beyond=SWEEP_BEYOND,
    )


# --- one machine ------------------------------------------------------------------------------------------------------


def is_embedded(demand: Demand, rate: float) -> bool:
    """Whether SQLite is enough."""
    return rate <= demand.given.measured("sqlite.rate") * demand.busy


def _machine(demand: Demand, rate: float) -> Sequence[Need]:
    """SQLite as long as it will do; then the whole set with MariaDB and RabbitMQ, as the Compose file has it."""
    given = demand.given
    embedded = is_embedded(demand, rate)
    work = given.measured("sqlite.cpu") / 1000 if embedded else sum(map(demand.cpu, PARTS))
    memory = _machine_memory(demand, rate, embedded=embedded)
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
        _sweep(demand, rate),
    ]


def _processes(demand: Demand, rate: float) -> int:
    """Intake, functions with their triggers (one process has all), replay and schedule."""
    return at_least(rate * demand.cpu("intake") / demand.busy, 1) + demand.functions(rate) + OTHERS + 3


def _machine_memory(demand: Demand, rate: float, *, embedded: bool) -> float:
    """GB."""
    measured = demand.given.measured
    names = ("intake", "trigger", "email", "replay", "schedule")
    processes = sum(measured(f"megabytes.{name}") for name in names) + OTHERS * measured("megabytes.email")
    more = (demand.functions(rate) - 1) * measured("megabytes.email")
    servers = 0.0 if embedded else measured("megabytes.mariadb") + measured("megabytes.rabbitmq")
    indexes = demand.index_gigabytes(rate) / demand.given.assumed("index_share")
    return (processes + more + servers) / 1000 + indexes


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def _rds(demand: Demand, rate: float, *, intake: float = 0.0) -> list[Need]:
    """In two zones."""
    price = demand.given.price
    return demand.database(
        rate,
        core=2 * demand.hours * price("rds"),
        storage=2 * price("rds_storage"),
        iops=2 * price("rds_iops"),
        intake=intake,
    )


def _kubernetes(demand: Demand, rate: float) -> Sequence[Need]:
    """EKS, with RDS, and RabbitMQ on three nodes of its own."""
    given, hours = demand.given, demand.hours
    intakes, functions = demand.intakes(rate), demand.functions(rate)
    pods = intakes + 2 * (functions + OTHERS) + 2
    cores = rate * sum(map(demand.cpu, ("intake", "trigger", "email"))) / demand.busy
    cores += pods * given.assumed("idle_cores")
    memory = _memory(demand, intakes=intakes, functions=functions)
    nodes = at_least(max(cores / (2 * 0.8), memory / (8 * 0.8)), 2)
    return [
        Need(part="functions", units=pods, unit="pod"),
        Need(part="intake", units=intakes, unit="pod"),
        Need(part="email with its trigger", units=functions, unit="pair of pods"),
        Need(part="nodes", units=nodes, unit="node of 2 vCPU", dollars=2 * nodes * hours * given.price("vm")),
        Need(part="the cluster", units=1, unit="cluster", dollars=hours * given.price("eks")),
        *demand.broker(rate, nodes=3, core=hours * given.price("vm"), gigabyte=given.price("volume")),
        *_rds(demand, rate),
        _sweep(demand, rate),
    ]


def _memory(demand: Demand, *, intakes: int, functions: int) -> float:
    """GB of all pods."""
    measured = demand.given.measured
    pairs = (functions + OTHERS) * (measured("megabytes.email") + measured("megabytes.trigger"))
    others = measured("megabytes.replay") + measured("megabytes.schedule")
    return (intakes * measured("megabytes.intake") + pairs + others) / 1000


# --- Lambda -----------------------------------------------------------------------------------------------------------


def _lambda(demand: Demand, rate: float) -> Sequence[Need]:
    """HTTP API, one event source mapping a function, Amazon MQ, RDS. An environment of intake has one request at a
    time, so that nothing is gathered: each notification is a commit of its own."""
    given, seconds = demand.given, demand.seconds
    measured, price = given.measured, given.price
    share = given.assumed("lambda_gigabytes") / given.assumed("lambda_gigabytes_a_core")  # of a core
    spent = measured("one_at_a_time.cpu.intake") / 1000
    waited = measured("one_at_a_time.milliseconds.p50") / 1000 - spent
    request = waited + spent / min(share, 1.0) + 4 * given.assumed("network")
    a_mapping = demand.sender_rate_on_lambda
    functions = at_least(rate / (a_mapping * demand.busy), 1)
    environments = math.ceil(rate * request / demand.busy) + functions
    gigabytes = given.assumed("lambda_gigabytes")
    batches = min(functions * a_mapping / 100, rate)  # a batch is 100 at most, and one at least
    busy_seconds = min(rate / a_mapping, functions) * seconds
    swept = _schedules(demand, rate)
    sweeping = swept * WORK_FOR * seconds / EACH
    more = measured("one_at_a_time.cpu.mariadb") / 1000 - demand.cpu("mariadb") / 3
    return [
        Need(part="functions", units=2 + functions + OTHERS, unit="function"),
        Need(
            part="intake",
            units=math.ceil(rate * request / demand.busy),
            unit="environment",
            dollars=rate * seconds * (request * gigabytes * price("lambda") + price("lambda_request")),
        ),
        Need(
            part="email with its mapping",
            units=functions,
            unit="function",
            dollars=busy_seconds * gigabytes * price("lambda") + batches * seconds * price("lambda_request"),
        ),
        Need(part="replay", units=swept, unit="schedule", dollars=sweeping * gigabytes * price("lambda")),
        Need(
            part="one event source mapping",
            units=rate / (a_mapping * demand.busy),
            unit="mapping",
            most=1,
            can_grow=True,
            beyond="the same function under another name, with a mapping of its own on the same queue",
        ),
        Need(
            part="HTTP API",
            units=rate,
            unit="request/s",
            most=given.limit("http_api"),
            can_grow=True,
            dollars=rate * seconds * price("http_api"),
            beyond="ask for more; arrays",
        ),
        Need(
            part="environments at once",
            units=environments,
            unit="environment",
            most=given.limit("lambda"),
            can_grow=True,
            beyond="ask for more; arrays",
        ),
        Need(
            part="NAT gateway",
            units=2,
            unit="gateway",
            dollars=price("nat") * (2 * demand.hours + rate * seconds * given.assumed("kilobytes_out") / 1e6),
        ),
        *demand.broker(rate, nodes=3, core=demand.hours * price("mq"), gigabyte=price("mq_storage")),
        *_rds(demand, rate, intake=max(more, 0.0)),
        _sweep(demand, rate),
    ]


def _schedules(demand: Demand, rate: float) -> int:
    """A schedule of AWS begins a sweep a minute, which deletes for two seconds: several, to delete as fast."""
    return at_least(rate / demand.purge_rate() * EACH / WORK_FOR, 1)


# --- Cloud Run --------------------------------------------------------------------------------------------------------


def _run(demand: Demand, rate: float) -> Sequence[Need]:
    """Services of one vCPU and 0.5 GiB, billed by instance: a trigger holds a connection, and so is never at rest.
    Cloud SQL in two zones, RabbitMQ on three machines of Compute Engine."""
    hours, price = demand.hours, demand.given.price
    intakes, functions = demand.intakes(rate), demand.functions(rate)
    instances = intakes + 2 * (functions + OTHERS) + 2
    an_instance = demand.seconds * (price("run_cpu") + 0.5 * price("run_memory"))
    core = 2 * hours * (price("cloudsql_cpu") + 8 * price("cloudsql_memory"))
    return [
        Need(part="functions", units=instances, unit="instance", dollars=instances * an_instance),
        Need(part="intake", units=intakes, unit="instance"),
        Need(part="email with its trigger", units=functions, unit="pair of instances"),
        *demand.broker(rate, nodes=3, core=hours * price("gce"), gigabyte=price("gce_disk")),
        *demand.database(rate, core=core, storage=2 * price("cloudsql_storage"), iops=0.0),
        _sweep(demand, rate),
    ]

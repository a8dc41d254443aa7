"""Processes in containers that run all the time: Kubernetes with KEDA, and Cloud Run."""

from collections.abc import Sequence

from tests.capacity.aws import rds
from tests.capacity.demand import OTHERS, Demand
from tests.capacity.model import Need, at_least


def kubernetes(demand: Demand, rate: float) -> Sequence[Need]:
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
        *rds(demand, rate),
        demand.sweep(rate),
    ]


def _memory(demand: Demand, *, intakes: int, functions: int) -> float:
    """GB of all pods."""
    measured = demand.given.measured
    pairs = (functions + OTHERS) * (measured("megabytes.email") + measured("megabytes.trigger"))
    others = measured("megabytes.replay") + measured("megabytes.schedule")
    return (intakes * measured("megabytes.intake") + pairs + others) / 1000


def cloud_run(demand: Demand, rate: float) -> Sequence[Need]:
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
        demand.sweep(rate),
    ]

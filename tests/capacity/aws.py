"""AWS: the database that Kubernetes takes there as well, and Lambda."""

import math
from collections.abc import Sequence

from tests.capacity.demand import OTHERS, Demand
from tests.capacity.model import Need, at_least

SWEPT = 55 / 60
"""Of each minute: SweepFor in infra/aws/template.yaml."""


def rds(demand: Demand, rate: float, *, intake: float = 0.0) -> list[Need]:
    """In two zones."""
    price = demand.given.price
    return demand.database(
        rate,
        core=2 * demand.hours * price("rds"),
        storage=2 * price("rds_storage"),
        iops=2 * price("rds_iops"),
        intake=intake,
    )


def on_lambda(demand: Demand, rate: float) -> Sequence[Need]:
    """HTTP API, one event source mapping a function, Amazon MQ, RDS. An environment of intake has one request at a
    time, so that nothing is gathered: each notification is a commit of its own."""
    given, seconds = demand.given, demand.seconds
    measured, price = given.measured, given.price
    share = given.assumed("lambda_gigabytes") / given.assumed("lambda_gigabytes_a_core")  # of a core
    spent = measured("one_at_a_time.cpu.intake") / 1000
    waited = measured("one_at_a_time.milliseconds.p10") / 1000 - spent
    request = waited + spent / min(share, 1.0) + 4 * given.assumed("network")
    a_mapping = demand.sender_rate_on_lambda
    functions = at_least(rate / (a_mapping * demand.busy), 1)
    environments = math.ceil(rate * request / demand.busy) + functions
    gigabytes = given.assumed("lambda_gigabytes")
    batches = min(functions * a_mapping / 100, rate)  # a batch is 100 at most, and one at least
    busy_seconds = min(rate / a_mapping, functions) * seconds
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
        Need(part="replay, which sweeps", units=1, unit="environment", dollars=SWEPT * seconds * price("lambda")),
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
        *rds(demand, rate, intake=max(more, 0.0)),
        demand.sweep(rate),
    ]

"""From what was measured to what is simulated: a line through each step's sizes, and the rest by subtraction."""

import math
from collections.abc import Sequence
from dataclasses import replace

from tidings.domain.timing import RETRY_STEPS

from tests.capacity.agenda import SECOND
from tests.capacity.inputs import Inputs
from tests.capacity.setup import Costs, Linear, Provider, Step

SIZES = (1, 10, 100, 500)
TYPICAL = 64  # rows a batch of the run whose totals are taken apart: one of each connection
LADDER_MICROSECONDS = tuple(round(step.total_seconds() * SECOND) for step in RETRY_STEPS)


def fitted(points: Sequence[tuple[int, float]]) -> Linear:
    """The line whose relative errors have the least squares; nothing is cheaper than free."""
    weights = [1 / max(value, 1e-9) ** 2 for _, value in points]
    total = math.fsum(weights)
    rows = math.fsum(weight * size for weight, (size, _) in zip(weights, points, strict=True))
    squares = math.fsum(weight * size * size for weight, (size, _) in zip(weights, points, strict=True))
    values = math.fsum(weight * value for weight, (_, value) in zip(weights, points, strict=True))
    products = math.fsum(weight * size * value for weight, (size, value) in zip(weights, points, strict=True))
    row = (total * products - rows * values) / (total * squares - rows * rows)
    fixed = (values - row * rows) / total
    return Linear(max(fixed, 0.0), max(row, 0.0))


def _step(given: Inputs, name: str) -> Step:
    def of(what: str) -> Linear:
        return fitted([(size, 1000 * given.measured(f"steps.{name}.{size}.{what}")) for size in SIZES])

    return Step(here=of("cpu_here"), there=of("cpu_there"))


def in_a_cloud(given: Inputs) -> Costs:
    """Over a network, on network storage."""
    flush, confirm, hop = (round(given.assumed(name) * SECOND) for name in ("flush", "confirm", "network"))
    return replace(costs(given), flush=flush, confirm=confirm, hop=hop)


def costs(given: Inputs) -> Costs:
    """On the measured machine's disk."""
    a_commit = round(1000 * given.speed("commit"))
    insert, publish, claim, settle = (_step(given, name) for name in ("insert", "publish", "claim", "settle"))

    def a_row(line: Linear) -> float:
        return line(TYPICAL) / TYPICAL

    def total(part: str) -> float:
        return 1000 * given.measured(f"end_to_end.cpu.{part}")  # seconds per 1,000: microseconds each

    return Costs(
        request=total("intake") - a_row(insert.here) - a_row(publish.here),
        insert=insert,
        publish=publish,
        trigger=total("trigger"),
        claim=claim,
        send=total("email") - a_row(claim.here) - a_row(settle.here),
        settle=settle,
        deliver=total("rabbitmq") - a_row(publish.there),
        flush=a_commit,
        confirm=a_commit,
        hop=0,
    )


def on_one_machine(given: Inputs) -> Costs:
    """With the load generator and the mail server, which take their share there."""
    return replace(
        costs(given),
        generator=1000 * given.measured("end_to_end.cpu.generator"),
        sink=1000 * given.measured("end_to_end.cpu.sink"),
    )


def provider(given: Inputs) -> Provider:
    return Provider(
        median=round(given.assumed("provider_median") * SECOND),
        p99=round(given.assumed("provider_p99") * SECOND),
        failing=given.assumed("failing"),
    )

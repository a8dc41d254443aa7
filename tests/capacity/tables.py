"""The page's tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.capacity.costs import SIZES
from tests.capacity.demand import Demand
from tests.capacity.findings import RATES, Found
from tests.capacity.inputs import Inputs
from tests.capacity.machine import is_embedded
from tests.capacity.model import Limit, Need, Plan, Target, plan
from tests.capacity.study import RATE, Compared, Sharded
from tests.capacity.targets import KUBERNETES, LAMBDA, MACHINE, RUN, targets
from tests.load.figures import shown

DAYS = (1, 7, 30)
BY_DAYS = ["10,000/s on Kubernetes", "stacks", "a database", "storage, each", "money"]
COMPARED = ["the bench's own configuration", "measured", "simulated", "off by"]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


PROCESSES = {MACHINE: "processes", KUBERNETES: "pods", LAMBDA: "functions", RUN: "instances"}


# --- the first table --------------------------------------------------------------------------------------------------


def row(it: Found, number: int) -> list[str]:
    rate = RATES[number]
    cells = (_cell(it.demand, name, plans[number]) for name, plans in it.plans.items())
    return [f"**{rate:,.0f}/s**", *cells]


def _cell(demand: Demand, name: str, made: Plan) -> str:
    stacks = [f"**{made.shards} stacks**, each:"] if made.shards > 1 else []
    functions = _in(made.needs, "functions")
    each = [f"{functions:.0f} {PROCESSES[name]}"]
    if name == MACHINE:
        cores = _in(made.needs, "machine: CPU and memory")
        kind = "SQLite" if is_embedded(demand, made.rate / made.shards) else "MariaDB, one RabbitMQ"
        each += [f"{cores:.0f} vCPU", kind, f"{_disk(_in(made.needs, 'machine: disk'))} of disk"]
    else:
        nodes, cores = _in(made.needs, "broker"), _in(made.needs, "broker: CPU of a node")
        each += [f"{nodes:.0f} broker nodes of {cores:.0f} vCPU"]
        database, stored = _in(made.needs, "database"), _in(made.needs, "database: storage")
        memory = database * demand.memory_a_core
        each += [f"database of {database:.0f} vCPU, {memory:.0f} GB of memory, {_disk(stored)}"]
    return "<br>".join([*stacks, *each, f"**{money(made.dollars)} a month**"])


def _in(needs: Sequence[Need], part: str) -> float:
    return next(need.units for need in needs if need.part == part)


def _disk(gigabytes: float) -> str:
    return f"{_two(gigabytes / 1000):g} TB" if gigabytes >= 1000 else f"{gigabytes:,.0f} GB"


def _two(value: float) -> float:
    return float(f"{value:.2g}")


def money(dollars: float) -> str:
    """Two digits: no more is meant."""
    return f"${_two(dollars):,.0f}"


def seconds(value: float) -> str:
    return f"{_two(value):.2g} s" if value >= 1 else f"{_two(1000 * value):.0f} ms"


# --- the others -------------------------------------------------------------------------------------------------------


def first(found: Mapping[str, Sequence[Limit]]) -> Iterable[list[str]]:
    for target, ones in found.items():
        first, then = ones[0], ones[1]
        yield [
            target,
            f"**{first.part}**",
            f"**{_two(first.rate):,.0f}/s**",
            first.beyond,
            f"{then.part}, {_two(then.rate):,.0f}/s",
        ]


def by_days(given: Inputs) -> Iterable[list[str]]:
    for days in DAYS:
        read = {**given.read, "assumed": {**given.read["assumed"], "keep_days": days}}
        target: Target = targets(Demand(replace(given, read=read)))[KUBERNETES]
        made = plan(target, RATE)
        yield [
            "1 day" if days == 1 else f"{days} days",
            str(made.shards),
            f"{made.each('database'):.0f} vCPU",
            _disk(made.each("database: storage")),
            f"{money(made.dollars)} a month",
        ]


SHARDED = [
    "stacks",
    "each",
    "accepted and sent, of all",
    "POST, 99 %",
    "POST to provider's answer: half, 99 %, 99.9 %",
    "busiest",
    "holds",
]


def sharded(one: Sharded, it: Found) -> list[str]:
    ran, setup = one.outcome, one.setup
    busiest = max(ran.utilisation, key=lambda name: ran.utilisation[name])
    reads = "" if one.is_warm else ", reads from disk"
    return [
        str(one.shards),
        f"{setup.intakes} intake, {setup.senders} functions, {setup.database} vCPU{reads}",
        f"{_two(one.shards * ran.accepted_rate):,.0f}/s, {_two(one.shards * ran.sent_rate):,.0f}/s",
        seconds(ran.post(0.99)),
        ", ".join(seconds(ran.whole(share)) for share in (0.5, 0.99, 0.999)),
        f"{busiest}, {100 * ran.utilisation[busiest]:.0f} %",
        "yes" if one.holds(it.given) else "no",
    ]


def compared(one: Compared) -> list[str]:
    return [
        one.what,
        shown(_three(one.measured), one.unit),
        shown(_three(one.simulated), one.unit),
        f"{100 * one.error:+.0f} %",
    ]


def _three(value: float) -> float:
    return float(f"{value:.3g}")


def measured(given: Inputs) -> Iterable[list[str]]:
    """A line a table."""
    for name, value in given.read["measured"].items():
        if isinstance(value, Mapping) and name != "steps":
            yield [f"`{name}`", ", ".join(f"{inner} {figure:g}" for inner, figure in _flat("", value))]


def steps(given: Inputs) -> Iterable[list[str]]:
    for step in ("insert", "publish", "claim", "settle"):
        for what in ("quick", "median", "cpu_here", "cpu_there"):
            yield [f"`{step}`, {what}", *(f"{given.measured(f'steps.{step}.{size}.{what}'):g}" for size in SIZES)]


def _flat(before: str, table: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{before}{name}.", value)
        else:
            yield f"{before}{name}", value


def prices(given: Inputs) -> Iterable[list[str]]:
    for price in given.prices():
        yield [price.name, f"{price.value:g}", price.unit, _linked(price.source), price.date]


def limits(given: Inputs) -> Iterable[list[str]]:
    for limit in given.limits():
        yield [limit.name, f"{limit.value:,.0f} {limit.unit}", _linked(limit.source)]


def _linked(source: str) -> str:
    """An address alone becomes a link that names its place."""
    if " " in source or not source.startswith("https://"):
        return source
    return f"[{source.split('/')[2]}]({source})"

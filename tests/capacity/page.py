"""docs/capacity.md: the table first, then where the limits lie, the simulation, sharding, and every input."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.capacity import drawing, prose
from tests.capacity.demand import Demand
from tests.capacity.inputs import Inputs
from tests.capacity.model import Limit, Need, Plan, Target, limits, plan
from tests.capacity.study import (
    RATE,
    SHARDS,
    Compared,
    Outcome,
    Sharded,
    compared,
    outage,
    sharded,
    smallest,
)
from tests.capacity.targets import KUBERNETES, LAMBDA, MACHINE, RUN, is_embedded, targets
from tests.load.figures import shown

RATES = (1.0, 100.0, RATE)
DAYS = (1, 7, 30)
FILES = ("capacity.md", "capacity-limits.svg", "capacity-outage.svg")


@dataclass(frozen=True, kw_only=True)
class Found:
    """All that the page says, computed."""

    given: Inputs
    demand: Demand
    plans: Mapping[str, Sequence[Plan]]
    limits: Mapping[str, Sequence[Limit]]
    compared: Sequence[Compared]
    sharded: Sequence[Sharded]
    outage: Outcome

    @property
    def worst(self) -> float:
        """How many times as long something took as the model says, at worst."""
        return max(one.measured / one.simulated for one in self.compared if one.unit == "ms")


def found(given: Inputs) -> Found:
    demand = Demand(given)
    there = targets(demand)
    return Found(
        given=given,
        demand=demand,
        plans={name: [plan(target, rate) for rate in RATES] for name, target in there.items()},
        limits={name: limits(target) for name, target in there.items()},
        compared=list(compared(given)),
        sharded=[sharded(demand, count) for count in SHARDS],
        outage=outage(demand),
    )


def pages(given: Inputs) -> dict[str, str]:
    """The text of each file below docs/."""
    all_of_it = found(given)
    drawn = (drawing.ceilings(all_of_it.limits), drawing.outage(all_of_it.outage))
    return dict(zip(FILES, (_page(all_of_it), *drawn), strict=True))


def _page(it: Found) -> str:
    parts = [
        prose.opening(it.given),
        _table(["", *it.plans], [_row(it, number) for number in range(len(RATES))]),
        prose.fees(it.given, RATES),
        "## Where the first limit lies\n",
        _table(["", "met first", "at", "what helps", "the next"], _first(it.limits)),
        prose.limits(it.given, it.demand),
        "![Where one stack's limits lie](capacity-limits.svg)\n",
        "## How long rows are kept decides\n",
        _table(["10,000/s on Kubernetes", "stacks", "a database", "storage, each", "money"], _by_days(it.given)),
        prose.days(),
        "## 10,000/s, simulated\n",
        prose.simulation(it.given),
        _table(SHARDED, [_sharded(one, it) for one in it.sharded]),
        prose.smallest(it.given, smallest(it.given, it.sharded), it.worst),
        "### A provider that is down for a minute\n",
        prose.outage(it.outage),
        "![Sent a second and waiting, over time](capacity-outage.svg)\n",
        "### How far the model is off\n",
        prose.error(it.worst),
        _table(["the bench's own configuration", "measured", "simulated", "off by"], map(_compared, it.compared)),
        prose.SHARDING,
        prose.how(it.given, it.demand),
        _table(["measured", "value"], _measured(it.given)),
        prose.PRICES,
        _table(["price", "dollars", "a", "source", "seen"], _prices(it.given)),
        _table(["limit", "value", "source"], _limits(it.given)),
    ]
    return "\n".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


PROCESSES = {MACHINE: "processes", KUBERNETES: "pods", LAMBDA: "functions", RUN: "instances"}


# --- the first table --------------------------------------------------------------------------------------------------


def _row(it: Found, number: int) -> list[str]:
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
        each += [f"database of {_in(made.needs, 'database'):.0f} vCPU, {_disk(_in(made.needs, 'database: storage'))}"]
    return "<br>".join([*stacks, *each, f"**{money(made.dollars)} a month**"])


def _in(needs: Sequence[Need], part: str) -> float:
    return next(need.units for need in needs if need.part == part)


def _disk(gigabytes: float) -> str:
    return f"{shown(_two(gigabytes / 1000))} TB" if gigabytes >= 1000 else f"{gigabytes:,.0f} GB"


def _two(value: float) -> float:
    return float(f"{value:.2g}")


def money(dollars: float) -> str:
    """Two digits: no more is meant."""
    return f"${_two(dollars):,.0f}"


# --- the others -------------------------------------------------------------------------------------------------------


def _first(found: Mapping[str, Sequence[Limit]]) -> Iterable[list[str]]:
    for target, ones in found.items():
        first, then = ones[0], ones[1]
        yield [
            target,
            f"**{first.part}**",
            f"**{_two(first.rate):,.0f}/s**",
            first.beyond,
            f"{then.part}, {_two(then.rate):,.0f}/s",
        ]


def _by_days(given: Inputs) -> Iterable[list[str]]:
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


def _sharded(one: Sharded, it: Found) -> list[str]:
    ran, setup = one.outcome, one.setup
    busiest = max(ran.utilisation, key=lambda name: ran.utilisation[name])
    reads = "" if one.is_warm else ", reads from disk"
    return [
        str(one.shards),
        f"{setup.intakes} intake, {setup.senders} functions, {setup.database} vCPU{reads}",
        f"{_two(one.shards * ran.accepted_rate):,.0f}/s, {_two(one.shards * ran.sent_rate):,.0f}/s",
        f"{shown(ran.post(0.99))} s",
        ", ".join(f"{shown(ran.whole(share))} s" for share in (0.5, 0.99, 0.999)),
        f"{busiest}, {100 * ran.utilisation[busiest]:.0f} %",
        "yes" if one.holds(it.given) else "no",
    ]


def _compared(one: Compared) -> list[str]:
    return [
        one.what,
        shown(_three(one.measured), one.unit),
        shown(_three(one.simulated), one.unit),
        f"{100 * one.error:+.0f} %",
    ]


def _three(value: float) -> float:
    return float(f"{value:.3g}")


def _measured(given: Inputs) -> Iterable[list[str]]:
    for name, value in _flat("", given.read["measured"]):
        if not isinstance(value, str):
            yield [f"`{name}`", f"{value:g}"]


def _flat(before: str, table: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{before}{name}.", value)
        else:
            yield f"{before}{name}", value


def _prices(given: Inputs) -> Iterable[list[str]]:
    for price in given.prices():
        yield [price.name, f"{price.value:g}", price.unit, _linked(price.source), price.date]


def _limits(given: Inputs) -> Iterable[list[str]]:
    for limit in given.limits():
        yield [limit.name, f"{limit.value:,.0f} {limit.unit}", _linked(limit.source)]


def _linked(source: str) -> str:
    """An address alone becomes a link that names its place."""
    if " " in source or not source.startswith("https://"):
        return source
    return f"[{source.split('/')[2]}]({source})"

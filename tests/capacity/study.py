"""What is simulated for the page: the bench's own configurations, to see how far the model is off; 10,000/s on more and
more stacks; and an outage of the provider."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.capacity.agenda import MILLISECOND
from tests.capacity.costs import LADDER_MICROSECONDS, in_a_cloud, on_one_machine, provider
from tests.capacity.demand import Demand
from tests.capacity.inputs import Inputs
from tests.capacity.setup import Load, Provider, Setup
from tests.capacity.simulation import Outcome, simulate

RATE = 10_000.0
SHARDS = (1, 2, 4, 8, 16)
BENCH_CORES = 2
AT_ONCE = Provider(median=0, p99=0)
SLOW = Provider(median=100 * MILLISECOND, p99=100 * MILLISECOND)  # the bench's mail server, where it waits
OUTAGE_RATE, OUTAGE, OUTAGE_SECONDS = 500.0, (20.0, 80.0), 240.0


# --- how far the model is off -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One figure of the bench, and the model's."""

    what: str
    measured: float
    simulated: float
    unit: str

    @property
    def error(self) -> float:
        """As a share of what was measured."""
        return self.simulated / self.measured - 1


def compared(given: Inputs) -> Iterator[Compared]:
    """The bench's configurations: everything on two cores, with the load generator and the mail server."""
    here = on_one_machine(given)
    for processes in (1, 2):
        for connections in (64, 1000):
            load = Load(connections=connections, seconds=6, warm=1)
            ran = simulate(Setup(costs=here, load=load, intakes=processes, senders=0, machine=BENCH_CORES))
            yield Compared(
                what=f"intake alone, {connections:,} connections, {processes} process{'es' if processes > 1 else ''}",
                measured=given.speed(f"intake.c{connections}p{processes}"),
                simulated=ran.accepted_rate,
                unit="/s",
            )
    load = Load(connections=64, seconds=6, warm=1)
    ran = simulate(Setup(costs=here, load=load, provider=AT_ONCE, machine=BENCH_CORES))
    yield Compared(
        what="end to end, 64 connections",
        measured=given.speed("end_to_end.rate"),
        simulated=ran.sent_rate,
        unit="/s",
    )
    yield from _calls(given)
    yield from _latencies(given)


def _calls(given: Inputs) -> Iterator[Compared]:
    for instances, calls in ((1, 4), (1, 16), (1, 32), (1, 64), (2, 8), (4, 8)):
        name = f"calls.i{instances}c{calls}"
        was_quiet = name.partition(".")[2] in given.read["speed"]["calls"]
        setup = Setup(
            costs=on_one_machine(given),
            load=Load(backlog=round(instances * calls * 100), seconds=8, warm=0),
            provider=SLOW,
            senders=instances,
            calls=calls,
            machine=BENCH_CORES,
        )
        yield Compared(
            what=f"a mail server of 100 ms, {instances} function{'s' if instances > 1 else ''} of {calls} calls"
            + ("" if was_quiet else " (while others used the machine)"),
            measured=given.speed(name) if was_quiet else given.measured(name),
            simulated=simulate(setup).sent_rate,
            unit="/s",
        )


def _latencies(given: Inputs) -> Iterator[Compared]:
    for name, rate in (("idle", 20.0), ("loaded", given.speed("latency.loaded_rate"))):
        load = Load(rate=rate, seconds=20, warm=2)
        ran = simulate(Setup(costs=on_one_machine(given), load=load, provider=AT_ONCE, machine=BENCH_CORES))
        for share in (0.5, 0.99):
            which = "median" if share == 0.5 else "99th percentile"
            yield Compared(
                what=f"POST to mail server, {rate:,.0f}/s, {which}",
                measured=given.speed(f"latency.{name}_p{share * 100:g}"),
                simulated=1000 * ran.whole(share),
                unit="ms",
            )


# --- 10,000/s ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sharded:
    """So many stacks with an equal share each; one of them was simulated, as all are alike."""

    shards: int
    setup: Setup
    outcome: Outcome
    is_warm: bool  # whether the random indexes fit in its database's memory

    def holds(self, given: Inputs, slower: float = 1.0) -> bool:
        """What is accepted is sent, and both bounds are kept, where all but the provider is so many times slower."""
        ran = self.outcome
        keeps_up = ran.sent_rate >= 0.98 * self.setup.load.rate and ran.accepted_rate >= 0.98 * self.setup.load.rate
        called = given.assumed("provider_p99")
        whole = called + slower * max(ran.whole(0.99) - called, 0.0)
        return (
            keeps_up
            and slower * ran.post(0.99) <= given.assumed("post_within")
            and whole <= given.assumed("sent_within")
        )


def sharded(demand: Demand, shards: int) -> Sharded:
    """As the plan would have it: so many processes and functions as the arithmetic says, the largest database."""
    given, rate = demand.given, RATE / shards
    memory = demand.index_gigabytes(rate) / given.assumed("index_share")
    missing = max(0.0, 1 - given.limit("database_memory") / memory)
    setup = Setup(
        costs=in_a_cloud(given),
        load=Load(rate=rate, seconds=20, warm=4),
        provider=provider(given),
        intakes=demand.intakes(rate),
        senders=demand.functions(rate),
        calls=round(given.assumed("calls")),
        database=_cores(demand, rate),
        reads={step: missing * given.measured(f"cold.reads.{step}") for step in ("insert", "claim", "settle")},
        read=round(given.assumed("read") * 1_000_000),
        reads_at_once=round(given.limit("database_iops") * given.assumed("read")),
        ladder=LADDER_MICROSECONDS,
    )
    return Sharded(shards=shards, setup=setup, outcome=simulate(setup), is_warm=missing == 0)


def _cores(demand: Demand, rate: float) -> int:
    needs = demand.database(rate, core=0, storage=0, iops=0)
    cores = next(need.units for need in needs if need.part == "database")
    return round(min(cores, demand.given.limit("database_cores")))


# --- an outage --------------------------------------------------------------------------------------------------------


def outage(demand: Demand) -> Outcome:
    """A small stack, whose provider refuses everything for a minute."""
    given = demand.given
    usual = provider(given)
    setup = Setup(
        costs=in_a_cloud(given),
        load=Load(rate=OUTAGE_RATE, seconds=OUTAGE_SECONDS, warm=0),
        provider=Provider(median=usual.median, p99=usual.p99, failing=usual.failing, outage=OUTAGE),
        intakes=demand.intakes(OUTAGE_RATE),
        senders=demand.functions(OUTAGE_RATE),
        calls=round(given.assumed("calls")),
        ladder=LADDER_MICROSECONDS,
    )
    return simulate(setup)

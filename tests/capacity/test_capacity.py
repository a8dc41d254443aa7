"""The capacity page is what the code makes of its inputs, and the arithmetic and the simulation keep their laws."""

import inspect
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tidings.pipeline.coalescer import Gather
from tidings.runtime.container import DeliverySettings
from tidings.runtime.trigger.__main__ import BatchSettings

from tests.capacity.costs import LADDER_MICROSECONDS, costs, fitted, in_a_cloud
from tests.capacity.demand import Demand
from tests.capacity.inputs import Inputs, inputs
from tests.capacity.model import Need, Target, limits, plan
from tests.capacity.page import FILES, pages
from tests.capacity.setup import Load, Provider, Setup
from tests.capacity.simulation import Outcome, simulate
from tests.capacity.targets import KUBERNETES, LAMBDA, targets
from tests.pages import DOCS

RATES = (0.0, 0.5, 1.0, 7.0, 50.0, 100.0, 638.0, 639.0, 700.0, 2000.0, 3000.0, 5000.0, 10_000.0, 100_000.0)
DEMAND = Demand(inputs())
TARGETS = targets(DEMAND)
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def changed(table: str, **values: Any) -> Inputs:
    """The inputs, with other values in one table."""
    read: Mapping[str, Any] = inputs().read
    return Inputs({**read, table: {**read[table], **values}})


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages(inputs())


@pytest.mark.parametrize("name", FILES)
def test_the_page_and_its_pictures_are_what_the_inputs_make(made: dict[str, str], name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == made[name], "run `python -m tests.capacity`"


def test_every_price_and_limit_says_where_it_is_from() -> None:
    given = inputs()
    assert all(price.source and price.date and price.unit for price in given.prices())
    assert all(limit.source and limit.unit for limit in given.limits())


# --- the arithmetic ---------------------------------------------------------------------------------------------------


@every_target
def test_no_part_needs_less_where_the_rate_is_higher(target: Target) -> None:
    for low, high in itertools.pairwise(RATES):
        before, after = _by_part(target(low)), _by_part(target(high))
        assert before.keys() == after.keys()
        assert not {part for part, need in before.items() if after[part].units < need.units}, (low, high)


def _by_part(needs: Any) -> dict[str, Need]:
    return {need.part: need for need in needs}


@every_target
def test_no_plan_costs_less_at_a_higher_rate(target: Target) -> None:
    dollars = [plan(target, rate).dollars for rate in RATES]
    assert dollars == sorted(dollars)
    assert dollars[-1] > 20 * dollars[0]


@every_target
def test_a_load_of_zero_costs_the_fixed_parts_alone(target: Target) -> None:
    idle = plan(target, 0.0)
    assert idle.shards == 1
    assert 0 < idle.dollars == pytest.approx(plan(target, 1e-9).dollars)
    assert all(need.units == int(need.units) for need in idle.needs), "a share of something, for nothing"


def test_what_is_paid_by_use_costs_nothing_where_nothing_is_used() -> None:
    dear = changed("prices", **{name: {**inputs().read["prices"][name], "dollars": 1e6} for name in ("http_api",)})
    assert plan(targets(Demand(dear))[LAMBDA], 0.0).dollars == plan(TARGETS[LAMBDA], 0.0).dollars
    assert plan(targets(Demand(dear))[LAMBDA], 1.0).dollars > 1e6


@every_target
def test_a_plan_has_no_part_that_cannot_be_had_and_no_stack_too_many(target: Target) -> None:
    for rate in RATES:
        made = plan(target, rate)
        assert not [need for need in made.needs if need.is_short]
        if made.shards > 1:
            assert [need for need in target(rate / (made.shards - 1)) if need.is_short], rate


@every_target
def test_a_limit_is_where_its_part_no_longer_fits(target: Target) -> None:
    found = limits(target)
    assert [limit.rate for limit in found] == sorted(limit.rate for limit in found)
    for limit in found[:3]:
        below, above = (_by_part(target(limit.rate * share))[limit.part] for share in (0.99, 1.01))
        assert below.most is not None
        assert below.units <= below.most < above.units, limit


def test_fewer_days_need_fewer_stacks_and_less_money() -> None:
    made = [plan(targets(Demand(changed("assumed", keep_days=days)))[KUBERNETES], 10_000.0) for days in (1, 7, 30)]
    assert [one.shards for one in made] == sorted(one.shards for one in made)
    assert made[0].dollars < made[1].dollars < made[2].dollars
    assert made[0].shards < made[2].shards


def test_a_line_is_found_again_and_nothing_is_cheaper_than_free() -> None:
    line = fitted([(size, 700 + 12.5 * size) for size in (1, 10, 100, 500)])
    assert line.fixed == pytest.approx(700)
    assert line.row == pytest.approx(12.5)
    assert fitted([(1, 1.0), (10, 12.0), (100, 130.0)]).fixed == 0


# --- the simulation ---------------------------------------------------------------------------------------------------


def test_the_simulated_settings_are_the_defaults() -> None:
    setup = _setup()
    assert setup.calls == DeliverySettings.model_fields["concurrency"].default
    assert setup.batch == BatchSettings.model_fields["batch"].default
    assert setup.batches == BatchSettings.model_fields["batches"].default
    assert setup.gather == inspect.signature(Gather.__init__).parameters["limit"].default


def _setup(**more: Any) -> Setup:
    given = inputs()
    values: dict[str, Any] = {
        "costs": in_a_cloud(given),
        "load": Load(rate=800, seconds=10, warm=0),
        "provider": Provider(failing=0.0),
        "senders": 10,
        "ladder": LADDER_MICROSECONDS,
    }
    return Setup(**{**values, **more})


def test_a_seed_gives_the_same_again_and_another_does_not() -> None:
    one, again, other = (simulate(_setup(seed=seed)) for seed in (1, 1, 2))
    assert one.counts == again.counts
    assert one.counts != other.counts


def test_nothing_is_lost_in_the_simulation_nor_sent_twice() -> None:
    """Once the ladder has run out: what was accepted was sent, or is a dead letter."""
    failing = Provider(failing=0.6, outage=(2, 4))
    setup = _setup(load=Load(rate=100, seconds=5, warm=0), provider=failing, most_attempts=4)
    counts = simulate(setup, after=600).counts
    assert counts.accepted == sum(counts.came_in.values()) > 400
    assert counts.sent + counts.dead == counts.accepted
    assert counts.dead > 20
    assert counts.retried > counts.accepted


def test_littles_law_holds() -> None:
    """As many are on their way, on average, as come in a second times the seconds that each is."""
    ran = simulate(_setup(load=Load(rate=800, seconds=30, warm=0)))
    inside = _inside(ran)
    steady = inside[50:]
    rate = sum(ran.counts.came_in.values()) / ran.seconds
    taken = sum(milliseconds * count for milliseconds, count in ran.counts.whole.items())
    seconds = (taken / ran.counts.whole.total() + 0.5) / 1000  # whole milliseconds, cut
    assert sum(steady) / len(steady) == pytest.approx(rate * seconds, rel=0.05)


def _inside(ran: Outcome) -> list[int]:
    """How many have come and are not sent, at the end of each tenth of a second."""
    now, found = 0, []
    for tenth in range(round(10 * ran.seconds)):
        now += ran.counts.came_in[tenth] - ran.counts.sent_in[tenth]
        found.append(now)
    return found


def test_what_is_sent_is_never_more_than_the_calls_allow() -> None:
    slow = Provider(median=100_000, p99=100_000)
    for senders, calls in ((1, 4), (1, 16), (3, 8)):
        setup = _setup(load=Load(backlog=20_000, seconds=10, warm=0), provider=slow, senders=senders, calls=calls)
        bound = senders * calls / 0.1
        assert 0.8 * bound < simulate(setup).sent_rate <= bound * 1.001


def test_what_is_accepted_is_never_more_than_the_cpu_of_intake_allows() -> None:
    given = costs(inputs())
    bound = 1e6 / (given.request + given.insert.here.row + given.publish.here.row)
    for processes in (1, 2):
        load = Load(connections=3000, seconds=5, warm=0)
        ran = simulate(_setup(costs=given, load=load, intakes=processes, senders=0, database=64))
        assert ran.accepted_rate <= processes * bound
        assert ran.accepted_rate > 0.5 * processes * bound or ran.utilisation["the queue's leader"] > 0.9


def test_what_is_sent_is_never_more_than_a_shared_machine_has_cpu_for() -> None:
    given = costs(inputs())
    steps = (given.insert, given.publish, given.claim, given.settle)
    a_row = sum(step.here.row + step.there.row for step in steps)
    bound = 2e6 / (given.request + given.trigger + given.send + given.deliver + a_row)
    at_once = Provider(median=0, p99=0)
    load = Load(connections=1000, seconds=6, warm=0)
    ran = simulate(_setup(costs=given, load=load, provider=at_once, senders=1, machine=2))
    assert 0.5 * bound < ran.sent_rate <= bound
    assert ran.utilisation["the machine"] <= 1.0 + 1e-9


def test_no_server_is_busier_than_all_the_time() -> None:
    ran = simulate(_setup(load=Load(rate=5000, seconds=5, warm=0), machine=1))
    assert ran.utilisation["the machine"] > 0.9, "it was not overloaded"
    assert max(ran.utilisation.values()) < 1.2, "what was begun may end later, by one piece"


def test_what_waits_during_an_outage_comes_back_and_goes() -> None:
    provider = replace(Provider(failing=0.0), outage=(3, 13))
    load = Load(rate=100, seconds=60, warm=0)
    ran = simulate(_setup(load=load, provider=provider, senders=3), after=60)
    during = sum(ran.counts.sent_in[tenth] for tenth in range(40, 130))
    assert during == 0
    assert ran.counts.sent == ran.counts.accepted
    assert ran.whole(1.0) > 9

"""All that the page says, computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.capacity.demand import Demand
from tests.capacity.inputs import Inputs
from tests.capacity.model import Limit, Plan, limits, plan
from tests.capacity.simulation import Outcome
from tests.capacity.study import RATE, SHARDS, Compared, Sharded, compared, outage, sharded
from tests.capacity.targets import targets

RATES = (1.0, 100.0, RATE)


@dataclass(frozen=True, kw_only=True)
class Found:
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

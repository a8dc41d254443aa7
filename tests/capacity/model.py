"""Capacity as arithmetic: what each part needs at a rate, what that costs, which part cannot grow any further first."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST = 1e7  # notifications a second beyond which nobody looks


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one part needs at one rate."""

    part: str
    units: float
    unit: str
    most: float | None = None  # of these units that there can be; None: it multiplies
    can_grow: bool = False  # `most` can be raised: on request, or by deploying more
    dollars: float = 0.0  # a month
    beyond: str = ""  # what helps then

    @property
    def is_short(self) -> bool:
        return self.most is not None and self.units > self.most and not self.can_grow


Target = Callable[[float], Sequence[Need]]
"""From notifications a second to what each part needs. No need falls when the rate rises."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """So many complete stacks, each with an equal share of the rate."""

    rate: float
    shards: int
    needs: Sequence[Need]  # of each shard

    @property
    def dollars(self) -> float:
        return self.shards * math.fsum(need.dollars for need in self.needs)

    def units(self, part: str) -> float:
        """Of all shards together."""
        return self.shards * self.each(part)

    def each(self, part: str) -> float:
        return next((need.units for need in self.needs if need.part == part), 0.0)


def plan(target: Target, rate: float) -> Plan:
    """With as few shards as will do."""
    shards = 1
    while any(need.is_short for need in target(rate / shards)):
        shards += 1
    return Plan(rate=rate, shards=shards, needs=target(rate / shards))


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Where a part cannot grow any further, of one stack."""

    part: str
    rate: float  # notifications a second
    can_grow: bool
    beyond: str


def limits(target: Target) -> list[Limit]:
    """Of each part that has one, the lowest first: that is the one that is met first."""
    found = [
        Limit(part=need.part, rate=_ceiling(target, need.part), can_grow=need.can_grow, beyond=need.beyond)
        for need in target(1.0)
        if need.most is not None
    ]
    return sorted(found, key=lambda limit: limit.rate)


def _ceiling(target: Target, part: str) -> float:
    """The highest rate at which this part is not over its most, to a thousandth."""

    def fits(rate: float) -> bool:
        return all(need.units <= need.most for need in target(rate) if need.part == part and need.most is not None)

    high = 1.0
    while fits(high):
        high *= 2
        if high > MOST:
            return math.inf
    low = 0.0
    while high - low > high / 1000:
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def at_least(units: float, least: int) -> int:
    """Whole units."""
    return max(least, math.ceil(units))


def sized(units: float, sizes: Sequence[int]) -> int:
    """The smallest size that has so many, or as many as are wanted where none has."""
    return next((size for size in sizes if size >= units), math.ceil(units))

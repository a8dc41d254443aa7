"""Addresses are unique: two notifications with one address would look like one that was sent twice."""

import random
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

from local.emulators.records import Channel
from tests.faults.addresses import Addresses
from tests.faults.load import CHANNELS, Load
from tests.faults.world import World

MANY = 2000


def drawn(load: Load, count: int) -> list[str]:
    return [one.address for one in load._made(count)]


def test_two_loads_of_one_world_share_no_address_whatever_their_seeds() -> None:
    world = cast(World, SimpleNamespace(addresses=Addresses()))
    loads = [Load(world=world, random=random.Random(seed)) for seed in (7771, 7771, 1)]
    addresses = [address for load in loads for address in drawn(load, MANY)]
    assert len(set(addresses)) == len(loads) * MANY


def test_threads_share_no_address() -> None:
    addresses = Addresses()

    def draw(channel: Channel) -> list[str]:
        return [addresses.draw(channel) for _ in range(MANY)]

    with ThreadPoolExecutor(6) as threads:
        found = [address for part in threads.map(draw, CHANNELS * 2) for address in part]
    assert len(set(found)) == len(found)

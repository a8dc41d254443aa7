"""The definition of a fault, and its context."""

import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tests.faults.checks import Seen
from tests.faults.load import Load
from tests.faults.world import World, wait, world

MESSAGES = 240  # submitted before a fault, by default


@dataclass(kw_only=True)
class Scene:
    """The context of a fault: the world and the load."""

    world: World
    load: Load
    parked: int = 0  # messages that must end in parking
    notes: list[str] = field(default_factory=list)  # measurements without a column in the table
    explained: set[str] = field(default_factory=set)  # addresses that only `judge` checks
    judge: Callable[[Seen], Sequence[str]] | None = None  # called at the end; returns problems


@dataclass(frozen=True, kw_only=True)
class Fault:
    name: str
    inject: Callable[[Scene], None]  # returns when the fault is over
    may_double: bool = False  # makes an attempt ambiguous: it is not known whether the provider was called
    at_once: bool = True  # the load waits in the queues until the fault releases it
    quick: bool = False  # also runs in the tests
    within: float = 90.0  # seconds, to recover
    make_world: Callable[[], AbstractContextManager[World]] = world  # needs other servers or time-outs
    ambiguous_at_most: int | None = None  # maximum ambiguous attempts; None: any
    messages: int = MESSAGES  # submitted before the fault
    pause: float = 0.1  # seconds between two requests of a caller during it


def let_go(scene: Scene) -> None:
    """Release the queued load as the fault begins, so that notifications are in every step."""
    scene.world.tell("trigger", signal.SIGCONT)
    wait("the first calls", lambda: sum(scene.world.emulator.call_totals().values()) > 20)

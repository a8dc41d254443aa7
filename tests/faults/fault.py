"""What a fault is, and what it is given."""

import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tests.faults.checks import Seen
from tests.faults.load import Load
from tests.faults.world import World, wait, world

MESSAGES = 240  # handed in before a fault, unless it says otherwise


@dataclass(kw_only=True)
class Scene:
    """What a fault is given: the world, and the load that meets it."""

    world: World
    load: Load
    parked: int = 0  # messages that must end in parking
    notes: list[str] = field(default_factory=list)  # what was measured, and has no column in the table
    explained: set[str] = field(default_factory=set)  # addresses that `judge` judges, and nobody else
    judge: Callable[[Seen], Sequence[str]] | None = None  # at the end of all; problems, or none


@dataclass(frozen=True, kw_only=True)
class Fault:
    name: str
    inject: Callable[[Scene], None]  # returns when the fault is over
    may_double: bool = False  # it is ambiguous itself: whether the provider was asked cannot be known
    at_once: bool = True  # the load waits in the queues until the fault lets it go
    quick: bool = False  # also in the tests
    within: float = 90.0  # seconds, to recover
    make_world: Callable[[], AbstractContextManager[World]] = world  # other servers, or other time-outs
    ambiguous_at_most: int | None = None  # attempts; None: as many as there are
    messages: int = MESSAGES  # handed in before the fault


def let_go(scene: Scene) -> None:
    """The queued load is delivered while the fault comes: some of it is in every step."""
    scene.world.tell("trigger", signal.SIGCONT)
    wait("the first calls", lambda: sum(scene.world.emulator.call_totals().values()) > 20)

"""The soak: faults in one world under steady load, one after another, without time to recover."""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from tidings.messaging import topology

from tests.faults.checks import Counted, all_ended, audited, counted, look, replayed_twice_sends_once, violations
from tests.faults.fault import MESSAGES, Fault, Scene
from tests.faults.faults import FAULTS, nothing
from tests.faults.load import Load
from tests.faults.matrix import Result, bounded, header, line, log, machine, run, settled, verdict
from tests.faults.world import TRANSIENT, Usage, World, wait, world

HEADING = "## Soak"
ALONE = (
    "none",
    "dies at replay.",  # they replay, which restarts the count of attempts
    "a message that kills",  # half a minute each
    "a sender stalls",  # until the sweep has reclaimed
    "the clock of",  # they check times, which other faults delay
    "1 to 4",
)
LONGEST = 90.0  # seconds to recover: slower faults are not used
RECOVERY = 300.0  # after the last


@dataclass(kw_only=True)
class Soaked:
    """Its section of the page."""

    seed: int
    seconds: float
    struck: Counter[str]
    before: Mapping[str, Usage]
    after: Mapping[str, Usage]
    connections: tuple["Connections", "Connections"]
    result: Result
    made_by: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, kw_only=True)
class Connections:
    database: int
    broker: int

    def grown_to(self, now: "Connections") -> list[str]:
        """F, on the servers' side: dead workers have left no connections."""
        few = now.database <= self.database + 20 and now.broker <= self.broker + 10
        return [] if few else [f"F: {self} before, and {now} after"]


def soak(seconds: float, seed: int) -> Soaked:
    with world() as hurt:
        run(hurt, FAULTS[0], -1 - seed)  # threads and connections are made
        before, connected = settled(hurt), connections(hurt)
        hurt.emulator.clear()
        scene = Scene(world=hurt, load=Load(world=hurt, random=random.Random(f"{seed} soak")))
        problems: list[str] = []
        scene.load.burst(MESSAGES)
        with scene.load.trickle(callers=6):
            struck = _strike(scene, seconds, random.Random(seed), problems)
            nothing(scene)
        result = _left_alone(scene, problems)
        after, now = settled(hurt), connections(hurt)
        result = Result(
            fault=f"soak, {seconds:g} s, {sum(struck.values())} faults",
            counted=result.counted,
            seconds=result.seconds,
            problems=[*result.problems, *bounded(dict(before), dict(after)), *connected.grown_to(now)],
        )
        return Soaked(
            seed=seed,
            seconds=seconds,
            struck=struck,
            before=before,
            after=after,
            connections=(connected, now),
            result=result,
            made_by=machine(hurt),
        )


def chosen() -> list[Fault]:
    return [
        fault
        for fault in FAULTS
        if fault.make_world is world and fault.within <= LONGEST and not fault.name.startswith(ALONE)
    ]


def _strike(scene: Scene, seconds: float, choice: random.Random, problems: list[str]) -> Counter[str]:
    struck: Counter[str] = Counter()
    faults, until = chosen(), time.monotonic() + seconds
    while time.monotonic() < until:
        fault = choice.choice(faults)
        struck[fault.name] += 1
        log(f"    {until - time.monotonic():.0f} s left: {fault.name}")
        scene.world.emulator.forgive()  # a remaining rule would be attributed to this fault
        try:
            fault.inject(scene)
        except TRANSIENT as error:
            problems.append(f"{fault.name}: {type(error).__name__}: {error}")
        _started_again(scene.world)
    return struck


def _started_again(hurt: World) -> None:
    """Restart processes that ended by themselves."""
    processes = hurt.stack.processes
    while (ended := processes.ended()) is not None:
        processes.restart(ended)


def _left_alone(scene: Scene, problems: list[str]) -> Result:
    """Wait until everything has settled, and check A to E, then the replay."""
    hurt, load, begun = scene.world, scene.load, time.monotonic()
    hurt.emulator.forgive()
    with _noted(problems):
        all_ended(hurt, load, within=RECOVERY)
    took = time.monotonic() - begun
    seen = wait("a look at everything", lambda: look(hurt, load))
    problems += violations(hurt, load, seen, may_double=True, parked=scene.parked)
    problems += audited(hurt, seen)
    counts: Counted = counted(load, seen)
    with _noted(problems), hurt.channel() as channel:
        channel.queue_purge(topology.PARKING)
        problems += replayed_twice_sends_once(hurt, load, look(hurt, load))
    return Result(fault="soak", counted=counts, seconds=took, problems=problems)


@contextlib.contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except TRANSIENT as error:
        problems.append(f"{type(error).__name__}: {error}")


def connections(hurt: World) -> Connections:
    """As the kernel counts them."""
    return Connections(database=_established(hurt.mariadb.url), broker=_established(hurt.rabbitmq.url))


def _established(url: str) -> int:
    port, lines = urlsplit(url).port or 0, Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    sockets = [line.split() for line in lines]
    return sum(socket[2].endswith(f":{port:04X}") and socket[3] == "01" for socket in sockets)


# --- the page ---------------------------------------------------------------------------------------------------------


def section(soaked: Soaked) -> str:
    used = "\n".join(
        f"| {name} | {then.megabytes} / {now.megabytes} | {then.threads} / {now.threads} | {then.files} / {now.files} |"
        for name, now in soaked.after.items()
        for then in [soaked.before[name]]
    )
    then, now = soaked.connections
    struck = "; ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(soaked.struck.items()))
    return f"""{HEADING}

`python -m tests.faults --soak {soaked.seconds:g} --seed {soaked.seed} --write docs/faults.md` wrote this section:
{soaked.at:%Y-%m-%d %H:%M} UTC, on {soaked.made_by}.

One world under steady load, and faults that the seed draws, one after another, without waiting for recovery between
them. Then everything is left alone, and the same is checked over all that was accepted meanwhile.

{header()}
{line(soaked.result)}

{verdict([soaked.result])}

They were: {struck}.

Connections before and after: {then.database} / {now.database} to the database, {then.broker} / {now.broker} to the
broker. The processes:

| process | memory, MB | threads | open files |
|---|---:|---:|---:|
{used}
"""

"""Run a fault under load, and measure the result."""

import os
import platform
import random
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from tidings.messaging import topology

from tests.faults.checks import (
    Counted,
    all_ended,
    audited,
    counted,
    look,
    replayed_twice_sends_once,
    violations,
)
from tests.faults.fault import Fault, Scene
from tests.faults.load import Load
from tests.faults.world import TRANSIENT, Usage, World, wait


@dataclass(frozen=True, kw_only=True)
class Result:
    fault: str
    counted: Counted
    seconds: float  # seconds from the fault's end until the last notification settled
    problems: Sequence[str]
    notes: Sequence[str] = ()  # further measurements


def run(world: World, fault: Fault, seed: int) -> Result:
    world.emulator.clear()
    scene = Scene(world=world, load=Load(world=world, random=random.Random(f"{seed} {fault.name}")))
    problems: list[str] = []
    if fault.at_once:
        world.tell("trigger", signal.SIGSTOP)
    try:
        scene.load.burst(fault.messages)
        with scene.load.trickle(pause=fault.pause):
            try:
                fault.inject(scene)
            except TRANSIENT as error:
                problems.append(f"the fault itself: {type(error).__name__}: {error}")
            ended = time.monotonic()
            wait("those that come after it", lambda: len(scene.load.wanted) > fault.messages + 20)
    finally:
        world.tell("trigger", signal.SIGCONT)
    try:
        all_ended(world, scene.load, within=fault.within)
    except AssertionError as error:
        problems.append(str(error))
    seconds = time.monotonic() - ended
    seen = look(world, scene.load)
    load, of_load = scene.load.without(scene.explained), seen.without(scene.explained)
    problems += violations(world, load, of_load, may_double=fault.may_double, parked=scene.parked)
    problems += audited(world, of_load)
    problems += scene.judge(seen) if scene.judge is not None else []
    counts = counted(scene.load, seen)
    problems += _too_ambiguous(fault, counts, scene.notes)
    try:
        with world.channel() as channel:
            channel.queue_purge(topology.PARKING)
        world.emulator.forgive()
        problems += replayed_twice_sends_once(world, load, look(world, load))
        problems += audited(world, look(world, load))
    except TRANSIENT as error:
        problems.append(f"G: {type(error).__name__}: {error}")
    return Result(fault=fault.name, counted=counts, seconds=seconds, problems=problems, notes=scene.notes)


def _too_ambiguous(fault: Fault, counts: Counted, notes: list[str]) -> list[str]:
    """A dead process makes only its calls under way ambiguous, and few others."""
    if fault.ambiguous_at_most is None:
        return []
    notes.append(f"{counts.ambiguous} attempts were ambiguous, where {fault.ambiguous_at_most} may be")
    return ["more attempts are ambiguous than one death explains"] if counts.ambiguous > fault.ambiguous_at_most else []


def bounded(before: dict[str, Usage], after: dict[str, Usage]) -> list[str]:
    """F: a process's resources have not grown with the faults."""
    found = []
    for name, then in before.items():
        if name == "providers":
            continue  # not part of Tidings: it keeps every call, and half-open connections
        now = after[name]
        if now.threads > then.threads + 40 or now.files > then.files + 60 or now.megabytes > 2 * then.megabytes + 50:
            found.append(f"F: {name} used {then} before, and {now} after")
    return found


COLUMNS = ("fault", *(column.name for column in fields(Counted)), "seconds")


def line(result: Result) -> str:
    values = [getattr(result.counted, column.name) for column in fields(Counted)]
    cells = [result.fault, *map(str, values), f"{result.seconds:.1f}"]
    return f"| {' | '.join(cells)} |"


def header() -> str:
    return f"| {' | '.join(COLUMNS)} |\n|---|{'---:|' * (len(COLUMNS) - 1)}"


def machine(world: World) -> str:
    with open("/proc/meminfo", encoding="ascii") as file:
        gigabytes = round(int(file.readline().split()[1]) / 1024**2)
    return (
        f"{os.cpu_count()} cores, {gigabytes} GB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {world.rabbitmq.version}, {world.mariadb.version}"
    )


def page(world: World, results: Iterable[Result], *, seed: int, before: dict[str, Usage]) -> str:
    after = settled(world)
    used = "\n".join(
        f"| {name} | {before[name].megabytes} / {now.megabytes} | {before[name].threads} / {now.threads} "
        f"| {before[name].files} / {now.files} |"
        for name, now in after.items()
    )
    ran = list(results)
    table = "\n".join(line(result) for result in ran)
    noted = "".join(f"- {result.fault}: {note}\n" for result in ran for note in result.notes)
    noted = f"\n{noted}" if noted else ""
    return f"""# Nothing lost, nothing twice: the faults

`python -m tests.faults --seed {seed} --write docs/faults.md` wrote this page:
{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on {machine(world)}.

Each fault is injected into real processes, a real RabbitMQ and a real MariaDB under load: some hundred notifications
over the three channels, in arrays and singly, a tenth of them `on_ambiguous: hold`, while more are submitted. A lease
is 5 s here and a provider's time-out 4 s; 40 s and 24 s where every hundredth call is slow. The counts come from the
database, the queues and the providers' own call log.

- **accepted**: every row, whether or not the caller saw the 202, and every 202. **sent**, **failed** (with a dead
  letter) and **held** (`unknown`) are their final states.
- **lost**: accepted, and in no final state. **doubled**: calls that a provider accepted after the first. In the row of
  the asynchronous replica, the notes explain both; all of these are in transactions that the replica never received.
- **ambiguous**: attempts for which nobody can know whether the provider accepted. Only these may be sent twice, once
  each, and only if the caller chose `resend`; that is checked for each notification.
- **seconds**: from the end of the fault until everything has ended, including retries and leases in progress.

After each fault all dead letters and all held notifications are replayed, twice: each was sent exactly once more.
Before and after that, [the audit](ledger.md#the-audit) compares each notification with its timeline.

{header()}
{table}

{verdict(ran)}
{noted}
What the processes used before the first fault and after the last:

| process | memory, MB | threads | open files |
|---|---:|---:|---:|
{used}
"""


def verdict(results: Iterable[Result]) -> str:
    """Broken invariants, for the page."""
    wrong = [f"- {result.fault}: {problem[:300]}" for result in results for problem in result.problems]
    return "\n".join(["Broken invariants:\n", *wrong]) if wrong else "Every invariant held."


def settled(world: World) -> dict[str, Usage]:
    """Resources of each part, once its processes answer."""

    def used() -> dict[str, Usage]:
        return dict(world.usage())

    return wait("every process", used)


def log(text: str) -> None:
    print(text, flush=True, file=sys.stdout)

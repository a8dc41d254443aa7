"""A process whose wall clock is off by an hour. Only the database's clock may decide on due times, leases, expiry."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.faults.checks import Row, look, rows
from tests.faults.fault import Fault, Scene
from tests.faults.load import Wanted
from tests.faults.world import LEASE, wait
from tests.faults.wrong_clock import library

HOUR = 3600
SOON = 3  # seconds
LATE = timedelta(seconds=10)  # for a due notification to reach the provider


def off(name: str, seconds: int) -> Callable[[Scene], None]:
    """Restart this process with a wrong clock. Then submit notifications with times."""

    def inject(scene: Scene) -> None:
        world, processes = scene.world, scene.world.stack.processes
        processes.restart(name, **_clock(scene, seconds))
        try:
            maps = Path(f"/proc/{processes.running[name].pid}/maps").read_text(encoding="utf-8")
            assert "wrong_clock" in maps, f"{name} goes by the true clock"
            too_late = _expires_in_its_queue(scene)
            world.arm("delivery.after_claim")  # a dead worker, whose leases must be reclaimed, but not too early
            due, timed = _in_time(scene)
            wait("the takeover of a dead worker's leases", lambda: _takeovers(scene), within=40)
            wait("those that are due", lambda: all(row.has_ended for row in _of(scene, timed)), within=40)
            problems = [
                *_wrong_ends(scene, too_late, timed),
                *_wrong_times(scene, timed, due),
                *_early_takeovers(scene),
            ]
            assert not problems, "; ".join(problems[:5])
        finally:
            processes.restart(name)

    return inject


def _clock(scene: Scene, seconds: int) -> Mapping[str, str]:
    """Environment of a process with a wrong clock. Fail if that is not possible."""
    environment = {"LD_PRELOAD": str(library(scene.world.flags.parent)), "WRONG_CLOCK": str(seconds)}
    ask = "import datetime; print(datetime.datetime.now(datetime.UTC).timestamp())"
    told = subprocess.run(
        [sys.executable, "-c", ask], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    error = float(told.stdout) - time.time()
    assert abs(error - seconds) < 60, f"NOT RUN: the wrong clock is {error:.0f} s off, where it should be {seconds}"
    return environment


# --- what is submitted ------------------------------------------------------------------------------------------------


def _expires_in_its_queue(scene: Scene) -> Sequence[Wanted]:
    """The queues are not consumed before it has expired: a sender with a slow clock would still send it."""
    expires_at = _now(scene) + timedelta(seconds=SOON)
    with scene.world.stopped("trigger"):
        made = scene.load.mails(20, expires_at=expires_at.isoformat())
        wait("its expiry", lambda: _now(scene) > expires_at)
    return made


def _in_time(scene: Scene) -> tuple[datetime, Sequence[Wanted]]:
    """Due soon, and expiring a minute later."""
    due = _now(scene) + timedelta(seconds=SOON)
    return due, scene.load.mails(
        40,
        send_at=due.isoformat(),
        expires_at=(due + timedelta(seconds=60 - SOON)).isoformat(),
        on_ambiguous="resend",
    )


def _now(scene: Scene) -> datetime:
    """By the database's clock."""
    now: datetime = scene.world.query("SELECT UTC_TIMESTAMP(6)")[0][0]
    return now.replace(tzinfo=UTC)


# --- what became of it ------------------------------------------------------------------------------------------------


def _of(scene: Scene, wanted: Sequence[Wanted]) -> list[Row]:
    addresses = {one.address for one in wanted}
    return [row for row in rows(scene.world, scene.load) if row.address in addresses]


def _wrong_ends(scene: Scene, too_late: Sequence[Wanted], timed: Sequence[Wanted]) -> list[str]:
    wrong = [f"{row.id} expired, and is {row.status}" for row in _of(scene, too_late) if row.status != "expired"]
    ended = _of(scene, timed)
    wrong += [f"{row.id} had a minute, and is {row.status}" for row in ended if row.status != "sent"]
    return wrong if len(ended) == len(timed) else [*wrong, f"only {len(ended)} of {len(timed)} were taken"]


def _wrong_times(scene: Scene, timed: Sequence[Wanted], due: datetime) -> list[str]:
    """By the provider's log: not before `send_at`; and a second attempt not before the first retry step."""
    seen, wrong = look(scene.world, scene.load), []
    for one in timed:
        calls = seen.calls.get(one.address, ())
        wrong += [f"{one.id} was due at {due}, and sent {at}" for at in _at(calls) if not due <= at]
    for row in seen.rows:
        calls = seen.calls.get(row.address, ())
        if row.ambiguous == 0 and len(calls) > 1:
            pause = _at(calls)[1] - _at(calls)[0]
            wrong += [f"{row.id} was tried again after {pause}"] if not timedelta(seconds=1) <= pause < LATE else []
        elif row.ambiguous == 0 and row.address in {one.address for one in timed} and _at(calls)[0] > due + LATE:
            wrong.append(f"{row.id} was due at {due}, and sent {_at(calls)[0]}")
    return wrong


def _at(calls: Sequence[Mapping[str, Any]]) -> list[datetime]:
    """The log has whole milliseconds."""
    return [datetime.fromisoformat(call["at"]) + timedelta(milliseconds=1) for call in calls]


def _takeovers(scene: Scene) -> list[tuple[str, float]]:
    """Notifications whose lease expired, and the seconds until the sweep reclaimed them."""
    ids = [row.id for row in rows(scene.world, scene.load)]
    found = scene.world.query(
        """SELECT notification_id, TIMESTAMPDIFF(MICROSECOND, started_at, at) / 1e6 FROM events
            WHERE error_code = 'lease_expired' AND notification_id >= %s""",
        (min(ids),),
    )
    return [(id, float(seconds)) for id, seconds in found if id in ids]


def _early_takeovers(scene: Scene) -> list[str]:
    return [f"{id} was taken over {after:.1f} s after its claim" for id, after in _takeovers(scene) if after < LEASE]


FAULTS = tuple(
    Fault(name=f"the clock of {name} an hour {word}", inject=off(name, seconds))
    for name in ("email", "intake", "replay")
    for word, seconds in (("ahead", HOUR), ("behind", -HOUR))
)

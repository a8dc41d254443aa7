"""MariaDB's primary is killed and its replica promoted: what each kind of replication keeps."""

import time
from collections.abc import Iterable, Sequence
from functools import partial

from tests.faults.checks import Row, Seen, addresses_of
from tests.faults.fault import MESSAGES, Fault, Scene, let_go
from tests.faults.replication import Missing, acknowledged, missing, promote, replicated, told
from tests.faults.world import wait, world

AWAY = 2.0  # seconds, from the death to the promotion
LAGGING = 60  # calls to providers, and
SINCE = 20  # notifications that are not replicated


def semi_synchronous(scene: Scene) -> None:
    let_go(scene)
    assert acknowledged(scene.world.mariadb), "a COMMIT was answered without the replica"
    forgotten = _fail_over(scene)
    scene.notes.append(f"{forgotten.transactions} transactions of the dead primary's log had not reached the replica")


def asynchronous(scene: Scene) -> None:
    """The replica has the notifications submitted before, but neither their outcomes nor later ones."""
    running, load = scene.world, scene.load
    replica = running.servers.replica
    assert replica is not None, "this world has no replica"
    wait("the load, replicated", lambda: told(replica, "SELECT COUNT(*) FROM notifications")[0][0] >= MESSAGES)
    told(replica, "STOP SLAVE IO_THREAD")
    before = len(load.wanted)
    let_go(scene)
    wait("calls", lambda: sum(running.emulator.call_totals().values()) > LAGGING)
    wait("more that are accepted", lambda: sum(one.id is not None for one in load.wanted[before:]) > SINCE)
    forgotten = _fail_over(scene)
    stored = addresses_of(load)
    touched = (*forgotten.inserted.values(), *forgotten.changed.values())
    scene.explained |= {stored[recipient] for recipient in touched if recipient in stored}
    scene.judge = partial(_explained, scene, forgotten)


def _fail_over(scene: Scene) -> Missing:
    """Transactions that were not replicated."""
    servers = scene.world.servers
    dead = servers.mariadb
    dead.kill()
    time.sleep(AWAY)
    promote(servers, scene.world.network.mariadb)
    return missing(dead, servers.mariadb)


def _explained(scene: Scene, forgotten: Missing, seen: Seen) -> Sequence[str]:
    """Everything lost or sent twice must be in transactions that were not replicated. They are counted and listed."""
    rows = {row.id: row for row in seen.rows}
    lost = [one for one in scene.load.wanted if one.id is not None and one.id not in rows]
    back = [rows[id] for id in forgotten.changed if id in rows]
    again = [row for row in back if seen.taken(row) > 1]
    sent = [one for one in lost if seen.took(one.address)]
    held = [row for row in again if row.on_ambiguous == "hold"]
    scene.notes += [
        f"{forgotten.transactions} transactions never reached the replica",
        f"{len(lost)} notifications that had been answered 202 are gone, {len(sent)} of them had been sent: "
        f"{_named(str(one.id) for one in lost)}",
        f"{len(back)} went back to an older state; {len(again)} of them had been sent and were sent again, {len(held)} "
        f"of these with `hold`: {_named(row.id for row in held)}",
    ]
    return [
        *(f"{one.id} is lost, and the replica had got it" for one in lost if one.id not in forgotten.inserted),
        *(f"{id} never reached the replica, and is there" for id in forgotten.inserted if id in rows),
        *(f"{row.id} is at {row.status}" for row in seen.rows if not row.has_ended),
        *(f"{row.id} went out {seen.taken(row)} times ({row})" for row in seen.rows if _too_often(seen, row)),
        *([] if lost and again else ["the replica missed nothing that matters: this row shows nothing"]),
    ]


def _too_often(seen: Seen, row: Row) -> bool:
    """Once before the failover, once after it, and once more per ambiguous attempt."""
    return seen.taken(row) > 2 + (row.ambiguous if row.on_ambiguous == "resend" else 0)


def _named(ids: Iterable[str]) -> str:
    """A few of them, to keep the page readable."""
    first, *more = [*ids] or ["none"]
    return ", ".join([first, *more[:2], *(["..."] if len(more) > 2 else [])])


FAULTS = (
    Fault(
        name="MariaDB semi-synchronous: primary killed, replica promoted",
        inject=semi_synchronous,
        make_world=partial(world, servers=partial(replicated, semi_synchronous=True)),
    ),
    Fault(
        name="MariaDB asynchronous: primary killed, replica promoted",
        inject=asynchronous,
        make_world=partial(world, servers=partial(replicated, semi_synchronous=False)),
    ),
)

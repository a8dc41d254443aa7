"""Endpoints that are down, slow or lying, and what tells them while something dies.

`python -m tests.faults --webhooks` runs these. Each row compares what the endpoints have taken with the feed of events:
each event must have come, under its own `webhook-id`, and a receiver that drops an id which it knows has each once.
"""

import json
import os
import signal
import socket
import statistics
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from tests.faults import mariadb, matrix
from tests.faults.checks import rows
from tests.faults.database_clock import with_a_clock
from tests.faults.endpoints import UNENDED, Counted, Endpoint, Told, judged, waiting
from tests.faults.fault import Fault, Scene
from tests.faults.load import CHANNELS
from tests.faults.matrix import Result, machine, verdict
from tests.faults.receiver import Answer, Post, Receiver, first, held, huge, raw, reset, slow, status
from tests.faults.world import World, wait, world

WORLD = partial(world, servers=with_a_clock)
HEADING = "## Webhooks"
HOUR = 3600  # seconds
MESSAGES = 120  # submitted before the fault
LATE = 15.0  # seconds for a webhook to a quick endpoint, on a busy machine
MOVING = f"{UNENDED} AND (next_attempt_at IS NULL OR next_attempt_at < '9000-01-01')"  # not held


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    inject: Callable[[Scene, Told], None]
    paths: Sequence[str] = ("/hooks",)
    may_double: bool = False
    within: float = 120.0  # seconds, until all webhooks have ended
    messages: int = MESSAGES
    pause: float = 0.3  # seconds between two requests of a caller


@dataclass(frozen=True, kw_only=True)
class Ran:
    result: Result  # of the notifications
    counted: Counted


def run(world: World, row: Row, seed: int) -> Ran:
    world.receiver.clear()
    begun = datetime.now(UTC) - timedelta(seconds=1)
    told = Told(world=world, after=int(world.query("SELECT COALESCE(MAX(seq), 0) FROM events")[0][0]))
    for path in row.paths:
        told.create(path)
    fault = Fault(
        name=row.name,
        inject=lambda scene: row.inject(scene, told),
        may_double=row.may_double,
        messages=row.messages,
        pause=row.pause,
    )
    result = matrix.run(world, fault, seed)
    problems = [*result.problems]
    try:
        wait("every webhook", lambda: waiting(world), lambda left: left == 0, within=row.within)
    except AssertionError as error:
        problems.append(str(error))
    counted, wrong = judged(told)
    problems += [*wrong, *(f"H: {one}" for one in world.caller.audit(since=begun.isoformat()))]
    for path in row.paths:
        told.change(path, "delete")
    return Ran(result=replace(result, problems=problems), counted=counted)


# --- down -------------------------------------------------------------------------------------------------------------


def down(steps: Sequence[int], *, disables: bool = False) -> Callable[[Scene, Told], None]:
    """The endpoint refuses connections, then answers 503 with Retry-After, then 500. Meanwhile the database's clock is
    set ahead by these hours, one after another. Then it is mended."""

    def inject(scene: Scene, told: Told) -> None:
        world, (path,) = scene.world, told.endpoints
        world.receiver.down()
        _resume(scene)
        wait("webhooks that wait", lambda: waiting(world), lambda count: count >= MESSAGES)
        for number, hours in enumerate(steps):
            _face(world.receiver, path, number / len(steps))
            _go_on(world, hours)
        attempts = world.query(f"SELECT MAX(attempt) FROM notifications WHERE {UNENDED}")[0][0]
        scene.notes.append(
            f"down for {sum(steps)} hours of the database's clock; {waiting(world)} webhooks waited at its end, after "
            f"up to {attempts} attempts"
        )
        world.receiver.answers.clear()
        if disables:
            assert told.is_disabled(path, "failing"), told.shown(path)
            told.change(path, "enable")
        _go_on(world, 2)  # the next attempt may be two hours later

    return inject


def _face(receiver: Receiver, path: str, part: float) -> None:
    """How it is down in this part of the time."""
    if part < 1 / 3:
        return
    receiver.up()
    long = status("503 Service Unavailable", "Retry-After: 7200")
    receiver.answers[path] = long if part < 2 / 3 else status("500 Internal Server Error")


def _go_on(world: World, hours: int) -> None:
    """Set the clock ahead, and wait until each webhook that is due was tried."""
    clock = world.servers.clock
    assert clock is not None, "the clock of this world's database cannot be set"
    clock.set_off(round((_now(world) - datetime.now(UTC)).total_seconds()) + hours * HOUR + 10)
    after = _now(world).replace(tzinfo=None)
    due = f"SELECT COUNT(*) FROM notifications WHERE {UNENDED} AND COALESCE(next_attempt_at, created_at) <= %s"
    wait("those that are due", lambda: int(world.query(due, (after,))[0][0]), lambda count: count == 0)


def _now(world: World) -> datetime:
    """By the database's clock."""
    now: datetime = world.query("SELECT UTC_TIMESTAMP(6)")[0][0]
    return now.replace(tzinfo=UTC)


def disabled(scene: Scene, told: Told) -> None:
    """While webhooks are under way; enabled, disabled and enabled again."""
    world, (path,) = scene.world, told.endpoints
    world.receiver.answers[path] = slow(0.3)
    _resume(scene)
    wait("some webhooks", lambda: len(world.receiver.of(path)) >= 10)
    told.change(path, "disable")
    _wait_for_load(scene)
    wait("nothing under way", lambda: world.query(f"SELECT COUNT(*) FROM notifications WHERE {MOVING}")[0][0] == 0)
    before = len(world.receiver.of(path))
    time.sleep(2)
    assert len(world.receiver.of(path)) == before, "webhooks came to a disabled endpoint"
    scene.notes.append(f"{before} webhooks had come when it was disabled; {told.shown(path)['held']} were held")
    world.receiver.answers.clear()
    for change in ("enable", "disable", "enable", "enable"):
        told.change(path, change)


# --- slow, lying ------------------------------------------------------------------------------------------------------


def slow_beside_quick(scene: Scene, told: Told) -> None:
    world = scene.world
    world.receiver.answers["/slow"] = slow(1.5)
    _resume(scene)
    _wait_for_load(scene)
    wait("the quick one's", lambda: _waiting_for(world, told.endpoints["/quick"]), lambda left: left < 5)
    left = _waiting_for(world, told.endpoints["/slow"])
    late = sorted(_lateness(world.receiver.of("/quick")))
    scene.notes.append(
        f"the quick endpoint had each webhook {statistics.median(late):.1f} s (median), {late[-1]:.1f} s (at most) "
        f"after its event; {left} still waited for the slow one"
    )
    assert left > MESSAGES / 4, "the slow endpoint was not slow: this row shows nothing"
    assert late[-1] < LATE, "the slow endpoint delayed the quick one"
    world.receiver.answers.clear()  # what waits comes sooner


def _lateness(posts: Sequence[Post]) -> Iterator[float]:
    """Seconds from the event to its webhook."""
    for post in posts:
        yield post.at - datetime.fromisoformat(json.loads(post.body)["timestamp"]).timestamp()


def _waiting_for(world: World, endpoint: Endpoint) -> int:
    found = world.query(f"SELECT COUNT(*) FROM notifications WHERE {UNENDED} AND recipient = %s", (endpoint.id,))
    return int(found[0][0])


METADATA = "Location: http://169.254.169.254/latest/meta-data/"  # the private address that clouds have
LIES: Mapping[str, Answer] = {
    "reset after it was taken": reset(taken=True),
    "reset, not taken": reset(taken=False),
    "200 and half a body": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf", taken=True),
    "a body without an end": huge,
    "half a status line": raw(b"HTTP/1.1 20", taken=True),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n", taken=False),
    "a header without an end": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, taken=True),
    "103 and no more": raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", taken=False),
    "500 after it was taken": status("500 Internal Server Error", taken=True),
    "301 to the same receiver": status("301 Moved Permanently", "Location: http://lying.example.com/elsewhere"),
    "307 to a private address": status("307 Temporary Redirect", METADATA),
    "429": status("429 Too Many Requests", "Retry-After: 1"),
    "a Retry-After that is no time": status("503 Service Unavailable", "Retry-After: soon"),
    "a byte now and then": raw(*(bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n"), taken=False, pause=0.5),
}
"""To the first POST of an event; the second is answered with 204."""


def lying(scene: Scene, told: Told) -> None:
    world, told_lies = scene.world, Counter[str]()

    def lie(connection: socket.socket, post: Post) -> bool:
        name = [*LIES][zlib.crc32(post.id.encode()) % len(LIES)]
        told_lies[name] += 1
        return LIES[name](connection, post)

    world.receiver.answers |= {"/lying": first(lie), "/gone": status("410 Gone")}
    _resume(scene)
    wait("410", lambda: told.is_disabled("/gone", "gone"))
    _wait_for_load(scene)
    wait("webhooks that are held", lambda: told.shown("/gone")["held"] >= MESSAGES)
    del world.receiver.answers["/gone"]
    told.change("/gone", "enable")
    wait("every lie", lambda: len(told_lies) == len(LIES))
    scene.notes.append("; ".join(f"{name} ({count})" for name, count in sorted(told_lies.items())))


# --- what dies meanwhile ----------------------------------------------------------------------------------------------


def killed(scene: Scene, told: Told) -> None:
    """SIGKILL for the workers whose webhooks have arrived and are not answered yet."""
    world, (path,), answers = scene.world, told.endpoints, threading.Event()
    world.receiver.answers[path] = first(held(answers))
    _resume(scene)
    under_way = len(wait("webhooks under way", lambda: world.receiver.of(path), lambda posts: len(posts) >= 5))
    workers = world.workers("webhook")
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    answers.set()
    wait("the same again", lambda: sum(post.before > 0 for post in world.receiver.of(path)) >= under_way)
    again = [post for post in world.receiver.of(path) if post.before > 0]
    scene.notes.append(f"{len(again)} webhooks came again, each under its own webhook-id")


def dies_at(step: str) -> Callable[[Scene, Told], None]:
    """The worker of webhooks."""

    def inject(scene: Scene, told: Told) -> None:
        world, (path,) = scene.world, told.endpoints
        world.receiver.answers[path] = slow(0.5)
        _resume(scene)
        wait("webhooks that wait", lambda: waiting(world), lambda count: count >= 30)
        others = [worker for name in CHANNELS for worker in world.workers(name)]
        for worker in others:  # so that none of these comes first to the step
            os.kill(worker, signal.SIGSTOP)
        try:
            world.arm(step)
            wait(f"a worker that dies at {step}", lambda: world.struck(step))
        finally:
            for worker in others:
                os.kill(worker, signal.SIGCONT)
        world.receiver.answers.clear()

    return inject


def while_the_database_is_killed(scene: Scene, _told: Told) -> None:
    """An event and what tells it are written in one transaction: both are there, or neither."""
    mariadb.killed(scene)


def _wait_for_load(scene: Scene) -> None:
    """Until those of before the fault have ended."""
    ours = {one.address for one in scene.load.wanted[:MESSAGES]}
    wait("their ends", lambda: all(row.has_ended for row in rows(scene.world, scene.load) if row.address in ours))


def _resume(scene: Scene) -> None:
    scene.world.tell("trigger", signal.SIGCONT)


ROWS = (
    Row(name="worker killed while the endpoint answers", inject=killed),
    Row(name="worker dies after the endpoint has answered", inject=dies_at("delivery.after_send"), may_double=True),
    Row(name="worker dies after it has written it", inject=dies_at("settlement.after_rows"), may_double=True),
    Row(name="MariaDB killed", inject=while_the_database_is_killed),
    Row(
        name="a slow endpoint beside a quick one",
        inject=slow_beside_quick,
        paths=("/slow", "/quick"),
        within=600,
        pause=2,
    ),
    Row(name="a lying endpoint, and one that is gone", inject=lying, paths=("/lying", "/gone", "/honest"), within=300),
    Row(name="disabled, enabled", inject=disabled),
    # A step of the clock ends the leases of what is being sent.
    Row(name="down for a day", inject=down([1] * 24), may_double=True, pause=3),
    Row(name="down for six days", inject=down([1, 1, 1, 21, *[24] * 5], disables=True), may_double=True, pause=3),
)
QUICK = replace(ROWS[0], messages=24, pause=1.5)
"""Run by day."""


# --- the page ---------------------------------------------------------------------------------------------------------

COLUMNS = ("fault", "accepted", "doubled", *(column.name for column in fields(Counted)))


def header() -> str:
    return f"| {' | '.join(COLUMNS)} |\n|---|{'---:|' * (len(COLUMNS) - 1)}"


def line(ran: Ran) -> str:
    values = [getattr(ran.counted, column.name) for column in fields(Counted)]
    notifications = ran.result.counted
    return f"| {' | '.join(map(str, [ran.result.fault, notifications.accepted, notifications.doubled, *values]))} |"


def section(ran: Sequence[Ran], world: World, seed: int) -> str:
    noted = "".join(f"- {one.result.fault}: {note}\n" for one in ran for note in one.result.notes)
    table = "\n".join(map(line, ran))
    return f"""{HEADING}

`python -m tests.faults --webhooks --seed {seed} --write docs/faults.md` wrote this section:
{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on {machine(world)}.

Notifications of every channel are sent while the [endpoints](webhooks.md) that get all events fail as the row says. At
the end, what each endpoint has taken is compared with the feed, `GET /v1/events`: every event must have come, signed,
with the feed's data, and with the same `webhook-id` and body each time. The audit runs after every row.

- **accepted**, **doubled**: as above. Of these, none was lost.
- **events**: in the feed. **webhooks**: each event, once for each endpoint.
- **arrived**: taken by their endpoint at least once. **lost**: never.
- **again**: taken once more, because an answer was lost. A receiver that drops each `webhook-id` that it knows has
  every event exactly once. **posts**: all requests, whether or not they were taken.

{header()}
{table}

{verdict([one.result for one in ran])}

{noted}"""

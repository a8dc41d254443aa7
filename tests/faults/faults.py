"""The faults, each injected into real processes, servers and providers, and ended again."""

import http.client
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import pika
from tidings import topology
from tidings.envelope import Message

from local.providers.client import Failure
from tests.faults.checks import rows
from tests.faults.load import CHANNELS, Load
from tests.faults.world import World, wait

FUNCTIONS = ("intake", "email", "sms", "push", "replay")
MESSAGES = 240  # handed in before the fault


@dataclass(kw_only=True)
class Scene:
    """What a fault is given: the world, and the load that meets it."""

    world: World
    load: Load
    parked: int = 0  # messages that must end in parking


@dataclass(frozen=True, kw_only=True)
class Fault:
    name: str
    inject: Callable[[Scene], None]  # returns when the fault is over
    may_double: bool = False  # it is ambiguous itself: whether the provider was asked cannot be known
    at_once: bool = True  # the load waits in the queues until the fault lets it go
    quick: bool = False  # also in the tests
    within: float = 90.0  # seconds, to recover


# --- processes that die at a step -------------------------------------------------------------------------------------


def dies_at(name: str) -> Callable[[Scene], None]:
    """A worker is made again by its gunicorn; the trigger by whoever runs it, which is us."""

    def inject(scene: Scene) -> None:
        scene.world.arm(name)
        scene.load.burst(20, never=1, not_now=1)
        scene.world.tell("trigger", signal.SIGCONT)
        wait(f"a process that dies at {name}", lambda: scene.world.struck(name))
        if name.startswith("trigger."):
            trigger_again(scene)

    return inject


def trigger_again(scene: Scene) -> None:
    processes = scene.world.stack.processes
    wait("the trigger's end", lambda: not processes.running["trigger"].running)
    processes.again("trigger")


def sweep_dies_at(name: str) -> Callable[[Scene], None]:
    """While it has something to sweep: notifications that have just become due."""

    def inject(scene: Scene) -> None:
        world = scene.world
        world.tell("trigger", signal.SIGCONT)
        with world.stopped("schedule"):
            due = world.query("SELECT UTC_TIMESTAMP(6) + INTERVAL 3 SECOND")[0][0]
            scene.load.burst(60, send_at=f"{due.isoformat()}Z")
            wait("due", lambda: world.query("SELECT UTC_TIMESTAMP(6) > %s", (due,))[0][0])
            world.arm(name)
        wait(f"a sweep that dies at {name}", lambda: world.struck(name))

    return inject


def replay_dies_at(name: str) -> Callable[[Scene], None]:
    def inject(scene: Scene) -> None:
        world, load = scene.world, scene.load
        world.tell("trigger", signal.SIGCONT)
        load.burst(60, never=20)
        wait("dead letters", lambda: sum(row.status == "failed" for row in rows(world, load)) >= 60)
        world.emulator.forgive()
        world.arm(name)
        try:
            answer = world.caller.replay(limit=1000)
        except (OSError, http.client.HTTPException):
            answer = None
        assert answer is None, f"the replay did not die at {name}: {answer}"
        assert world.struck(name), f"the replay did not come to {name}"
        wait("a replay that answers", lambda: world.caller.replay(limit=1000))

    return inject


# --- a process that stands still --------------------------------------------------------------------------------------


def stall(scene: Scene) -> None:
    """The email worker stops in the middle of sending, and wakes when its lease is over and the sweep has taken it."""
    world = scene.world
    world.emulator.fail("email", delay=1.0, next=8)
    world.tell("trigger", signal.SIGCONT)
    wait("a mail under way", lambda: world.emulator.failures()[-1]["used"] > 0)
    workers = world.workers("email")
    assert workers, "the email function has no worker"
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        wait("the sweep's takeover", lambda: _leases_lost(scene) > 0, within=40)
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)


def _leases_lost(scene: Scene) -> int:
    ids = [row.id for row in rows(scene.world, scene.load)]
    found = scene.world.query(
        "SELECT notification_id FROM events WHERE error_code = 'lease_expired' AND notification_id >= %s", (min(ids),)
    )
    return len(found)


# --- servers ----------------------------------------------------------------------------------------------------------


def _let_go(scene: Scene) -> None:
    """The queued load is delivered while the fault comes: some of it is in every step."""
    scene.world.tell("trigger", signal.SIGCONT)
    wait("the first calls", lambda: sum(scene.world.emulator.call_totals().values()) > 20)


def rabbitmq_killed(scene: Scene) -> None:
    _let_go(scene)
    scene.world.rabbitmq.kill()
    time.sleep(3)  # how long it is gone
    scene.world.rabbitmq.start()


def rabbitmq_stopped(scene: Scene) -> None:
    _let_go(scene)
    scene.world.rabbitmq.stop()
    time.sleep(3)
    scene.world.rabbitmq.start()


def rabbitmq_hung(scene: Scene) -> None:
    _let_go(scene)
    scene.world.rabbitmq.pause()
    try:
        time.sleep(10)
    finally:
        scene.world.rabbitmq.resume()


def queue_deleted(scene: Scene) -> None:
    """With all that waits in it."""
    with scene.world.channel() as channel:
        channel.queue_delete("tidings.email")
    scene.world.tell("trigger", signal.SIGCONT)
    wait("the queue, made again", lambda: scene.world.waiting_in("tidings.email") >= 0)


def mariadb_killed(scene: Scene) -> None:
    _let_go(scene)
    scene.world.mariadb.kill()
    time.sleep(3)
    scene.world.mariadb.start()


def mariadb_hung(scene: Scene) -> None:
    _let_go(scene)
    scene.world.mariadb.pause()
    try:
        time.sleep(8)
    finally:
        scene.world.mariadb.resume()


# --- providers --------------------------------------------------------------------------------------------------------


def provider(calls: int, **failures: Failure) -> Callable[[Scene], None]:
    """The next calls of these channels fail so."""

    def inject(scene: Scene) -> None:
        emulator = scene.world.emulator
        for channel in CHANNELS:
            if channel in failures:
                failure: Failure = {**failures[channel], "next": calls}
                emulator.fail(channel, **failure)
        scene.world.tell("trigger", signal.SIGCONT)
        wait(
            "the failures",
            lambda: all(rule["used"] == calls for rule in emulator.failures() if "recipient" not in rule),
        )

    return inject


def wrong_credentials(scene: Scene) -> None:
    """For three seconds, at every call. What met it waits for two minutes, and no attempt of it is burnt."""
    world, emulator = scene.world, scene.world.emulator
    emulator.forgive()
    emulator.fail("email", status=535, stage="mail")
    emulator.fail("sms", status=401, code="20003")
    emulator.fail("push", status=401)
    world.tell("trigger", signal.SIGCONT)
    wait("calls that are refused", lambda: all(rule["used"] > 3 for rule in emulator.failures()))
    emulator.forgive()
    burnt = [row for row in rows(world, scene.load) if row.status == "retrying" and row.spared != row.attempt]
    assert not burnt, f"attempts were burnt: {burnt}"


# --- messages ---------------------------------------------------------------------------------------------------------


def messages(scene: Scene) -> None:
    """Straight into the work queues, between those of the load."""
    world, load = scene.world, scene.load
    kept = [one for one in load.wanted if one.id is not None]
    with world.channel() as channel:
        for name in CHANNELS:
            real = next(one for one in kept if one.channel == name)
            fine = Message(id=str(real.id), channel=name, generation=1)
            unreadable = [
                (b"\xff\x00 garbage", {}),
                (b"{}", fine.headers),
                (b'{"id": 7, "channel": "%s"}' % name.encode(), fine.headers),
                (fine.body, {**fine.headers, "ce-type": "dev.tidings.notification.v9"}),
                (fine.body, {**fine.headers, "ce-generation": "soon"}),
                (json.dumps({"id": real.id, "channel": "fax"}).encode(), fine.headers),
            ]
            unknown = Message(id="00000000-0000-7000-8000-000000000000", channel=name, generation=1)
            stale = Message(id=str(real.id), channel=name, generation=0)
            harmless = [(message.body, message.headers) for message in (unknown, stale, fine, fine, fine)]
            for body, headers in (*unreadable, *harmless):
                channel.basic_publish(
                    "tidings", name, body, pika.BasicProperties(headers=dict(headers), delivery_mode=2)
                )
            scene.parked += len(unreadable)
    world.tell("trigger", signal.SIGCONT)
    wait("parking", lambda: world.waiting_in(topology.PARKING) >= scene.parked)


# --- stop signals -----------------------------------------------------------------------------------------------------


def stopped(name: str) -> Callable[[Scene], None]:
    """SIGTERM; it drains within half a minute, and is started again."""

    def inject(scene: Scene) -> None:
        _let_go(scene)
        processes, begun = scene.world.stack.processes, time.monotonic()
        processes.running[name].stop()
        took = time.monotonic() - begun
        assert took < 33, f"{name} took {took:.0f} s to drain"
        processes.again(name)

    return inject


def nothing(scene: Scene) -> None:
    scene.world.tell("trigger", signal.SIGCONT)


QUICK = ("delivery.after_claim", "delivery.after_send", "settling.after_letters", "settling.after_rows")
STEPS_OF_DELIVERY = (
    *QUICK[:1],
    "delivery.mid_send",
    *QUICK[1:],
    "settling.after_retries",
    "delivery.before_return",
)
BEFORE_THE_ROWS = ("delivery.after_claim", "delivery.mid_send", "delivery.after_send", "settling.after_letters")
"""Dying here leaves claimed rows of which nobody knows whether the provider was asked."""

FAULTS = (
    Fault(name="none", inject=nothing),
    *(
        Fault(name=f"dies at {name}", inject=dies_at(name), quick=name == "intake.after_commit", at_once=False)
        for name in ("intake.after_commit", "intake.after_publish", "intake.before_answer")
    ),
    *(
        Fault(name=f"dies at {name}", inject=dies_at(name), quick=name in QUICK, may_double=name in BEFORE_THE_ROWS)
        for name in STEPS_OF_DELIVERY
    ),
    Fault(name="dies at trigger.before_acknowledge", inject=dies_at("trigger.before_acknowledge"), quick=True),
    *(
        Fault(name=f"dies at {name}", inject=replay_dies_at(name), at_once=False)
        for name in ("replay.after_revive", "replay.after_publish")
    ),
    *(
        Fault(name=f"dies at {name}", inject=sweep_dies_at(name), at_once=False)
        for name in ("sweep.after_take", "sweep.after_publish")
    ),
    Fault(name="a sender stalls past its lease", inject=stall, may_double=True),
    Fault(name="RabbitMQ killed", inject=rabbitmq_killed, quick=True),
    Fault(name="RabbitMQ stopped", inject=rabbitmq_stopped),
    Fault(name="RabbitMQ hung for 10 s", inject=rabbitmq_hung),
    Fault(name="a work queue deleted", inject=queue_deleted, within=150),
    Fault(name="MariaDB killed", inject=mariadb_killed, quick=True, may_double=True),
    Fault(name="MariaDB hung for 8 s", inject=mariadb_hung, may_double=True),
    Fault(
        name="providers: dropped after accepting",
        inject=provider(
            20, email={"drop": "after_accept"}, sms={"drop": "after_accept"}, push={"drop": "after_accept"}
        ),
        may_double=True,
    ),
    Fault(
        name="providers: dropped before accepting",
        inject=provider(
            20, email={"drop": "before_accept"}, sms={"drop": "before_accept"}, push={"drop": "before_accept"}
        ),
    ),
    Fault(
        name="providers: 429, Retry-After",
        inject=provider(20, sms={"status": 429, "retry_after": 3}),
    ),
    Fault(
        name="providers: 500, 451",
        inject=provider(20, email={"status": 451}, sms={"status": 500}, push={"status": 500}),
    ),
    Fault(
        name="providers: half a time-out late",
        inject=provider(20, email={"delay": 1}, sms={"delay": 1}, push={"delay": 0.4}),
    ),
    Fault(
        name="providers: later than the time-out",
        inject=provider(10, email={"delay": 3}, sms={"delay": 3}, push={"delay": 3}),
        may_double=True,
    ),
    Fault(name="messages: garbage, stale, doubled", inject=messages, quick=True),
    *(Fault(name=f"SIGTERM: {name}", inject=stopped(name)) for name in (*FUNCTIONS, "trigger")),
    Fault(name="providers: wrong credentials", inject=wrong_credentials, within=240),
)

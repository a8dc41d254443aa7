"""Processes that die at a step, hang, or get SIGTERM."""

import http.client
import os
import signal
import time
from collections.abc import Callable

from tidings.config.settings import load
from tidings.pipeline.delivery import RESERVED
from tidings.runtime.container import DeliverySettings

from tests.faults.checks import rows
from tests.faults.fault import MESSAGES, Fault, Scene, let_go
from tests.faults.world import wait

FUNCTIONS = ("intake", "email", "sms", "push", "replay")


def dies_at(name: str) -> Callable[[Scene], None]:
    """gunicorn restarts a worker; this test restarts the trigger."""

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
    processes.restart("trigger")


def sweep_dies_at(name: str) -> Callable[[Scene], None]:
    """While it has notifications to sweep that have just become due."""

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


def stall(scene: Scene) -> None:
    """The email worker hangs during a send, and wakes after its lease has expired and the sweep has reclaimed it."""
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


def stopped(name: str) -> Callable[[Scene], None]:
    """SIGTERM: it drains within half a minute; then it is restarted."""

    def inject(scene: Scene) -> None:
        let_go(scene)
        processes, begun = scene.world.stack.processes, time.monotonic()
        processes.running[name].stop()
        took = time.monotonic() - begun
        assert took < 33, f"{name} took {took:.0f} s to drain"
        processes.restart(name)

    return inject


QUICK = ("delivery.after_claim", "delivery.after_send", "settlement.after_dead_letters", "settlement.after_rows")
STEPS_OF_DELIVERY = (
    *QUICK[:1],
    "delivery.mid_send",
    *QUICK[1:],
    "settlement.after_retries",
    "delivery.before_return",
)
ENDED_LATELY = 50  # attempts in 100 ms: three channels together send less than 500 per second on two cores
AMBIGUOUS_AT_MOST = load(DeliverySettings, {}).concurrency + RESERVED + ENDED_LATELY
"""Maximum ambiguous attempts after the death of one worker with two batches: calls under way, and ended calls that were
not settled yet."""
FULL_BATCHES = 1500
"""Messages of the three channels: enough for two full batches of 100 in the worker, and more in the queue."""
BOUNDED = ("delivery.after_send", "settlement.after_retries", "delivery.before_return")
FAULTS = (
    *(
        Fault(name=f"dies at {name}", inject=dies_at(name), quick=name == "intake.after_commit", at_once=False)
        for name in ("intake.after_commit", "intake.before_answer")
    ),
    # Whatever the step, the worker's other batch may be sending.
    *(
        Fault(
            name=f"dies at {name}",
            inject=dies_at(name),
            quick=name in QUICK,
            may_double=True,
            ambiguous_at_most=AMBIGUOUS_AT_MOST if name in BOUNDED else None,
            messages=FULL_BATCHES if name in BOUNDED else MESSAGES,
        )
        for name in STEPS_OF_DELIVERY
    ),
    Fault(name="dies at trigger.before_acknowledge", inject=dies_at("trigger.before_acknowledge"), quick=True),
    *(
        Fault(name=f"dies at {name}", inject=replay_dies_at(name), at_once=False)
        for name in ("replay.after_reset", "replay.after_publish")
    ),
    *(
        Fault(name=f"dies at {name}", inject=sweep_dies_at(name), at_once=False)
        for name in ("sweep.after_take", "sweep.after_publish")
    ),
    Fault(name="a sender stalls past its lease", inject=stall, may_double=True),
    *(Fault(name=f"SIGTERM: {name}", inject=stopped(name)) for name in (*FUNCTIONS, "trigger")),
)

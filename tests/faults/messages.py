"""Malformed messages, and one that kills its worker."""

import contextlib
import json
import os
import signal

import pika
from tidings.messaging import topology
from tidings.messaging.envelope import Message

from tests.faults.checks import Row, rows
from tests.faults.fault import Fault, Scene
from tests.faults.load import CHANNELS
from tests.faults.world import wait


def messages(scene: Scene) -> None:
    """Publish directly into the work queues, between the messages of the load."""
    world, load = scene.world, scene.load
    kept = [one for one in load.wanted if one.id is not None]
    with world.channel() as channel:
        channel.confirm_delivery()  # else what was published just before the connection closes may be lost
        for name in CHANNELS:
            real = next(one for one in kept if one.channel == name)
            fine = Message(id=str(real.id), channel=name, generation=1)
            unreadable = [
                (b"\xff\x00 garbage", {}),
                (b"{}", fine.headers),
                (b'{"id": 7, "channel": "%s"}' % name.encode(), fine.headers),
                (fine.body, {**fine.headers, "ce-type": "dev.tidings.receipt.v1"}),
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


ATTEMPTS = 3  # of the killer


def killer(scene: Scene) -> None:
    """A worker that calls the provider for this notification dies. It ends as failed, without its neighbours."""
    world, load = scene.world, scene.load
    one = load.mails(1, max_attempts=ATTEMPTS, on_ambiguous="resend", priority="normal")[0]
    rule = world.emulator.fail("email", recipient=one.address, delay=1.0)
    world.tell("trigger", signal.SIGCONT)
    killed = 0

    def ended() -> Row | None:
        nonlocal killed
        if (calls := _used(scene, rule)) > killed:
            killed = calls
            for worker in world.workers("email"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        return next((row for row in rows(world, load) if row.address == one.address and row.has_ended), None)

    row = wait("the killer's end", ended, within=90)
    assert (row.status if row else None, killed) == ("failed", ATTEMPTS), f"after {killed} dead workers: {row}"
    twice = sum(row.ambiguous > 1 for row in rows(world, load) if row.address != one.address)
    scene.notes.append(
        f"the message killed {killed} workers; {twice} other notifications were being sent in two of these crashes"
    )
    # A function has two batches at once, so a notification may be hit twice by chance, but not the whole batch.
    assert twice < 20, f"{twice} neighbours were taken along again"


def _used(scene: Scene, rule: str) -> int:
    return next(int(seen["used"]) for seen in scene.world.emulator.failures() if seen["id"] == rule)


FAULTS = (
    Fault(name="messages: garbage, stale, doubled", inject=messages, quick=True),
    Fault(name="a message that kills its worker each time", inject=killer, may_double=True),
)

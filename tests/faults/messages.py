"""Messages that nobody should have to read."""

import json
import signal

import pika
from tidings import topology
from tidings.envelope import Message

from tests.faults.fault import Fault, Scene
from tests.faults.load import CHANNELS
from tests.faults.world import wait


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


FAULTS = (Fault(name="messages: garbage, stale, doubled", inject=messages, quick=True),)

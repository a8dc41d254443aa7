"""A message's frames are those that pika makes."""

import pika
import pytest
from tidings.adapters.rabbitmq.frames import frames
from tidings.domain import timing
from tidings.domain.notification import Priority
from tidings.messaging import topology
from tidings.messaging.envelope import CONTENT_TYPE, Message
from tidings.ports import Outgoing

LONGEST = 1000

MESSAGE = Message(id="01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e", channel="email", generation=1)
TRACED = Message(id=MESSAGE.id, channel="sms", generation=12, attempt=3, traceparent="00-" + "a" * 32)


def by_pika(channel: int, item: Outgoing) -> bytes:
    properties = pika.BasicProperties(
        message_id=item.message_id,
        content_type=CONTENT_TYPE if item.message_id is not None else None,
        delivery_mode=2,
        headers=item.all_headers,
    )
    publish = pika.spec.Basic.Publish(exchange=item.to.exchange, routing_key=item.to.routing_key, mandatory=True)
    parts = [item.body[start : start + LONGEST] for start in range(0, len(item.body), LONGEST)]
    made = [
        pika.frame.Method(channel, publish),
        pika.frame.Header(channel, len(item.body), properties),
        *(pika.frame.Body(channel, part) for part in parts),
    ]
    return b"".join(frame.marshal() for frame in made)


@pytest.mark.parametrize(
    "item",
    [
        Outgoing(message=MESSAGE, to=topology.work("email", Priority.NORMAL)),
        Outgoing(message=TRACED, to=topology.work("sms", Priority.HIGH)),
        Outgoing(message=TRACED, to=topology.dead("sms"), headers={"tidings-class": "permanent", "tidings-code": ""}),
        Outgoing(message=TRACED, to=topology.retry(timing.RETRY_STEPS[2], "sms", Priority.NORMAL)),
        Outgoing(raw=b"", to=topology.parking()),
        Outgoing(raw=b"later", to=topology.parking(), headers={"ce-id": "a later version's"}),
        Outgoing(raw=b"later", to=topology.parking(), headers={"ce-id": "too long for a property " + "x" * 255}),
        Outgoing(raw=b"later", to=topology.parking(), headers={"ce-id": "ü" * 200}),
        Outgoing(raw=b"\xce" * LONGEST, to=topology.parking(), headers={"tidings-reason": "ü \U0001f600 " + "x" * 200}),
        Outgoing(raw=b"\xce\x00" * 2 * LONGEST + b"1", to=topology.parking(), headers={"tidings-queue": "q" * 300}),
    ],
)
@pytest.mark.parametrize("channel", [1, 65535])
def test_a_messages_frames_are_those_that_pika_makes(item: Outgoing, channel: int) -> None:
    assert frames(channel, item, LONGEST) == by_pika(channel, item)

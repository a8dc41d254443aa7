"""What goes to the socket is what pika makes of the message, whatever it holds."""

import pika
import pytest
from tidings.adapters.rabbitmq.frames import frames, properties
from tidings.domain.notification import Priority
from tidings.messaging import topology
from tidings.messaging.envelope import Message
from tidings.ports import Outgoing

ID, OTHER = "0190a5d2-7a8f-7c3e-9b1d-2f4e6a8c0e12", "0190a5d2-7a8f-7c3e-9b1d-2f4e6a8c0e13"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def outgoing(id: str = ID, trace: str | None = TRACE, *, generation: int = 1, attempt: int = 0) -> Outgoing:
    message = Message(id=id, channel="email", generation=generation, attempt=attempt, traceparent=trace)
    return Outgoing(message=message, to=topology.work("email", Priority.NORMAL))


def by_pika(item: Outgoing) -> bytes:
    publish = pika.spec.Basic.Publish(exchange=item.to.exchange, routing_key=item.to.routing_key, mandatory=True)
    header, body = pika.frame.Header(1, len(item.body), properties(item)), pika.frame.Body(1, item.body)
    return b"".join(frame.marshal() for frame in (pika.frame.Method(1, publish), header, body))


@pytest.mark.parametrize(
    "item",
    [
        outgoing(),
        outgoing(OTHER),  # of the same form
        outgoing(generation=12, attempt=345),
        outgoing(trace=None),
        outgoing(trace="i" * 36 + "t" * 19),
        outgoing(trace="é" * 27 + "t"),
    ],
)
def test_frames_are_those_that_pika_makes(item: Outgoing) -> None:
    assert frames(1, item) == by_pika(item)


@pytest.mark.parametrize("trace", ["", "t", "00-x", "é" * 27, "é" * 55, "t" * 255])
def test_a_trace_of_another_length_is_left_to_pika(trace: str) -> None:
    """A message in a queue may have any."""
    assert frames(1, outgoing(trace=trace)) is None


def test_a_dead_letter_and_an_unreadable_message_are_left_to_pika() -> None:
    dead = Outgoing(message=outgoing().message, to=topology.dead("email"), headers={"tidings-code": "550"})
    assert frames(1, dead) is None
    assert frames(1, Outgoing(raw=b"?", to=topology.parking())) is None

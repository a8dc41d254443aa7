"""The frames of a message. pika encodes one message of each form; all others of that form differ in id and trace only.

Encoding costs pika as much as the rest of publishing: it asks each of a message's fields for its type.
"""

from functools import lru_cache

import pika

from tidings.messaging.envelope import CONTENT_TYPE, Message
from tidings.messaging.topology import Destination
from tidings.ports import Outgoing

_ID, _TRACE = b"i" * 36, b"t" * 55  # in place of a UUID and of a traceparent


def frames(channel: int, item: Outgoing) -> bytes | None:
    """None: it has no such form, so pika encodes it."""
    message = item.message
    if message is None or item.headers:
        return None
    id, trace = message.id.encode(), (message.traceparent or "").encode()
    has_trace = message.traceparent is not None
    # Of the same length: the frames say how long each is. A message may come from anywhere, with any trace.
    if len(id) != len(_ID) or (has_trace and len(trace) != len(_TRACE)):
        return None
    form = _form(channel, item.to, message.channel, message.generation, message.attempt, has_trace=has_trace)
    return form.replace(_ID, id).replace(_TRACE, trace)


@lru_cache(maxsize=256)
def _form(number: int, to: Destination, channel: str, generation: int, attempt: int, *, has_trace: bool) -> bytes:
    trace = _TRACE.decode() if has_trace else None
    message = Message(id=_ID.decode(), channel=channel, generation=generation, attempt=attempt, traceparent=trace)
    item = Outgoing(to=to, message=message)
    publish = pika.spec.Basic.Publish(exchange=to.exchange, routing_key=to.routing_key, mandatory=True)
    made = (
        pika.frame.Method(number, publish),
        pika.frame.Header(number, len(item.body), properties(item)),
        pika.frame.Body(number, item.body),
    )
    return b"".join(frame.marshal() for frame in made)


def properties(item: Outgoing) -> pika.BasicProperties:
    """A message that could not be parsed has no message id, and is passed on without a content type."""
    return pika.BasicProperties(
        message_id=item.message_id,
        content_type=CONTENT_TYPE if item.message_id is not None else None,
        delivery_mode=pika.DeliveryMode.Persistent.value,
        headers=item.all_headers,
    )

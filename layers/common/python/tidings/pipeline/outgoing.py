"""Which message goes to which queue."""

from datetime import timedelta

from tidings.domain import timing
from tidings.domain.notification import Notification
from tidings.messaging import topology
from tidings.messaging.envelope import IncomingMessage, Message
from tidings.ports import Deferred, Outgoing, Settlement


def message_for(notification: Notification) -> Message:
    """Tells a worker: this notification may be due."""
    return Message(
        id=notification.id,
        channel=notification.channel,
        generation=notification.generation,
        attempt=notification.attempt,
        traceparent=notification.traceparent,
    )


def to_work(notification: Notification) -> Outgoing:
    return Outgoing(message=message_for(notification), to=topology.work(notification.channel, notification.priority))


def to_retry(settlement: Settlement) -> Outgoing:
    notification, delay = settlement.notification, settlement.delay or timedelta(0)
    to = topology.retry(delay, notification.channel, notification.priority)
    return Outgoing(message=message_for(notification), to=to)


def deferred(item: Deferred) -> Outgoing:
    to = topology.retry(item.remaining, item.message.channel, item.priority)
    return Outgoing(message=item.message, to=to)


def dead_letter(notification: Notification, error_class: str | None, code: str | None) -> Outgoing:
    """Its reason is the class and the code; the vendor's text stays in the database."""
    reason = {"tidings-class": error_class or "", "tidings-code": code or ""}
    return Outgoing(message=message_for(notification), to=topology.dead(notification.channel), headers=reason)


def unsupported(incoming: IncomingMessage) -> Outgoing:
    """A newer release's message: redelivered unchanged, for a worker of that release."""
    to = topology.retry(timing.DEFER_DELAY, incoming.channel, topology.priority_of(incoming.queue))
    return Outgoing(to=to, raw=incoming.body, headers=dict(incoming.later or {}))


def parked(incoming: IncomingMessage) -> Outgoing:
    reason = {"tidings-queue": incoming.queue, "tidings-reason": incoming.unreadable or ""}
    return Outgoing(to=topology.parking(), raw=incoming.body, headers=reason)

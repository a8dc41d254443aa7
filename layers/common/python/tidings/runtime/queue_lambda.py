"""A queue function on Lambda, behind an Amazon MQ event source."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from time import sleep
from typing import Protocol

from tidings.domain.errors import BrokerUnavailable, StoreUnavailable
from tidings.messaging.envelope import IncomingMessage, from_event
from tidings.pipeline.delivery import Delivery
from tidings.runtime.faults import batch_faults

log = logging.getLogger(__name__)

BACK_OFF = timedelta(seconds=30)
RESERVE = timedelta(seconds=5)
"""Time left of an invocation when we return: before Lambda ends the process."""


class LambdaContext(Protocol):
    """What we use of the context that Lambda passes to a handler."""

    def get_remaining_time_in_millis(self) -> int: ...


def deliver_event(
    event: object, context: LambdaContext, channel: str, delivery: Delivery, *, flush: Callable[[], None]
) -> None:
    """Deliver an `aws:rmq` event. `flush`: called before Lambda freezes the process.

    Raise InvalidMessage if it is no such event; StoreUnavailable, BrokerUnavailable or Fault when the batch must be
    redelivered.
    """
    batch = from_event(event, channel)
    with batch_faults():
        try:
            _deliver_or_defer(batch, channel, delivery, within=_remaining(context))
        except (StoreUnavailable, BrokerUnavailable):
            # A redelivery counts towards the queue's delivery limit, so it should be a late one.
            sleep(max(0.0, min(BACK_OFF, _remaining(context) - RESERVE).total_seconds()))
            raise
        finally:
            flush()


def _deliver_or_defer(batch: Sequence[IncomingMessage], channel: str, delivery: Delivery, *, within: timedelta) -> None:
    """Without the database, defer the batch through the retry queues. A redelivery would come back at once and count
    towards the queue's delivery limit, at which the message of a healthy notification is parked."""
    unclaimed = batch
    try:
        if channel in delivery.store.paused():
            delivery.defer(batch)
            return
        unclaimed = [incoming for incoming in batch if incoming.message is not None]  # `deliver` parks the others
        delivery.deliver(batch, within=within)
    except StoreUnavailable as error:
        log.error("batch_deferred", extra={"messages": len(unclaimed), "error": str(error)})
        delivery.defer(unclaimed)


def _remaining(context: LambdaContext) -> timedelta:
    """Until Lambda ends this process."""
    return timedelta(milliseconds=context.get_remaining_time_in_millis())

"""Messages that this release cannot read."""

import logging
from collections.abc import Sequence

from tidings.messaging.envelope import IncomingMessage
from tidings.pipeline import outgoing
from tidings.ports import Broker

log = logging.getLogger(__name__)


def park_unreadable(batch: Sequence[IncomingMessage], broker: Broker) -> None:
    """Defer the messages of a newer release, for its own workers; park the others. Raise BrokerUnavailable."""
    newer = [incoming for incoming in batch if incoming.later is not None]
    unreadable = [incoming for incoming in batch if incoming.message is None and incoming.later is None]
    if newer:
        log.warning("unsupported_version_deferred", extra={"messages": len(newer), "reason": newer[0].unreadable})
    for incoming in unreadable:
        said = {"queue": incoming.queue, "reason": incoming.unreadable, "bytes": len(incoming.body)}
        log.error("parked", extra=said)
    broker.publish([*map(outgoing.unsupported, newer), *map(outgoing.parked, unreadable)])

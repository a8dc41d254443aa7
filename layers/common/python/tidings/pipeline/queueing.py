"""Publish what is committed, or leave it to the sweep. Intake and replay share it."""

import logging
from collections.abc import Sequence
from contextlib import suppress

from tidings.domain.errors import BrokerUnavailable, StoreUnavailable
from tidings.domain.notification import Notification
from tidings.domain.stopwatch import Stopwatch
from tidings.observability.events import Queued
from tidings.observability.observers import Observers
from tidings.pipeline.outgoing import to_work
from tidings.ports import Broker, Store

log = logging.getLogger(__name__)


def queue(rows: Sequence[Notification], *, store: Store, broker: Broker, observers: Observers) -> bool:
    """Publish a message for each of these committed rows. False: the broker did not confirm, and the sweep publishes
    them. Raise nothing: the rows are committed, so the caller has succeeded."""
    if not rows:
        return True
    stopwatch = Stopwatch()
    try:
        broker.publish([to_work(row) for row in rows])
    except BrokerUnavailable as error:
        log.error("publish_deferred", extra={"error": str(error), "notifications": len(rows)})
        with suppress(StoreUnavailable):  # only makes the sweep find them some seconds earlier
            store.mark_unqueued(rows)
        return False
    observers.emit(Queued(notifications=rows, elapsed=stopwatch.elapsed()))
    return True

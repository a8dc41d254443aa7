"""Queue what is committed, or leave it to the sweep: shared by the intake and by replays."""

import logging
from collections.abc import Sequence
from contextlib import suppress

from tidings.domain.errors import BrokerUnavailable, StoreUnavailable
from tidings.domain.notification import Notification
from tidings.domain.stopwatch import Stopwatch
from tidings.observability.events import Queued
from tidings.observability.observers import Observers
from tidings.pipeline.settlement import to_work
from tidings.ports import Broker, Store

log = logging.getLogger(__name__)


def queue(rows: Sequence[Notification], *, store: Store, broker: Broker, observers: Observers) -> bool:
    """Publish a message for each of these committed rows. False if the broker did not confirm: the sweep publishes them
    then. Raise nothing: the rows are there, so nothing can fail the caller any more."""
    if not rows:
        return True
    stopwatch = Stopwatch()
    try:
        broker.publish([to_work(row) for row in rows])
    except BrokerUnavailable as error:
        log.error("publish_deferred", extra={"error": str(error), "notifications": len(rows)})
        with suppress(StoreUnavailable):  # the sweep finds them all the same, some seconds later
            store.mark_unqueued(rows)
        return False
    observers.emit(Queued(notifications=rows, elapsed=stopwatch.elapsed()))
    return True

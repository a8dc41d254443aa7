"""Publish notifications that are due now, as one confirmed wave. Intake and replay share it."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tidings.errors import BrokerUnavailable, StoreUnavailable
from tidings.facts import Queued
from tidings.lifecycle import LOG_ONLY, Lifecycle
from tidings.notification import Notification
from tidings.ports import Broker, Store
from tidings.settling import to_work
from tidings.took import Watch

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """The rows are committed, so nothing can fail here: what the broker does not confirm, the sweep publishes."""

    store: Store
    broker: Broker
    lifecycle: Lifecycle = LOG_ONLY

    def publish(self, notifications: Sequence[Notification]) -> int:
        """Return once the broker has confirmed all of them, or has failed: how many are queued."""
        if not notifications:
            return 0
        watch = Watch()
        try:
            self.broker.publish([to_work(notification) for notification in notifications])
        except BrokerUnavailable as error:
            log.error("left_to_the_sweep", extra={"error": str(error), "notifications": len(notifications)})
            with suppress(StoreUnavailable):  # it looks all the same, some seconds later
                self.store.mark_unqueued([notification.id for notification in notifications])
            return 0
        self.lifecycle.tell(Queued(notifications=notifications, took=watch.took()))
        return len(notifications)

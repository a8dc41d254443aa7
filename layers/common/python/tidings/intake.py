"""Accept a batch: store, publish, mark queued."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tidings import failpoints
from tidings.errors import BrokerUnavailable, StoreUnavailable
from tidings.notification import Notification
from tidings.ports import Broker, Inserted, Store
from tidings.settling import to_work

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Intake:
    """202 means: the row is committed. A broker that is down refuses nobody: the sweep publishes what it missed."""

    store: Store
    broker: Broker

    def accept(self, batch: Sequence[Notification]) -> Sequence[Inserted]:
        """In the order of the batch. Raise StoreUnavailable; nothing of it is then promised, and it may be tried again
        as it is, with the same ids."""
        inserted = self.store.insert(batch)
        failpoints.step("intake.after_commit")
        new = [item.notification for item in inserted if item.existing is None]
        if new:
            log.info("accepted", extra={"each": [_said(notification) for notification in new]})
        # The rest is the sweep's to queue, when it is due.
        self._queue([notification for notification in new if notification.is_for_now])
        failpoints.step("intake.before_answer")
        return inserted

    def _queue(self, due: Sequence[Notification]) -> None:
        """From here on nothing can fail the caller: the rows are there."""
        try:
            self.broker.publish([to_work(notification) for notification in due])
        except BrokerUnavailable as error:
            log.error("left_to_the_sweep", extra={"error": str(error), "notifications": len(due)})
            with suppress(StoreUnavailable):  # it looks all the same, some seconds later
                self.store.mark_unqueued([notification.id for notification in due])


def _said(notification: Notification) -> dict[str, object]:
    return {"notification_id": notification.id, "tenant": notification.tenant, "channel": notification.channel}

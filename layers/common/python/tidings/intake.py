"""Accept a batch: store it, and hand what is due to be published."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidings import failpoints
from tidings.facts import Accepted, Canceled
from tidings.lifecycle import LOG_ONLY, Lifecycle
from tidings.notification import Notification, Status
from tidings.ports import Inserted, Store
from tidings.took import Watch


@dataclass(frozen=True, kw_only=True)
class Intake:
    """202 means: the row is committed. A broker that is down refuses nobody: the sweep publishes what it missed."""

    store: Store
    publish: Callable[[Sequence[Notification]], object]  # as BackgroundPublisher's; nothing of it can fail the caller
    lifecycle: Lifecycle = LOG_ONLY

    def accept(self, batch: Sequence[Notification]) -> Sequence[Inserted]:
        """In the order of the batch. Raise StoreUnavailable; nothing of it is then promised, and it may be tried again
        as it is, with the same ids."""
        watch = Watch()
        inserted = self.store.insert(batch)
        took = watch.took()
        failpoints.step("intake.after_commit")
        new = [item.notification for item in inserted if item.existing is None]
        if new:
            self.lifecycle.tell(Accepted(notifications=new, took=took))
        # The rest is the sweep's to queue, when it is due.
        self.publish([notification for notification in new if notification.is_for_now])
        failpoints.step("intake.before_answer")
        return inserted

    def cancel(self, tenant: str, id: str) -> Notification | None:
        """As `Store.cancel`: the row as it then stands, or None if there is none."""
        row = self.store.cancel(tenant, id)
        if row is not None and row.status is Status.CANCELED:
            self.lifecycle.tell(Canceled(notification=row))
        return row

"""Of the overdue rows, which have lost their message, and which still wait in their queue."""

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidings.domain.errors import BrokerUnavailable
from tidings.domain.notification import Notification, Priority, Status
from tidings.domain.timing import OUT_OF_ORDER
from tidings.domain.webhook import is_status_webhook
from tidings.messaging import topology
from tidings.ports import Broker, Store


@dataclass(frozen=True, kw_only=True)
class LostMessages:
    store: Store
    broker: Broker

    def split(
        self, overdue: Sequence[Notification], refused: Container[str]
    ) -> tuple[list[Notification], list[Notification]]:
        """Those without a message, and those whose message may still wait in its queue. `refused`: the channels whose
        provider refuses our account.

        Publishing a second message would not double a notification, but it would double a backlog of a million.
        Raise StoreUnavailable."""
        lost: list[Notification] = []
        waiting: list[Notification] = []
        queued = defaultdict(list)
        paused = self.store.paused() if overdue else {}
        for row in overdue:
            if (at := queued_since(row)) is None:
                lost.append(row)
            elif row.channel in paused or row.channel in refused:
                waiting.append(row)  # its message is deferred again and again, so its age says nothing
            else:
                queued[row.channel, row.priority].append((at, row))
        for (channel, priority), rows in queued.items():
            progress = self._progress(channel, priority, min(at for at, _ in rows))
            for at, row in rows:
                (lost if progress is None or at + OUT_OF_ORDER < progress else waiting).append(row)
        return lost, waiting

    def _progress(self, channel: str, priority: Priority, oldest: datetime) -> datetime | None:
        """A message queued before this time has been delivered, or is lost. None: the queue is empty."""
        try:
            if self.broker.depth(topology.work_queue(channel, priority)) == 0:
                return None
        except BrokerUnavailable:
            return oldest  # not known, and nothing could be published
        return self.store.queue_progress(channel, priority, oldest) or oldest


def queued_since(notification: Notification) -> datetime | None:
    """When its message came to its work queue, which for a retry is when it is due. None: it was never queued."""
    if notification.status is not Status.RETRYING:
        return notification.queued_at
    times = (notification.next_attempt_at, notification.queued_at)
    return max((at for at in times if at is not None), default=None)  # None: it was held, and is released


def was_scheduled(notification: Notification) -> bool:
    """It was stored for later (`send_at`, or a replay with a rate) or by the transaction that it tells of, so the sweep
    is the first to queue it."""
    if is_status_webhook(notification.channel, notification.recipient) and notification.queued_at is None:
        return True
    was_queued = notification.queued_at is not None or notification.status is Status.RETRYING
    return not was_queued and (not notification.is_for_now or notification.generation > 1)

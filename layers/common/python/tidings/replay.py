"""Replay dead letters; sweep what is due or stuck. Both work from the database, which is the truth."""

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from tidings import failpoints, topology
from tidings.envelope import Message, parse
from tidings.errors import LEASE_EXPIRED, AmbiguousError, BrokerUnavailable, StoreUnavailable, Unreadable
from tidings.notification import REPLAYABLE, Notification, Priority, Status
from tidings.ports import Broker, Outgoing, Received, Selection, Store
from tidings.settling import Settling, dead_letter, to_work

log = logging.getLogger(__name__)

PAGE = 500
"""Rows a transaction: enough to be fast, few enough that nobody waits for its locks."""

DRAIN_WAIT = timedelta(seconds=0.5)
"""How long a drain waits for the next letter before it takes the queue for empty."""


OUT_OF_ORDER = timedelta(seconds=10)
"""How far messages of one queue may pass each other: by a slow confirm, or at a trigger that keeps some back."""


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a replay would do."""

    count: int
    may_double: int  # of these, how many ended in an ambiguous answer: the last send may have arrived
    sample: Sequence[Notification]  # the newest, without content


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay did."""

    ids: Sequence[str]  # back to pending, oldest first
    queued: int  # of these, how many messages are confirmed; the sweep publishes the rest when they are due


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Set dead letters back to pending, one generation later. Replaying twice is harmless: the second finds nothing."""

    store: Store
    broker: Broker

    def dry_run(self, selection: Selection, *, sample: int = 10) -> DryRun:
        dead = replace(selection, statuses=_replayable(selection))
        return DryRun(
            count=self.store.count(dead),
            may_double=self.store.count(replace(dead, error_class=AmbiguousError.kind)),
            sample=self.store.find(dead, sample),
        )

    def replay(self, selection: Selection, *, limit: int, rate: int | None = None) -> Replayed:
        """Oldest first, at most `limit`. `rate`: notifications a second; each second's share becomes due in its second,
        so nothing waits here and a crash of this process loses nothing."""
        dead = replace(selection, statuses=_replayable(selection))
        ids: list[str] = []
        channels: set[str] = set()
        queued = second = 0
        while len(ids) < limit:
            page = min(limit - len(ids), PAGE if rate is None else rate)
            revived = self.store.revive(dead, page, timedelta(seconds=second))
            failpoints.step("replay.after_revive")
            ids += [notification.id for notification in revived]
            for notification in revived:
                log.info("replayed", extra={"notification_id": notification.id, "generation": notification.generation})
            if second == 0:
                queued += self._queue(revived)
            if rate is not None:
                second += 1
            channels.update(notification.channel for notification in revived)
            if len(revived) < page:
                break
        for channel in sorted(channels):
            self.drain(channel, at_most=2 * len(ids) + PAGE)
        return Replayed(ids=ids, queued=queued)

    def mark_sent(self, tenant: str, id: str) -> Notification | None:
        """An operator's word that an unknown one was sent. Answer the row as it then stands, or None."""
        row = self.store.resolve(tenant, id)
        if row is not None and row.status is Status.SENT:
            log.info("resolved", extra={"notification_id": id, "tenant": tenant, "outcome": "sent"})
        return row

    def again(self, tenant: str, id: str) -> Notification | None:
        """An operator's word that an unknown one is to be sent again. Answer the row as it then stands, or None: it is
        pending if it was unknown, or waits already."""
        unknown = Selection(tenant=tenant, ids=[id], statuses=[Status.UNKNOWN])
        revived = self.store.revive(unknown, 1, timedelta(0))
        if not revived:
            return self.store.get(tenant, id)
        log.info("resolved", extra={"notification_id": id, "tenant": tenant, "outcome": "replay"})
        self._queue(revived)
        return revived[0]

    def drain(self, channel: str, *, at_most: int) -> int:
        """Drop the letters whose row was replayed or is gone, so that the dead-letter queue's depth tells the truth.

        Looks at the oldest; a letter that still stands is published again before it is acknowledged, so none is lost.
        Answers how many it dropped. Where the broker or the database fails, stale letters stay, which do no harm.
        """
        dropped = looked_at = 0
        try:
            queue = topology.dead_queue(channel)
            at_most = min(at_most, self.broker.depth(queue))
            consumer = self.broker.consume([queue])
            try:
                while looked_at < at_most and (batch := consumer.receive(PAGE, DRAIN_WAIT)):
                    looked_at += len(batch)
                    letters = {item.message_id: item for item in batch}
                    standing = self.store.still_dead([_letter(item, channel) for item in batch])
                    again = [letters[message.message_id] for message in standing]
                    self.broker.publish([_republished(item, channel) for item in again])
                    consumer.acknowledge(batch)
                    dropped += len(batch) - len(again)
            finally:
                consumer.close()
        except (BrokerUnavailable, StoreUnavailable) as error:
            log.warning("drain_stopped", extra={"channel": channel, "error": str(error)})
        return dropped

    def _queue(self, notifications: Sequence[Notification]) -> int:
        try:
            self.broker.publish([to_work(notification) for notification in notifications])
        except BrokerUnavailable as error:
            log.error("broker_unavailable", extra={"error": str(error), "messages": len(notifications)})
            return 0  # the rows are pending: the sweep publishes them
        failpoints.step("replay.after_publish")
        self.store.mark_queued([notification.id for notification in notifications])
        return len(notifications)


def _letter(item: Received, channel: str) -> Message:
    try:
        return parse(item.body, item.headers, channel)
    except Unreadable:
        return Message(id="", channel=channel, generation=0)  # no row has it: dropped


def _republished(item: Received, channel: str) -> Outgoing:
    reason = {name: str(value) for name, value in item.headers.items() if name.startswith("tidings-")}
    return Outgoing(message=_letter(item, channel), to=topology.dead(channel), headers=reason)


def _replayable(selection: Selection) -> Sequence[Status]:
    wanted = REPLAYABLE if selection.statuses is None else REPLAYABLE & set(selection.statuses)
    return sorted(wanted)


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep found and did."""

    published: int = 0  # never queued, due, retry overdue, or its message lost
    waiting: int = 0  # overdue, but their queue has not come to them yet: left alone for a while
    abandoned: int = 0  # their worker's lease ran out
    lettered: int = 0  # failed, and their dead letter was owed
    expired: int = 0

    def __add__(self, other: "Swept") -> "Swept":
        return Swept(**{name: count + other.counts[name] for name, count in self.counts.items()})

    @property
    def counts(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Find every row that should have moved and has not, and move it. Several may run at once."""

    store: Store
    broker: Broker
    settling: Settling
    lease: timedelta = timedelta(seconds=30)  # for the sweep's own settling of what it found abandoned

    def run(self, *, at_most: timedelta = timedelta(seconds=20)) -> Swept:
        """Page by page until nothing is left or the time is up. Raise StoreUnavailable or BrokerUnavailable."""
        deadline = time.monotonic() + at_most.total_seconds()
        total, more = Swept(), True
        while more and time.monotonic() < deadline:
            swept, more = self._page()
            total += swept
        if total != Swept():
            log.info("swept", extra=total.counts)
        return total

    def _page(self) -> tuple[Swept, bool]:
        overdue = self.store.overdue(PAGE, self.lease)
        failpoints.step("sweep.after_take")
        if overdue.abandoned is not None:
            # Its worker died or stalls; whether the provider was asked is not known.
            lost = AmbiguousError(LEASE_EXPIRED, "the worker that had it did not settle it in time")
            settlements = [self.settling.decide(notification, lost) for notification in overdue.abandoned.acquired]
            self.settling.commit(overdue.abandoned, settlements)
        if overdue.unlettered:
            owed = [dead_letter(item, item.error_class, item.error_code) for item in overdue.unlettered]
            self.broker.publish(owed)
            self.store.mark_lettered([notification.id for notification in overdue.unlettered])
        lost_messages = self._lost(overdue.wake)
        self.broker.publish([to_work(notification) for notification in lost_messages])
        failpoints.step("sweep.after_publish")
        self.store.mark_queued([notification.id for notification in overdue.wake])
        return Swept(
            published=len(lost_messages),
            waiting=len(overdue.wake) - len(lost_messages),
            abandoned=len(overdue.abandoned.acquired) if overdue.abandoned is not None else 0,
            lettered=len(overdue.unlettered),
            expired=overdue.expired,
        ), overdue.more

    def _lost(self, wake: Sequence[Notification]) -> list[Notification]:
        """Those whose message is gone, or was never queued; not those whose message may be waiting in its queue.

        Publishing those again would not double a notification, but it would double a backlog of a million.
        """
        lost, waiting = [], defaultdict(list)
        for item in wake:
            if (at := _in_its_queue_since(item)) is None:
                lost.append(item)
            else:
                waiting[item.channel, item.priority].append((at, item))
        for (channel, priority), queued in waiting.items():
            frontier = self._frontier(channel, priority, min(at for at, _ in queued))
            lost += [item for at, item in queued if frontier is None or at + OUT_OF_ORDER < frontier]
        return lost

    def _frontier(self, channel: str, priority: Priority, oldest: datetime) -> datetime | None:
        """What was queued before this has had its turn, if it was still there; None: the queue is empty."""
        if self.broker.depth(topology.work_queue(channel, priority)) == 0:
            return None
        return self.store.frontier(channel, priority, oldest) or oldest


def _in_its_queue_since(notification: Notification) -> datetime | None:
    """None: it was never queued. A retry comes to its queue when it is due."""
    if notification.status is not Status.RETRYING:
        return notification.queued_at
    times = (notification.next_attempt_at, notification.queued_at)
    return max((at for at in times if at is not None), default=notification.updated_at)

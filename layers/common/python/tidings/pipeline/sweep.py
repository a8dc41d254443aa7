"""Sweep what is due or stuck: from the database, which is the truth."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from tidings.config import failpoints
from tidings.domain.connection import Connection, waited_for_account
from tidings.domain.errors import LEASE_EXPIRED, AmbiguousError, BrokerUnavailable
from tidings.domain.notification import Notification, Priority, Status
from tidings.domain.stopwatch import Stopwatch
from tidings.domain.timing import FIRST_LOOK, LONGEST_LOOK, OUT_OF_ORDER, PURGE_FOR, SWEEP_EVERY, SWEEP_FOR
from tidings.messaging import topology
from tidings.observability import events
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline.settlement import Settler, dead_letter, to_work
from tidings.ports import PAGE, Broker, Claims, Outgoing, Store
from tidings.ports.insight import Insight

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep found and did."""

    published: int = 0  # never queued, due, retry overdue, or its message lost
    waiting: int = 0  # overdue, but their queue has not come to them yet: left alone for a while
    abandoned: int = 0  # their worker's lease ran out
    dead_lettered: int = 0  # failed, and their dead letter was owed: published now
    expired: int = 0
    given_up: int = 0  # failed, after a day in which their provider refused our account
    refused: int = 0  # the broker did not take what was to be published: the next sweep but one tries again
    purged: int = 0  # over for longer than they are kept: deleted

    def __add__(self, other: "Swept") -> "Swept":
        return Swept(**{name: count + other.counts[name] for name, count in self.counts.items()})

    @property
    def counts(self) -> dict[str, int]:
        return asdict(self)


SUMMARIZED = 5000
"""Rows, and changes, that are counted in one transaction: some 30 ms, and nobody waits for its locks."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Find every row that should have moved and has not, and move it; delete what is over for long. Several may run at
    once."""

    store: Store
    broker: Broker
    settler: Settler
    observers: Observers = LOG_ONLY
    lease: timedelta = timedelta(seconds=30)  # for the sweep's own settling of what it found abandoned
    insight: Insight | None = None  # None: nobody looks at counts
    keep: timedelta | None = None  # how long what is over is kept; None: for ever
    sleep: Callable[[float], None] = time.sleep

    def run_for(self, duration: timedelta) -> Swept:
        """Run, and again for as long, where the schedule is too slow for those who wait. Raise StoreUnavailable."""
        deadline = time.monotonic() + duration.total_seconds()
        total = self.run()
        while time.monotonic() + SWEEP_EVERY.total_seconds() < deadline:
            self.sleep(SWEEP_EVERY.total_seconds())
            total += self.run()
        return total

    def run(self) -> Swept:
        """Page by page until nothing is left, the broker takes nothing, or the time is up. Raise StoreUnavailable."""
        deadline = time.monotonic() + SWEEP_FOR.total_seconds()
        total, lost, more = Swept(), 0, True
        while more and time.monotonic() < deadline:
            swept, missing, more = self._page()
            total += swept
            lost += missing
            more = more and (not swept.refused or swept.published + swept.dead_lettered > 0)
        if self.insight is not None:
            _summarize(self.insight, deadline)
        if self.keep is not None:
            total += Swept(purged=self._purge(self.keep))
        self.observers.emit(events.Swept(counts=total.counts, lost=lost))
        return total

    def _page(self) -> tuple[Swept, int, bool]:
        """What it found, how many messages of it were missing, and whether there is more."""
        overdue = self.store.overdue(PAGE, self.lease)
        failpoints.step("sweep.after_take")
        if overdue.abandoned is not None:
            self._give_up(overdue.abandoned)
        held_up = {c.channel: c for c in self.store.connections() if not c.is_open} if overdue.wake else {}
        given_up = self._given_up(overdue.wake, held_up, overdue.at)
        gone = {item.id for item in given_up}
        lost, waiting = self._told_apart([item for item in overdue.wake if item.id not in gone], held_up)
        lettered = self._letters([*overdue.dead_letters_owed, *given_up])
        published = self._queued(lost)
        self._leave(waiting, overdue.at)
        swept = Swept(
            published=len(published),
            waiting=len(waiting),
            abandoned=len(overdue.abandoned.acquired) if overdue.abandoned is not None else 0,
            dead_lettered=len(lettered),
            expired=overdue.expired,
            given_up=len(given_up),
            refused=len(overdue.dead_letters_owed) + len(given_up) - len(lettered) + len(lost) - len(published),
        )
        return swept, sum(not _waited_for_its_time(item) for item in published), overdue.more

    def _letters(self, owed: Sequence[Notification]) -> Sequence[Notification]:
        lettered = self._published(owed, _owed)
        self.store.mark_dead_letter_published(lettered)
        return lettered

    def _queued(self, lost: Sequence[Notification]) -> Sequence[Notification]:
        stopwatch = Stopwatch()
        published = self._published(lost, to_work)
        if published:
            self.observers.emit(events.Queued(notifications=published, elapsed=stopwatch.elapsed()))
        failpoints.step("sweep.after_publish")
        self.store.mark_queued(published)
        return published

    def _purge(self, keep: timedelta) -> int:
        """Page by page, and as long as a page took nothing is done: those who send find the database free."""
        deadline = time.monotonic() + PURGE_FOR.total_seconds()
        rows, after = 0, ""
        while (started := time.monotonic()) < deadline:
            suppressions = self.store.purge_suppressions(keep, PAGE)
            purged = self.store.purge(keep, PAGE, after=after)
            rows += purged.rows
            if purged.last is None and suppressions < PAGE:
                break
            after = purged.last or after
            self.sleep(time.monotonic() - started)
        return rows

    def _give_up(self, abandoned: Claims) -> None:
        """Their worker died or stalls; whether the provider was asked is not known."""
        lost = AmbiguousError(LEASE_EXPIRED, "the worker that had it did not settle it in time")
        settlements = [
            self.settler.settlement_for(abandoned, notification, lost) for notification in abandoned.acquired
        ]
        try:
            self.settler.record(settlements)
        except BrokerUnavailable:
            return  # they are settled; what could not be published is found by a later sweep

    def _leave(self, waiting: Sequence[Notification], now: datetime) -> None:
        """The longer they have waited, the longer it takes until the next look: a backlog is looked at a few times, and
        not all the time."""
        if waiting:
            newest = max(_in_its_queue_since(item) or now for item in waiting)
            pause = min(max(now - newest, FIRST_LOOK), LONGEST_LOOK)
            self.store.mark_waiting(waiting, pause)

    def _published(
        self, items: Sequence[Notification], outgoing: Callable[[Notification], Outgoing]
    ) -> list[Notification]:
        """Those that the broker took. Each queue is a wave of its own: one that refuses holds up no other."""
        waves = defaultdict(list)
        for item in items:
            made = outgoing(item)
            waves[made.to].append((item, made))
        taken: list[Notification] = []
        for wave in waves.values():
            try:
                self.broker.publish([made for _, made in wave])
            except BrokerUnavailable as error:
                log.error("broker_unavailable", extra={"error": str(error), "messages": len(wave)})
                continue
            taken += [item for item, _ in wave]
        return taken

    def _given_up(
        self, wake: Sequence[Notification], held_up: Mapping[str, Connection], now: datetime
    ) -> Sequence[Notification]:
        """Those that have waited long enough for a provider that refuses our account: now dead letters."""
        limit = self.settler.wait_for_account
        given_up: list[Notification] = []
        for channel, connection in held_up.items():
            of_it = [item for item in wake if item.channel == channel]
            long = [item for item in of_it if waited_for_account(item, connection, now) >= limit]
            given_up += self.store.give_up(long, connection)
        return given_up

    def _told_apart(
        self, wake: Sequence[Notification], held_up: Mapping[str, Connection]
    ) -> tuple[list[Notification], list[Notification]]:
        """Those whose message is gone or was never queued, and those whose message may be waiting in its queue.

        Publishing these again would not double a notification, but it would double a backlog of a million.
        """
        lost: list[Notification] = []
        waiting: list[Notification] = []
        queued = defaultdict(list)
        paused = self.store.paused() if wake else {}
        for item in wake:
            if (at := _in_its_queue_since(item)) is None:
                lost.append(item)
            elif item.channel in paused or item.channel in held_up:
                waiting.append(item)  # its message is put off again and again: no queue has it for long
            else:
                queued[item.channel, item.priority].append((at, item))
        for (channel, priority), queue in queued.items():
            queue_progress = self._frontier(channel, priority, min(at for at, _ in queue))
            for at, item in queue:
                (lost if queue_progress is None or at + OUT_OF_ORDER < queue_progress else waiting).append(item)
        return lost, waiting

    def _frontier(self, channel: str, priority: Priority, oldest: datetime) -> datetime | None:
        """What was queued before this has had its turn, if it was still there; None: nothing waits in that queue."""
        try:
            if self.broker.depth(topology.work_queue(channel, priority)) == 0:
                return None
        except BrokerUnavailable:
            return oldest  # nobody knows, and nothing could be published
        return self.store.queue_progress(channel, priority, oldest) or oldest


def _summarize(insight: Insight, deadline: float) -> None:
    while insight.summarize(SUMMARIZED) >= SUMMARIZED and time.monotonic() < deadline:
        pass


def _owed(failed: Notification) -> Outgoing:
    return dead_letter(failed, failed.error_class, failed.error_code)


def _waited_for_its_time(notification: Notification) -> bool:
    """Its `send_at`, or its second of a replay with a rate: the sweep is who queues these."""
    was_queued = notification.queued_at is not None or notification.status is Status.RETRYING
    return not was_queued and (not notification.is_for_now or notification.generation > 1)


def _in_its_queue_since(notification: Notification) -> datetime | None:
    """None: it was never queued. A retry comes to its queue when it is due."""
    if notification.status is not Status.RETRYING:
        return notification.queued_at
    times = (notification.next_attempt_at, notification.queued_at)
    return max((at for at in times if at is not None), default=notification.updated_at)

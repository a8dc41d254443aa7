"""Find every row that should have moved and has not, in the database, which is the truth."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from tidings.config import failpoints
from tidings.domain.connection import Connection, waited_for_account
from tidings.domain.errors import LEASE_EXPIRED, AmbiguousError, BrokerUnavailable
from tidings.domain.notification import Notification
from tidings.domain.receipt import By, Receipt
from tidings.domain.stopwatch import Stopwatch
from tidings.domain.timing import FIRST_LOOK, LONGEST_LOOK, SWEEP_EVERY, SWEEP_FOR
from tidings.observability import events
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline.lost_messages import LostMessages, queued_since, was_scheduled
from tidings.pipeline.missing_receipts import MissingReceipts
from tidings.pipeline.outgoing import dead_letter, to_work
from tidings.pipeline.receipts import evidence, name_of
from tidings.pipeline.retention import Retention, by_pages
from tidings.pipeline.settlement import Settler
from tidings.pipeline.suppression import LASTS
from tidings.ports import PAGE, Acceptance, Broker, Claims, Outgoing, Settlement, Store
from tidings.ports.insight import Insight
from tidings.ports.receipts import ReceiptLookup
from tidings.ports.webhooks import Webhooks

log = logging.getLogger(__name__)

SUMMARIZED = 5000
"""Rows, and changes, counted in one transaction: about 30 ms, so that nobody waits for its locks."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep found and did: numbers of notifications."""

    published: int = 0  # never queued, due, retry overdue, or message lost: published
    waiting: int = 0  # overdue, but their message may still wait in its queue: left alone for a while
    abandoned: int = 0  # their lease expired: settled as ambiguous
    dead_lettered: int = 0  # failed, and their dead letter was owed: published
    expired: int = 0
    given_up: int = 0  # failed, after a day in which their provider refused our account
    refused: int = 0  # the broker did not confirm their message: a later sweep tries again
    purged: int = 0  # deleted, because they ended longer ago than they are kept

    def __add__(self, other: "Swept") -> "Swept":
        return Swept(**{name: count + other.counts[name] for name, count in self.counts.items()})

    @property
    def counts(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Move every row that should have moved and has not; delete what ended long ago. Several may run at once."""

    store: Store
    broker: Broker
    settler: Settler
    observers: Observers = LOG_ONLY
    lease: timedelta = timedelta(seconds=30)  # under which the sweep settles abandoned rows
    insight: Insight | None = None  # None: no counts are kept
    lookups: Mapping[str, ReceiptLookup] = field(default_factory=dict)  # the vendors that can be asked, by name
    webhooks: Webhooks | None = None  # None: none are held
    keep: timedelta | None = None  # how long ended notifications are kept; None: for ever
    sleep: Callable[[float], None] = time.sleep

    def run_for(self, duration: timedelta) -> Swept:
        """Run every SWEEP_EVERY for as long, for a scheduler that cannot call more often. Raise StoreUnavailable."""
        deadline = time.monotonic() + duration.total_seconds()
        total = self.run()
        while time.monotonic() + SWEEP_EVERY.total_seconds() < deadline:
            self.sleep(SWEEP_EVERY.total_seconds())
            total += self.run()
        return total

    def run(self) -> Swept:
        """Page by page until nothing is left, the broker confirms nothing, or time is up. Raise StoreUnavailable."""
        deadline = time.monotonic() + SWEEP_FOR.total_seconds()
        if self.webhooks is not None:
            self._release(self.webhooks, deadline)
        total, lost, more = Swept(), 0, True
        while more and time.monotonic() < deadline:
            swept, missing, more = self._page()
            total += swept
            lost += missing
            more = more and (not swept.refused or swept.published + swept.dead_lettered > 0)
        self._retry_receipts(deadline)
        by_pages(lambda: self.store.stop_waiting(PAGE) >= PAGE, self.sleep)
        MissingReceipts(store=self.store, lookups=self.lookups, observers=self.observers).ask()
        if self.insight is not None:
            _summarize(self.insight, deadline)
        self.store.adopt_suppressions(LASTS, PAGE)
        if self.keep is not None:
            total += Swept(purged=Retention(store=self.store, keep=self.keep, sleep=self.sleep).purge())
        self.observers.emit(events.Swept(counts=total.counts, lost=lost))
        return total

    def _release(self, webhooks: Webhooks, deadline: float) -> None:
        """What was held for endpoints that are enabled now; the pages below publish it."""
        while webhooks.release(PAGE) >= PAGE and time.monotonic() < deadline:
            pass

    def _page(self) -> tuple[Swept, int, bool]:
        """What one page found, how many messages were lost, and whether there is another page."""
        overdue = self.store.overdue(PAGE, self.lease)
        failpoints.step("sweep.after_take")
        if overdue.abandoned is not None:
            self._settle_abandoned(overdue.abandoned)
        refused = {c.channel: c for c in self.store.connections() if not c.is_open} if overdue.wake else {}
        given_up = self._give_up(overdue.wake, refused, overdue.at)
        ended = {row.id for row in given_up}
        wake = [row for row in overdue.wake if row.id not in ended]
        lost, waiting = LostMessages(store=self.store, broker=self.broker).split(wake, refused)
        owed = [*overdue.dead_letters_owed, *given_up]
        dead_lettered = self._publish_dead_letters(owed)
        published = self._publish_lost(lost)
        self._leave_waiting(waiting, overdue.at)
        swept = Swept(
            published=len(published),
            waiting=len(waiting),
            abandoned=len(overdue.abandoned.acquired) if overdue.abandoned is not None else 0,
            dead_lettered=len(dead_lettered),
            expired=overdue.expired,
            given_up=len(given_up),
            refused=len(owed) - len(dead_lettered) + len(lost) - len(published),
        )
        return swept, sum(not was_scheduled(row) for row in published), overdue.more

    def _settle_abandoned(self, abandoned: Claims) -> None:
        """Their worker died or stalls. Whether it called the provider is not known, unless a receipt tells."""
        reported = self.store.kept_receipts([row.id for row in abandoned.acquired])
        settlements = [self._settlement(abandoned, row, reported.get(row.id, ())) for row in abandoned.acquired]
        try:
            self.settler.record(settlements)
        except BrokerUnavailable:
            return  # the rows are settled; a later sweep publishes their messages

    def _settlement(self, abandoned: Claims, row: Notification, reported: Sequence[Receipt]) -> Settlement:
        if (receipt := evidence(row, reported)) is None:
            error = AmbiguousError(LEASE_EXPIRED, "the worker that had it did not settle it in time")
            return self.settler.settlement_for(abandoned, row, error, by=By.SWEEP)
        message = receipt.provider_message_id or name_of(receipt)
        outcome = receipt.error or Acceptance(provider_message_id=message, reports=True)
        settlement = self.settler.settlement_for(abandoned, row, outcome, provider=receipt.provider, by=By.RECEIPT)
        return replace(settlement, raw_sha256=receipt.raw_sha256)

    def _retry_receipts(self, deadline: float) -> None:
        """Those that found no notification yet, or whose notification was being sent."""
        by_pages(lambda: self.store.purge_receipts() >= PAGE, self.sleep)
        while done := self.store.retry_receipts(PAGE):
            self.observers.emit(events.ReceiptsRecorded(receipts=done))
            if len(done) < PAGE or time.monotonic() >= deadline:
                return

    def _give_up(
        self, wake: Sequence[Notification], refused: Mapping[str, Connection], now: datetime
    ) -> Sequence[Notification]:
        """Fail those that have waited long enough for a provider that refuses our account."""
        given_up: list[Notification] = []
        for channel, connection in refused.items():
            rows = [row for row in wake if row.channel == channel]
            too_long = [
                row for row in rows if waited_for_account(row, connection, now) >= self.settler.wait_for_account
            ]
            given_up += self.store.give_up(too_long, connection)
        return given_up

    def _publish_dead_letters(self, owed: Sequence[Notification]) -> Sequence[Notification]:
        published = self._publish(owed, lambda row: dead_letter(row, row.error_class, row.error_code))
        self.store.mark_dead_letter_published(published)
        return published

    def _publish_lost(self, lost: Sequence[Notification]) -> Sequence[Notification]:
        stopwatch = Stopwatch()
        published = self._publish(lost, to_work)
        if published:
            self.observers.emit(events.Queued(notifications=published, elapsed=stopwatch.elapsed()))
        failpoints.step("sweep.after_publish")
        self.store.mark_queued(published)
        return published

    def _publish(
        self, rows: Sequence[Notification], outgoing: Callable[[Notification], Outgoing]
    ) -> list[Notification]:
        """Return those whose message is confirmed. Each queue is a wave: one that refuses does not stop the others."""
        waves = defaultdict(list)
        for row in rows:
            message = outgoing(row)
            waves[message.to].append((row, message))
        published: list[Notification] = []
        for wave in waves.values():
            try:
                self.broker.publish([message for _, message in wave])
            except BrokerUnavailable as error:
                log.error("broker_unavailable", extra={"error": str(error), "messages": len(wave)})
                continue
            published += [row for row, _ in wave]
        return published

    def _leave_waiting(self, waiting: Sequence[Notification], now: datetime) -> None:
        """The longer they have waited, the later the next look: a backlog is not read all the time."""
        if waiting:
            newest = max(queued_since(row) or now for row in waiting)
            pause = min(max(now - newest, FIRST_LOOK), LONGEST_LOOK)
            self.store.mark_waiting(waiting, pause)


def _summarize(insight: Insight, deadline: float) -> None:
    while insight.summarize(SUMMARIZED) >= SUMMARIZED and time.monotonic() < deadline:
        pass

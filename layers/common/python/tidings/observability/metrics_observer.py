"""Events as metrics: counters and histograms, a few calls per batch."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidings.domain.errors import AccountError, AmbiguousError, NotCalled, PermanentError, TransientError
from tidings.domain.notification import Notification, Status
from tidings.observability import metrics
from tidings.observability.events import (
    Accepted,
    Answered,
    Canceled,
    Claimed,
    Event,
    MailsReturned,
    Queued,
    ReceiptRefused,
    ReceiptsRecorded,
    Replayed,
    Resolved,
    Settled,
    Swept,
    end_to_end,
    waited,
)
from tidings.observability.metrics import Meter, Metric
from tidings.ports import Claims
from tidings.ports.receipts import Applied

Labels = tuple[str, ...]
Seconds = dict[Labels, list[float]]

CLASSES = ("accepted", *(error.kind for error in (TransientError, PermanentError, AmbiguousError, AccountError)))
STATUSES = (Status.SENT, Status.RETRYING, Status.FAILED, Status.UNKNOWN, Status.EXPIRED, Status.SUPPRESSED)

NO_PROVIDER = "none"
"""The label `provider` of what the sweep settled, which called none."""


@dataclass(frozen=True)
class MetricsObserver:
    """Observer."""

    meter: Meter

    def observe(self, event: Event) -> None:
        match event:
            case Answered(status=status, elapsed=elapsed):
                self.meter.record(metrics.ACCEPT_SECONDS, (str(status),), [elapsed.seconds])
            case Accepted(notifications=rows):
                self._count_by_channel(metrics.ACCEPTED, rows)
            case Queued(notifications=rows):
                self._count_by_channel(metrics.QUEUED, rows)
            case Claimed(claims=claims):
                self._claimed(claims)
            case Settled():
                self._settled(event)
            case Replayed(notifications=rows):
                self._count_by_channel(metrics.REPLAYED, rows)
            case Resolved(notification=row, outcome=outcome):
                self.meter.add(metrics.RESOLVED, (row.channel, outcome), 1)
            case ReceiptsRecorded(receipts=applied):
                self._receipts(applied)
            case ReceiptRefused(provider=provider):
                self.meter.add(metrics.RECEIPTS_REFUSED, (provider,), 1)
            case MailsReturned():
                self._returned(event)
            case Canceled(notification=row):
                self._count_by_channel(metrics.CANCELED, [row])
            case Swept(counts=counts, lost=lost):
                self.meter.add(metrics.SWEEPS, (), 1)
                self._add(metrics.SWEEP_FOUND, {(found,): count for found, count in {**counts, "lost": lost}.items()})

    def flush(self) -> None:
        self.meter.flush()

    def _claimed(self, claims: Claims) -> None:
        waits: Seconds = defaultdict(list)
        for row in claims.acquired:
            if (seconds := waited(row, claims.at)) is not None:
                waits[(row.channel,)].append(seconds)
        self._record(metrics.WAIT_SECONDS, waits)
        # From 0 on, so that the first one shows as an increase: see `_settled`.
        self._add(metrics.LATE, {(row.channel,): 0 for row in claims.acquired})
        self._count(metrics.DUPLICATES, ((message.channel,) for message in claims.stale))

    def _receipts(self, applied: Sequence[Applied]) -> None:
        self._count(
            metrics.RECEIPTS,
            ((item.receipt.provider, item.receipt.kind, item.consequence.result) for item in applied),
        )
        doubled = Counter[Labels]({(item.receipt.provider,): 0 for item in applied})
        doubled.update((item.receipt.provider,) for item in applied if item.consequence.doubled)
        self._add(metrics.DOUBLED, doubled)
        delays: Seconds = defaultdict(list)
        for item in applied:
            if item.consequence.delay is not None:
                delays[item.receipt.provider, item.receipt.kind].append(item.consequence.delay.total_seconds())
        self._record(metrics.RECEIPT_DELAY_SECONDS, delays)

    def _returned(self, event: MailsReturned) -> None:
        for (verdict, _), count in event.counts.items():
            self.meter.add(metrics.RETURNED_MAILS, (verdict,), count)
        if event.elapsed is not None:
            self.meter.record(metrics.RETURNED_MAILS_COMMIT_SECONDS, (), [event.elapsed.seconds])

    def _settled(self, event: Settled) -> None:
        late = {settlement.notification.id for settlement in event.lost}
        series = {(s.notification.channel, s.provider or NO_PROVIDER) for s in event.settlements}
        # Every label from 0 on: Prometheus sees no increase in a series that starts at 1.
        attempts: Counter[Labels] = Counter({(*one, kind): 0 for one in series for kind in CLASSES})
        outcomes: Counter[Labels] = Counter({(*one, status): 0 for one in series for status in STATUSES})
        calls: Seconds = defaultdict(list)
        ends: Seconds = defaultdict(list)
        for settlement in event.settlements:
            channel, provider = settlement.notification.channel, settlement.provider or NO_PROVIDER
            if settlement.elapsed is not None:
                calls[channel, provider].append(settlement.elapsed.seconds)
            # Without a time and with an error: the lease expired, or this worker cannot send.
            was_not_tried = settlement.status is Status.SUPPRESSED or isinstance(settlement.error, NotCalled)
            if settlement.elapsed is not None or (settlement.error is not None and not was_not_tried):
                attempts[channel, provider, settlement.error.kind if settlement.error is not None else "accepted"] += 1
            if settlement.notification.id in late:
                continue
            outcomes[channel, provider, settlement.status] += 1
            if (seconds := end_to_end(settlement)) is not None:
                ends[(channel,)].append(seconds)
        self._add(metrics.ATTEMPTS, attempts)
        self._add(metrics.OUTCOMES, outcomes)
        self._record(metrics.PROVIDER_SECONDS, calls)
        self._record(metrics.END_TO_END_SECONDS, ends)
        self._count(metrics.LATE, ((settlement.notification.channel,) for settlement in event.lost))

    def _count_by_channel(self, metric: Metric, rows: Iterable[Notification]) -> None:
        self._count(metric, ((row.channel,) for row in rows))

    def _count(self, metric: Metric, labels: Iterable[Labels]) -> None:
        self._add(metric, Counter(labels))

    def _add(self, metric: Metric, counts: Mapping[Labels, int]) -> None:
        for labels, count in counts.items():
            self.meter.add(metric, labels, count)

    def _record(self, metric: Metric, seconds: Seconds) -> None:
        for labels, values in seconds.items():
            self.meter.record(metric, labels, values)

"""The gauges of the whole system, read at each scrape: queues, what waits, what needs an operator."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tidings.domain import timing
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import BrokerUnavailable, StoreUnavailable
from tidings.domain.notification import DEAD, Priority, Status
from tidings.messaging import topology
from tidings.observability.metrics import (
    ACCOUNT_REFUSED,
    NOTIFICATIONS,
    OLDEST_SECONDS,
    PAUSED,
    QUEUE_MESSAGES,
    UP,
    WEBHOOK_ENDPOINTS,
    Gauge,
)
from tidings.ports import Broker, Store
from tidings.ports.insight import Backlog, Capped, Insight
from tidings.ports.webhooks import Webhooks

Gauges = Callable[[], Sequence[Gauge]]


@dataclass(frozen=True, kw_only=True)
class SystemGauges:
    """Reads the database and the broker once. A part that does not answer has only `tidings_part_up` 0."""

    store: Store
    insight: Insight
    broker: Broker
    webhooks: Webhooks

    def __call__(self) -> Sequence[Gauge]:
        return [*self._read("database", self._backlog), *self._read("broker", self._queues)]

    def _read(self, part: str, read: Callable[[], Sequence[Gauge]]) -> Sequence[Gauge]:
        try:
            gauges = read()
        except (StoreUnavailable, BrokerUnavailable):
            return [Gauge(metric=UP, labels=(part,), value=0)]
        return [Gauge(metric=UP, labels=(part,), value=1), *gauges]

    def _queues(self) -> Sequence[Gauge]:
        labels = [*_labels()]
        depths = self.broker.depths([queue for queue, *_ in labels])
        return [Gauge(metric=QUEUE_MESSAGES, labels=one, value=depths[one[0]].ready) for one in labels]

    def _backlog(self) -> Sequence[Gauge]:
        backlog = self.insight.backlog()
        oldest = [
            Gauge(metric=OLDEST_SECONDS, labels=(channel,), value=_seconds(backlog, channel)) for channel in CHANNELS
        ]
        waiting = [
            Gauge(metric=NOTIFICATIONS, labels=(channel, status), value=_count(backlog, channel, status))
            for channel in CHANNELS
            for status in sorted(DEAD)
        ]
        stopped = self.store.paused()
        paused = [Gauge(metric=PAUSED, labels=(channel,), value=int(channel in stopped)) for channel in CHANNELS]
        refused = [
            Gauge(metric=ACCOUNT_REFUSED, labels=(one.channel, one.name), value=int(one.is_refusing))
            for one in self.store.connections()
        ]
        endpoints = self.webhooks.count_by_state()
        states = [Gauge(metric=WEBHOOK_ENDPOINTS, labels=(state,), value=count) for state, count in endpoints.items()]
        return [*oldest, *waiting, *paused, *refused, *states]


def _seconds(backlog: Backlog, channel: str) -> float:
    since = backlog.oldest.get(channel)
    return (backlog.at - since).total_seconds() if since is not None else 0.0


def _count(backlog: Backlog, channel: str, status: Status) -> int:
    return backlog.counts.get((channel, status), Capped()).count


def _labels() -> Iterator[tuple[str, str, str]]:
    """Every queue, its kind and its channel: retry queues and parking belong to all channels."""
    for channel in CHANNELS:
        for priority in Priority:
            yield topology.work_queue(channel, priority), "work", channel
        yield topology.dead_queue(channel), "dead", channel
    for step in timing.RETRY_STEPS:
        yield topology.retry_queue(step), "retry", ""
    yield topology.PARKING, "parking", ""

"""What operators look at: what has happened, what waits, and the dead letters by their error."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from tidings.api.api_keys import Scope
from tidings.api.app import AuthenticatedRequest, Response, Route
from tidings.api.lookup import encoded
from tidings.api.operator.responses import (
    CappedView,
    ChannelActivity,
    DeadGroupsView,
    DeadGroupView,
    LatencyView,
    OverviewQuery,
    OverviewView,
    QueueView,
    RefusalView,
    TallyRequest,
    TallyView,
)
from tidings.api.queries import DeadFilter, query_of
from tidings.api.validation_problems import problem_of
from tidings.domain import timing
from tidings.domain.channels import CHANNELS
from tidings.domain.connection import Connection
from tidings.domain.errors import BrokerUnavailable
from tidings.domain.notification import Priority, Status
from tidings.messaging import topology
from tidings.observability.request_ids import in_thread
from tidings.ports import Broker, Clock, Depth, Store
from tidings.ports.insight import ACCEPTED, WAITING, Activity, Insight, Latency

T = TypeVar("T")

SHOWN = (
    ACCEPTED,
    *map(str, (Status.SENT, Status.RETRYING, Status.FAILED, Status.UNKNOWN, Status.EXPIRED, Status.CANCELED)),
)

BROKER_WITHIN = 1.5  # seconds; a broker that does not answer is to keep nobody from seeing the rest

MINUTE = timedelta(minutes=1)

MAX_TALLY = 512 * 1024  # bytes: 10,000 ids


class OverviewRoutes:
    """Handlers. They change nothing."""

    def __init__(
        self, *, insight: Insight, store: Store, broker: Broker, now: Clock, threads: ThreadPoolExecutor
    ) -> None:
        self._insight = insight
        self._store = store
        self._broker = broker
        self._now = now
        self._threads = threads
        self._looking: Future[Mapping[str, Depth]] | None = None

    def all(self) -> Sequence[Route]:
        return (
            Route(method="GET", path="/v1/overview", scope=Scope.OPERATE, handle=self.overview),
            Route(method="GET", path="/v1/dead-letters/groups", scope=Scope.OPERATE, handle=self.groups),
            Route(
                method="POST",
                path="/v1/notifications/tally",
                scope=Scope.OPERATE,
                handle=self.count_by_status,
                max_body=MAX_TALLY,
            ),
        )

    async def overview(self, call: AuthenticatedRequest) -> Response:
        minutes = query_of(OverviewQuery, call.request.query).minutes
        since = self._now() - (minutes + 1) * MINUTE  # the database's clock, which counts, may be behind
        activity, backlog, paused, connections, found = await asyncio.gather(
            self._run(self._insight.activity, call.tenant, since),
            self._run(self._insight.backlog, call.tenant),
            self._run(self._store.paused),
            self._run(self._store.connections),
            self._depths(),
        )
        last = activity.at.replace(second=0, microsecond=0)
        starts = [last - MINUTE * ago for ago in reversed(range(minutes))]
        return encoded(
            OverviewView(
                at=activity.at,
                minutes=starts,
                channels=list(_channels(activity, starts, paused, connections)),
                now={status: CappedView(**asdict(backlog.of(status))) for status in WAITING},
                scheduled=backlog.scheduled,
                oldest_waiting=min(backlog.oldest.values(), default=None),
                oldest_waiting_id=backlog.oldest_id,
                broker="ok" if found is not None else "unavailable",
                queues=list(_queues(found)) if found is not None and _may_see_queues(call) else [],
            )
        )

    async def groups(self, call: AuthenticatedRequest) -> Response:
        query = query_of(DeadFilter, call.request.query)
        found = await self._run(self._insight.dead_groups, query.selection(call.tenant))
        groups = [DeadGroupView(**asdict(group)) for group in found.groups]
        return encoded(DeadGroupsView(groups=groups, looked_at=found.looked_at, more=found.more))

    async def count_by_status(self, call: AuthenticatedRequest) -> Response:
        try:
            wanted = TallyRequest.model_validate_json(call.body)
        except ValidationError as invalid:
            raise problem_of(invalid, title="The ids are not valid") from None
        found = await self._run(self._insight.count_by_status, call.tenant, wanted.ids)
        statuses = {str(name): count for name, count in found.statuses.items()}
        return encoded(TallyView(total=sum(statuses.values()), statuses=statuses, may_have_been_sent=found.doubtful))

    async def _depths(self) -> Mapping[str, Depth] | None:
        """One look at a time, whoever asks, and nobody waits long for it. None: the broker does not answer."""
        if self._looking is None or self._looking.done():
            self._looking = self._threads.submit(self._broker.depths, [queue.name for queue in topology.queues()])
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._looking)), BROKER_WITHIN)
        except (BrokerUnavailable, TimeoutError):
            return None

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await in_thread(self._threads, work, *args)


def _channels(
    activity: Activity, starts: Sequence[datetime], paused: Mapping[str, datetime], connections: Sequence[Connection]
) -> Iterator[ChannelActivity]:
    place = {start: index for index, start in enumerate(starts)}
    counts = {channel: {what: [0] * len(starts) for what in SHOWN} for channel in CHANNELS}
    for item in activity.counts:
        if item.minute in place and item.what in counts.get(item.channel, ()):
            counts[item.channel][item.what][place[item.minute]] += item.count
    latencies: dict[str, list[Latency]] = defaultdict(list)
    for latency in activity.latencies:
        latencies[latency.channel].append(latency)
    for channel in CHANNELS:
        yield ChannelActivity(
            channel=channel,
            paused=channel in paused,
            paused_at=paused.get(channel),
            refusal=_refusal(channel, connections),
            counts=counts[channel],
            latency=_latency(latencies[channel]),
        )


def _refusal(channel: str, connections: Sequence[Connection]) -> RefusalView | None:
    for one in connections:
        if one.channel == channel and one.refusing_at is not None:
            return RefusalView(
                provider=one.name,
                since=one.refusing_at,
                code=one.error_code or "",
                message=one.error_message or "",
                next_probe_at=one.probe_at,
            )
    return None


def _latency(buckets: Sequence[Latency]) -> LatencyView:
    total = sum(bucket.count for bucket in buckets)
    return LatencyView(
        count=total,
        p50=_percentile(buckets, 0.5 * total),
        p95=_percentile(buckets, 0.95 * total),
        p99=_percentile(buckets, 0.99 * total),
    )


def _percentile(buckets: Sequence[Latency], rank: float) -> float | None:
    """Seconds: the bound of the bucket in which the rank lies. None: in none, or beyond the largest bound."""
    below = 0
    for bucket in sorted(buckets, key=lambda bucket: bucket.within or timedelta.max):
        below += bucket.count
        if below >= rank:
            return bucket.within.total_seconds() if bucket.within is not None else None
    return None


def _may_see_queues(call: AuthenticatedRequest) -> bool:
    """A queue's length tells how much other tenants send: it is for those who may stop a channel for all tenants."""
    return call.key is not None and Scope.ADMIN in call.key.scopes


def _queues(depths: Mapping[str, Depth]) -> Iterator[QueueView]:
    def view(name: str, kind: Literal["work", "retry", "dead", "parking"], **more: Any) -> QueueView:
        return QueueView(queue=name, kind=kind, ready=depths[name].ready, consumers=depths[name].consumers, **more)

    for channel in CHANNELS:
        for priority in Priority:
            yield view(topology.work_queue(channel, priority), "work", channel=channel, priority=priority)
    for step in timing.RETRY_STEPS:
        yield view(topology.retry_queue(step), "retry", delay_seconds=step.total_seconds())
    for channel in CHANNELS:
        yield view(topology.dead_queue(channel), "dead", channel=channel)
    yield view(topology.PARKING, "parking")

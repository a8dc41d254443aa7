"""The overview: what has happened, minute by minute, and what waits."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from tidings.api.api_keys import Scope
from tidings.api.endpoint import EXAMPLE_ID, Endpoint, Tag, json_answer
from tidings.api.examples import CREATED
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.operator.responses import (
    CappedView,
    ChannelActivity,
    LatencyView,
    OverviewQuery,
    OverviewView,
    QueueView,
    RefusalView,
)
from tidings.api.queries import query_of
from tidings.api.reads import encoded
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
    *map(str, (Status.SENT, Status.DELIVERED, Status.RETRYING, Status.FAILED, Status.UNDELIVERED, Status.UNKNOWN)),
    *map(str, (Status.EXPIRED, Status.SUPPRESSED, Status.CANCELED)),
)

BROKER_WITHIN = 1.5  # seconds; the overview is answered without the queues if the broker takes longer

MINUTE = timedelta(minutes=1)

_EXAMPLE = {
    "at": "2026-11-22T21:04:10.000000Z",
    "minutes": ["2026-11-22T21:03:00Z", "2026-11-22T21:04:00Z"],
    "channels": [
        {
            "channel": "sms",
            "paused": False,
            "counts": {"accepted": [120, 8], "sent": [118, 9], "retrying": [2, 0], "failed": [1, 0]},
            "latency": {"count": 127, "p50": 0.05, "p95": 0.2, "p99": 1.0},
        }
    ],
    "now": {"pending": {"count": 12, "more": False}, "failed": {"count": 10_000, "more": True}},
    "scheduled": 9,
    "oldest_waiting": CREATED,
    "oldest_waiting_id": EXAMPLE_ID,
    "broker": "ok",
    "queues": [
        {"queue": "tidings.sms", "kind": "work", "channel": "sms", "priority": "normal", "ready": 3, "consumers": 1},
        {"queue": "tidings.retry.5s", "kind": "retry", "delay_seconds": 5.0, "ready": 1, "consumers": 0},
    ],
}

OVERVIEW = Endpoint(
    method="GET",
    path="/v1/overview",
    scope=Scope.OPERATE,
    id="overview",
    tag=Tag.OPERATION,
    summary="What has happened, minute by minute, and what waits",
    query=OverviewQuery,
    answers={200: json_answer("The overview", OverviewView, {"example": _EXAMPLE})},
)


class Overview:
    def __init__(
        self, *, insight: Insight, store: Store, broker: Broker, now: Clock, threads: ThreadPoolExecutor
    ) -> None:
        self._insight = insight
        self._store = store
        self._broker = broker
        self._now = now
        self._threads = threads
        self._looking: Future[Mapping[str, Depth]] | None = None

    async def overview(self, request: AuthenticatedRequest) -> Response:
        minutes = query_of(OverviewQuery, request.query).minutes
        since = self._now() - (minutes + 1) * MINUTE  # one more: the database's clock, which decides, may be behind
        activity, backlog, paused, connections, found = await asyncio.gather(
            self._run(self._insight.activity, request.tenant, since),
            self._run(self._insight.backlog, request.tenant),
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
                queues=list(_queues(found)) if found is not None and _may_see_queues(request) else [],
            )
        )

    async def _depths(self) -> Mapping[str, Depth] | None:
        """Requests at the same time share one call of the broker. None: it does not answer in time."""
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
    """Seconds: the upper bound of the rank's bucket. None if nothing was counted, or above the largest bound."""
    below = 0
    for bucket in sorted(buckets, key=lambda bucket: bucket.within or timedelta.max):
        below += bucket.count
        if below >= rank:
            return bucket.within.total_seconds() if bucket.within is not None else None
    return None


def _may_see_queues(request: AuthenticatedRequest) -> bool:
    """A queue's length shows how much other tenants send, so it takes the scope `admin`."""
    return request.key is not None and Scope.ADMIN in request.key.scopes


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

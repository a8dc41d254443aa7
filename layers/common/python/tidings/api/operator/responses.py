"""Models of the operator API's requests and responses."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, StrictBool, StrictInt, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue

from tidings.api.queries import DeadFilter, DeadStatuses, Id
from tidings.api.requests import Instant
from tidings.api.responses import NotificationView, View
from tidings.domain.notification import REPLAYABLE
from tidings.ports import Selection

# --- requests ---------------------------------------------------------------------------------------------------------


_DEAD: JsonSchemaValue = {"type": "string", "enum": sorted(REPLAYABLE)}
_ONE_OR_SEVERAL: JsonSchemaValue = {"anyOf": [_DEAD, {"type": "array", "items": _DEAD}]}


class ReplayRequest(DeadFilter):
    """Dead letters to replay."""

    status: Annotated[DeadStatuses, WithJsonSchema(_ONE_OR_SEVERAL)] | None = Field(
        None, description="failed, undelivered, suppressed, or unknown, which may double; failed if not given"
    )
    dry_run: Annotated[StrictBool, Field(description="only count, with a sample")] = False
    limit: Annotated[StrictInt, Field(ge=1, le=10_000, description="at most this many, oldest first")] = 1000
    rate: Annotated[
        StrictInt | None, Field(ge=1, le=10_000, description="notifications per second; unlimited if not given")
    ] = None
    expires_at: Annotated[
        Instant | None,
        Field(
            description="the new expiry of notifications that have expired; without it they are left out. In the"
            " future, at most 366 days ahead"
        ),
    ] = None

    def selection(self, tenant: str) -> Selection:
        named = sorted(set(self.status)) if self.status else None
        return replace(super().selection(tenant), statuses=named)


class ResolveRequest(BaseModel):
    """An operator's decision on an unknown notification."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outcome: Annotated[
        Literal["sent", "replay"], Field(description="sent: it had arrived; replay: send it again, it may double")
    ]
    expires_at: Annotated[
        Instant | None,
        Field(description="of a replay: the new expiry, if it has expired. In the future, at most 366 days ahead"),
    ] = None


class TallyRequest(BaseModel):
    """Notifications to count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ids: Annotated[tuple[Id, ...], FailFast(), Field(max_length=10_000)]


class OverviewQuery(BaseModel):
    """The minutes to look back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    minutes: int = Field(60, ge=5, le=1440)


# --- responses --------------------------------------------------------------------------------------------------------


class MeView(View):
    """The key's tenant and scopes."""

    tenant: str
    scopes: list[str]


class LatencyView(View):
    """Seconds from due (created, or `send_at`) to sent: upper bounds of buckets. A percentile is missing if none was
    sent, or if it is above the largest bound, 2 hours."""

    count: int
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class RefusalView(View):
    """A provider refuses our account for every recipient. One notification at a time is sent, as a probe."""

    provider: str
    since: datetime
    code: str
    message: str
    next_probe_at: datetime | None = None


class ChannelActivity(View):
    """A channel's counts, one for each minute."""

    channel: str
    paused: bool
    paused_at: datetime | None = None
    refusal: RefusalView | None = None
    counts: dict[str, list[int]] = Field(
        description="by accepted, sent, delivered, retrying, failed, undelivered, unknown, expired, suppressed,"
        " canceled"
    )
    latency: LatencyView


class CappedView(View):
    """`more`: there are more than `count`."""

    count: int
    more: bool


class QueueView(View):
    """A queue of the broker."""

    queue: str
    kind: Literal["work", "retry", "dead", "parking"]
    channel: str | None = None
    priority: str | None = None
    delay_seconds: float | None = Field(None, description="of a retry step")
    ready: int = Field(description="messages that wait in it")
    consumers: int | None = Field(None, description="missing if the broker does not report it")


class OverviewView(View):
    """What has happened, and what waits."""

    at: datetime
    minutes: list[datetime] = Field(description="starts of minutes, oldest first; the last is under way")
    channels: list[ChannelActivity]
    now: dict[str, CappedView] = Field(description="by status: pending, sending, retrying, failed, unknown")
    scheduled: int = Field(description="of `now.pending`, how many are for later")
    oldest_waiting: datetime | None = Field(None, description="since when the oldest that is due waits")
    oldest_waiting_id: str | None = None
    broker: Literal["ok", "unavailable"]
    queues: list[QueueView] = Field(
        description="They hold all tenants' messages, so a key without the scope `admin` gets none."
    )


class DeadGroupView(View):
    """Dead letters with the same error."""

    status: str
    channel: str
    error_class: str | None = None
    code: str | None = None
    message: str | None = Field(None, description="of the example")
    count: int
    newest: datetime = Field(description="when the last of them ended")
    oldest: datetime
    example: str = Field(description="the id of the newest")


class DeadGroupsView(View):
    """Largest first. If `more`, there are older dead letters than the `looked_at` newest."""

    groups: list[DeadGroupView]
    looked_at: int
    more: bool


class TallyView(View):
    """How many there are of each status."""

    total: int
    statuses: dict[str, int]
    may_have_been_sent: int = Field(
        description="of those that are neither sent nor unknown, as far as is known: how many may have been sent"
    )


class ChannelView(View):
    """A channel, paused or not."""

    channel: str
    paused: bool
    paused_at: datetime | None = None


class DryRunView(View):
    """What a replay would do."""

    dry_run: Literal[True] = True
    count: int
    may_double: int = Field(description="how many of those that would be replayed may have been sent before")
    expired: int = Field(description="left out, because they have expired and no new expires_at was given")
    unknown: int = Field(description="left out, because the status unknown was not asked for")
    sample: list[NotificationView] = Field(description="the first that would be replayed")
    newest: str | None = Field(None, description="the id of the last that would be replayed")


class ReplayedView(View):
    """What a replay did."""

    dry_run: Literal[False] = False
    count: int
    queued: int = Field(description="of these, how many are queued; the sweep queues the others when they are due")
    expired: int = Field(description="left out, because they have expired and no new expires_at was given")
    unknown: int = Field(description="left out, because the status unknown was not asked for")
    ids: list[str]


class SweptView(View):
    """What a sweep found and did."""

    published: int = Field(description="lost or due messages that were published")
    waiting: int = Field(description="whose message is still in its queue")
    abandoned: int = Field(description="whose worker was lost")
    lettered: int = Field(description="owed dead letters that were published")
    expired: int = Field(description="past their expires_at")
    given_up: int = Field(description="failed, because the provider has refused our account for too long")
    refused: int = Field(description="messages that the broker did not confirm; the next sweep tries again")
    purged: int = Field(description="deleted by the retention")

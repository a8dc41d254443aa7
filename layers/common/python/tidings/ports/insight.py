"""Read models for operators and metrics: counts over time, what waits, dead letters by reason. They decide nothing.

Every read costs about the same with a million rows as with a thousand: counts stop at a bound, or were kept when the
change happened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from tidings.domain.notification import Status
from tidings.ports import Selection

ACCEPTED = "accepted"
"""The key of new rows in the counts; changes of state have their status."""

LATENCIES = (
    *(timedelta(milliseconds=bound) for bound in (10, 25, 50, 100, 250, 500)),
    *(timedelta(seconds=bound) for bound in (1, 2.5, 5, 10, 30)),
    *(timedelta(minutes=bound) for bound in (1, 5, 30, 120)),
)
"""Upper bounds of the buckets of the times from due to sent."""

WAITING = (Status.PENDING, Status.SENDING, Status.RETRYING, Status.FAILED, Status.UNKNOWN)
"""What waits to be sent, or for an operator."""

COUNTED_UP_TO = 10_000
"""Rows per tenant and status. Counting stops here: nobody acts on more digits."""

KEPT_FOR = timedelta(days=2)
"""How long the counts by the minute are kept."""


@dataclass(frozen=True, slots=True)
class Capped:
    """A number of rows; if `more`, there are more than that."""

    count: int = 0
    more: bool = False

    def __add__(self, other: "Capped") -> "Capped":
        return Capped(self.count + other.count, self.more or other.more)


@dataclass(frozen=True, slots=True)
class Counted:
    """On a channel, in a minute: rows accepted, or changes to this status."""

    channel: str
    minute: datetime  # its start
    what: str  # ACCEPTED or a Status
    count: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Notifications of a channel sent within this bound and not within the one before; None: later than the last bound.
    From due (created, or `send_at`) to sent, without replays."""

    channel: str
    within: timedelta | None
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """What happened since a minute."""

    at: datetime  # the database's time
    counts: Sequence[Counted]
    latencies: Sequence[Latency]


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """What waits to be sent or needs an operator, of one tenant or of all: the oldest COUNTED_UP_TO per tenant and
    status."""

    at: datetime  # the database's time
    counts: Mapping[tuple[str, Status], Capped]  # by channel and status, of WAITING
    scheduled: int  # of the pending ones counted, how many are not due yet
    oldest: Mapping[str, datetime]  # by channel: since when the longest waiting is due; none waits: no entry
    oldest_id: str | None = None  # of the longest waiting of one tenant; None: none waits, or of all tenants

    def of(self, status: Status) -> Capped:
        """Of all channels."""
        return sum((count for (_, its), count in self.counts.items() if its == status), start=Capped())


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadGroup:
    """Dead letters with the same status, channel and error."""

    status: Status
    channel: str
    error_class: str | None
    code: str | None
    message: str | None  # of the example
    count: int
    newest: datetime  # when the last one ended
    oldest: datetime
    example: str  # the id of the last one created


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadGroups:
    """Over the newest COUNTED_UP_TO of each status, the largest first; if `more`, there are older ones."""

    groups: Sequence[DeadGroup]
    looked_at: int
    more: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How many of some notifications have which status."""

    statuses: Mapping[Status, int]
    doubtful: int  # of those neither accepted nor unknown, how many may have been sent


class Insight(Protocol):
    """The read models, and the counting that keeps them cheap. Raises StoreUnavailable."""

    def summarize(self, limit: int) -> int:
        """Count by the minute what has happened since the last time: at most `limit` rows and `limit` changes. Return
        how many were counted; fewer than `limit`: up to date. Each is counted once, even by several processes; only
        a change whose COMMIT took longer than some seconds may be missed, or one just after this process began."""

    def activity(self, tenant: str, since: datetime) -> Activity:
        """By the minute, from the start of the minute of `since` on, with what is not summarized yet."""

    def backlog(self, tenant: str | None = None) -> Backlog:
        """None: of all tenants."""

    def dead_groups(self, selection: Selection) -> DeadGroups:
        """Narrowed by the selection's statuses, channel, error and times."""

    def count_by_status(self, tenant: str, ids: Sequence[str]) -> Tally: ...

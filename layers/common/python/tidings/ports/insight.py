"""What operators look at: counts over time, what waits, what is dead and why. It decides nothing.

Every answer costs about the same with a million rows as with a thousand: what could grow is counted up to a bound, or
was counted before, when it happened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from tidings.domain.notification import Status
from tidings.ports import Selection

ACCEPTED = "accepted"
"""The word under which new rows are counted; changes of state are counted under their status."""

LATENCIES = (
    *(timedelta(milliseconds=bound) for bound in (10, 25, 50, 100, 250, 500)),
    *(timedelta(seconds=bound) for bound in (1, 2.5, 5, 10, 30)),
    *(timedelta(minutes=bound) for bound in (1, 5, 30, 120)),
)
"""Upper bounds of the buckets in which the times from due to sent are counted."""

COUNTED_UP_TO = 10_000
"""What waits or is dead is counted up to here: nobody acts on more digits."""

KEPT_FOR = timedelta(days=2)
"""How long the counts by the minute are kept."""


@dataclass(frozen=True, slots=True)
class Capped:
    """A number of rows; if `more`, there are more than that."""

    count: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """What happened on a channel in a minute: so many rows accepted, or changes to this status."""

    channel: str
    minute: datetime  # its start
    what: str  # ACCEPTED or a Status
    count: int


@dataclass(frozen=True, slots=True)
class Latency:
    """So many of a channel's notifications were sent within this bound and not within the one before; None: later than
    the last. From due (created, or `send_at`) to sent; what an operator replayed does not count."""

    channel: str
    within: timedelta | None
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """What happened since some minute."""

    at: datetime  # the database's time
    counts: Sequence[Counted]
    latencies: Sequence[Latency]


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """What has not come to its end, or to a bad one, now."""

    counts: Mapping[Status, Capped]
    scheduled: int  # of the pending ones that were counted, how many are for later
    oldest: datetime | None  # since when the oldest that is due waits
    oldest_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadGroup:
    """Dead letters that failed alike."""

    status: Status
    channel: str
    error_class: str | None
    code: str | None
    message: str | None  # of the example
    count: int
    newest: datetime  # when the last of them ended
    oldest: datetime
    example: str  # the id of the newest made


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadGroups:
    """Over the newest COUNTED_UP_TO of each status, the largest first; if `more`, there are older ones."""

    groups: Sequence[DeadGroup]
    looked_at: int
    more: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How many of some notifications are where."""

    statuses: Mapping[Status, int]
    doubtful: int  # of those neither accepted nor unknown: how many may have been sent


class Insight(Protocol):
    """Reads of the database for people, and the counting that keeps them cheap. Raises StoreUnavailable."""

    def summarize(self, limit: int) -> int:
        """Count what has happened since the last time, up to so many rows and as many changes, by the minute. Answer
        how many were counted; fewer than `limit`: it is up to date. Each is counted once, also where several
        processes do this, but for a change whose COMMIT took longer than some seconds."""

    def activity(self, tenant: str, since: datetime) -> Activity:
        """By the minute, from the whole minute of `since` on; also what is not summarized yet."""

    def waiting(self, tenant: str) -> Waiting: ...

    def dead_groups(self, selection: Selection) -> DeadGroups:
        """The selection's statuses, channel, error and times narrow."""

    def count_by_status(self, tenant: str, ids: Sequence[str]) -> Tally: ...

"""The ledger: for each day, tenant and channel, what was accepted is the sum of the states and of what was deleted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from tidings.domain.notification import Status
from tidings.ports.books import Books, Cause, Day


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerLine:
    """A day and channel. Every status has its number of rows, 0 if there is none."""

    day: date
    channel: str
    statuses: Mapping[Status, int]
    deleted: int | None  # by the retention; None: not known how many
    causes: Sequence[Cause]

    @property
    def accepted(self) -> int:
        """Without what was deleted, if its number is not known."""
        return sum(self.statuses.values()) + (self.deleted or 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerPage:
    """The lines, newest day first."""

    at: datetime  # the database's time
    kept_since: datetime | None  # the retention may have deleted what was created before; None: it deletes nothing
    lines: Sequence[LedgerLine]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    books: Books
    keep: timedelta | None  # the retention; None: nothing is deleted

    def days(self, tenant: str, last: date, count: int) -> LedgerPage:
        """The last day, and those before it, `count` in all. Each is one snapshot, newest first. A day without rows has
        no line. Raise StoreUnavailable."""
        days = [self.books.day(tenant, last - timedelta(days=ago)) for ago in range(count)]
        kept_since = days[0].at - self.keep if self.keep is not None else None
        return LedgerPage(
            at=days[0].at,
            kept_since=kept_since,
            lines=[line for day in days for line in _lines(day, kept_since)],
        )


def _lines(day: Day, kept_since: datetime | None) -> Sequence[LedgerLine]:
    return [
        LedgerLine(
            day=day.day,
            channel=channel,
            statuses={**dict.fromkeys(Status, 0), **day.statuses.get(channel, {})},
            deleted=_deleted(day, channel, kept_since),
            causes=[cause for cause in day.causes if cause.channel == channel],
        )
        for channel in sorted({*day.statuses, *(day.counted or ())})
    ]


def _deleted(day: Day, channel: str, kept_since: datetime | None) -> int | None:
    """The retention deletes what ended before `kept_since`, so nothing that was created after it."""
    if kept_since is None or datetime.combine(day.day, time.min, UTC) >= kept_since:
        return 0
    if day.counted is None:
        return None
    return max(0, day.counted.get(channel, 0) - sum(day.statuses.get(channel, {}).values()))

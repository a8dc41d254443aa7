"""The books: what the rows of a day add up to, and rows with their timelines for the audit. They decide nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from tidings.domain.notification import Notification, Status, TimelineEntry

LONGEST_TIMELINES = 20_000
"""Entries that one page of the audit reads at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """Why attempts were ambiguous, of the notifications of a day and channel."""

    channel: str
    provider: str | None  # None: nobody knows whether one was called, because the worker was lost
    code: str | None
    attempts: int
    may_have_been_sent: int  # notifications with such an attempt that are not known to be sent


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """The notifications of one tenant that were created on a day (UTC)."""

    day: date
    at: datetime  # the database's time
    statuses: Mapping[str, Mapping[Status, int]]  # number of rows, by channel and status
    counted: Mapping[str, int] | None  # accepted by channel, as counted at that time; None: no longer known
    causes: Sequence[Cause]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """What was accepted in a minute on a channel: as counted at that time, and the rows that there are now."""

    minute: datetime  # its start
    channel: str
    counted: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Audited:
    """A row, without its content, and its timeline at the same moment."""

    row: Notification
    wake_at: datetime | None
    token: str | None
    timeline: Sequence[TimelineEntry]  # oldest first
    tokens: Sequence[str | None]  # of each entry, the claim that it ended; None: of none


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditedRows:
    """A page of rows, oldest first."""

    at: datetime  # the database's time
    rows: Sequence[Audited]
    too_long: int  # rows left out because their timeline alone is longer than LONGEST_TIMELINES
    next: str | None  # the last id of this page; None: there are no more


class Books(Protocol):
    """Reads for the ledger and the audit. The number of statements of a call is constant. Raises StoreUnavailable."""

    def day(self, tenant: str, day: date) -> Day:
        """In one snapshot, so that every row counts once."""

    def rows(
        self, tenant: str, since: datetime | None, until: datetime | None, *, after: str | None, limit: int
    ) -> AuditedRows:
        """Created in this time, after this id. Fewer than `limit` if their timelines are long."""

    def accepted(self, tenant: str, since: datetime, until: datetime | None) -> Sequence[Accepted]:
        """By the minute, of what is counted by now. Both times are whole minutes."""

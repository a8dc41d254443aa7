"""The audit: what must hold for each row and its timeline, whatever has happened. One rule, one function."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from tidings.domain.notification import CLAIMABLE, Status, TimelineEntry
from tidings.domain.timing import OVERDUE_AFTER
from tidings.ports.books import Accepted, Audited, Books
from tidings.ports.insight import KEPT_FOR

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What does not fit. `id`: None, if rows are missing."""

    id: str | None
    rule: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditPage:
    """The result for a page of rows, oldest first."""

    at: datetime  # the database's time
    checked: int
    skipped: int  # not judged: of a newer release, or with a timeline that is too long
    findings: Sequence[Finding]
    next: str | None  # `after` of the next page; None: this is the last


@dataclass(frozen=True, kw_only=True)
class Audit:
    books: Books
    keep: timedelta | None  # the retention; None: nothing is deleted

    def page(
        self, tenant: str, since: datetime | None, until: datetime | None, *, after: str | None, limit: int
    ) -> AuditPage:
        """Rows created in this time, after this id. The first page also compares what was counted with the rows. Raise
        StoreUnavailable."""
        found = self.books.rows(tenant, since, until, after=after, limit=limit)
        judged = [audited for audited in found.rows if _is_known(audited)]
        findings = [finding for audited in judged for finding in findings_in(audited, found.at)]
        if after is None:
            findings = [*self._missing(tenant, since, until, found.at), *findings]
        return AuditPage(
            at=found.at,
            checked=len(judged),
            skipped=found.too_long + len(found.rows) - len(judged),
            findings=findings,
            next=found.next,
        )

    def _missing(self, tenant: str, since: datetime | None, until: datetime | None, now: datetime) -> Iterator[Finding]:
        """As far back as the counts are kept and the retention has deleted nothing."""
        if since is not None and since > now:
            return
        kept = now - (KEPT_FOR if self.keep is None else min(self.keep, KEPT_FOR))
        begin = _minute(max(kept, since) if since is not None else kept) + 2 * MINUTE  # the limits move on meanwhile
        end = _minute(until) if until is not None else None
        if end is None or begin < end:
            yield from missing_rows(self.books.accepted(tenant, begin, end))


def findings_in(audited: Audited, now: datetime) -> Iterator[Finding]:
    """`now`: the database's time when it was read."""
    for rule, broken in RULES.items():
        detail = broken(audited, now)
        if detail is not None:
            yield Finding(id=audited.row.id, rule=rule, detail=detail)


def missing_rows(accepted: Sequence[Accepted]) -> Iterator[Finding]:
    """More rows than were counted are no finding: a row that is committed late, or by an intake whose clock is behind,
    is in no count."""
    short = [item for item in accepted if item.rows < item.counted]
    key = lambda item: (item.minute.date(), item.channel)  # noqa: E731
    for (day, channel), group in groupby(sorted(short, key=key), key=key):
        minutes = list(group)
        missing = sum(item.counted - item.rows for item in minutes)
        detail = f"{day} {channel}: {missing} rows are missing, the first of {minutes[0].minute:%H:%M}"
        yield Finding(id=None, rule=MISSING_ROWS, detail=detail)


def _is_known(audited: Audited) -> bool:
    """A newer release, running beside this one, may write statuses that this one cannot judge."""
    return {audited.row.status, *(entry.status for entry in audited.timeline)} <= set(Status)


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


# --- rules: each returns what is wrong, or None -----------------------------------------------------------------------


def _status(audited: Audited, _now: datetime) -> str | None:
    """A claim has no entry until its attempt has ended."""
    status = audited.row.status
    last = audited.timeline[-1].status if audited.timeline else Status.PENDING
    fits = last in CLAIMABLE if status is Status.SENDING else status is last
    return None if fits else f"its status is {status}, and its timeline ends with {last}"


def _generations(audited: Audited, _now: datetime) -> str | None:
    entries = [entry.generation for entry in audited.timeline if not entry.is_report]  # which may come late
    # A report that came while the row was pending has the status `pending` as well, and is no replay.
    pending = (entry for entry in audited.timeline if entry.status is Status.PENDING and not entry.is_report)
    replays = [entry.generation for entry in pending]
    if replays != list(range(2, audited.row.generation + 1)):
        return f"its generation is {audited.row.generation}, and its timeline has the replays {replays}"
    if any(later < earlier for earlier, later in pairwise([1, *entries, audited.row.generation])):
        return "an entry of an older generation follows one of a newer generation"
    return None


def _attempts(audited: Audited, _now: datetime) -> str | None:
    row = audited.row
    for generation in range(1, row.generation + 1):
        ended = [entry.attempt for entry in _attempts_of(audited) if entry.generation == generation]
        expected = len(ended)
        if generation == row.generation:
            expected = row.attempt - (row.status is Status.SENDING)  # the one under way has no entry yet
        if ended != list(range(1, expected + 1)):
            return f"generation {generation} has {expected} ended attempts, and its timeline has {ended[:20]}"
    return None


def _settled_twice(audited: Audited, _now: datetime) -> str | None:
    twice = [token for token, count in Counter(token for _, token in _ended(audited)).items() if count > 1]
    return f"{len(twice)} of its claims ended more than once" if twice else None


def _acceptance(audited: Audited, _now: datetime) -> str | None:
    """The provider of an operator's word is `operator`."""
    if audited.row.status is not Status.SENT:
        return None
    said = (entry for entry in audited.timeline if entry.status is Status.SENT)
    accepted = any(entry.provider is not None and entry.error_class is None for entry in said)
    return None if accepted else "it is sent, and no provider and no operator has said so"


def _error(audited: Audited, _now: datetime) -> str | None:
    row = audited.row
    if row.status is not Status.FAILED or (row.error_class is not None and row.error_code is not None):
        return None
    return "it is failed, and has no error"


def _lease(audited: Audited, _now: datetime) -> str | None:
    row = audited.row
    if row.status is not Status.SENDING:
        return (
            None if row.lease_until is None else f"it is {row.status}, and has a lease until {_shown(row.lease_until)}"
        )
    return "it is sending without a lease" if row.lease_until is None or audited.token is None else None


def _never_woken(audited: Audited, _now: datetime) -> str | None:
    if audited.wake_at is not None or audited.row.status not in {*CLAIMABLE, Status.SENDING}:
        return None
    return f"it is {audited.row.status}, and no sweep will find it"


def _overdue(audited: Audited, now: datetime) -> str | None:
    if audited.wake_at is None or now - audited.wake_at <= OVERDUE_AFTER:
        return None
    return f"it is {audited.row.status}, and should have moved at {_shown(audited.wake_at)}"


def _shown(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _attempts_of(audited: Audited) -> Iterator[TimelineEntry]:
    return (entry for entry, _ in _ended(audited))


def _ended(audited: Audited) -> Iterator[tuple[TimelineEntry, str]]:
    """The entries that ended a claim, with its token. The token of a report is of another kind."""
    pairs = zip(audited.timeline, audited.tokens, strict=True)
    return ((entry, token) for entry, token in pairs if token is not None and not entry.is_report)


MISSING_ROWS = "missing_rows"

RULES: Mapping[str, Callable[[Audited, datetime], str | None]] = {
    "status": _status,
    "generations": _generations,
    "attempts": _attempts,
    "settled_twice": _settled_twice,
    "acceptance": _acceptance,
    "error": _error,
    "lease": _lease,
    "never_woken": _never_woken,
    "overdue": _overdue,
}
"""By name, as the API, the command and docs/ledger.md have it."""

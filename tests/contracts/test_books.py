"""The ledger balances, and the audit names what does not fit."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, update
from tidings.adapters.sql import audit as audit_sql
from tidings.adapters.sql.books import SqlBooks
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.insight import SqlInsight
from tidings.adapters.sql.schema import events, notifications
from tidings.adapters.sql.store import SqlStore
from tidings.domain.connection import Connection as ProviderConnection
from tidings.domain.errors import AmbiguousError, DeliveryError, PermanentError, TransientError
from tidings.domain.notification import OPERATOR, Notification, Status
from tidings.domain.timing import OVERDUE_AFTER
from tidings.pipeline.audit import MISSING_ROWS, RULES, Audit, Finding
from tidings.pipeline.ledger import Ledger, LedgerLine
from tidings.ports import Selection, Settlement

from tests import make
from tests.clock import TestClock

LEASE = timedelta(seconds=60)
NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
NO_ANSWER, NO_USER = AmbiguousError("timeout", "no answer"), PermanentError("550", "no such user")
n, e = notifications.c, events.c


@pytest.fixture
def clock() -> TestClock:
    clock = TestClock()
    clock.now = NOON
    return clock


@pytest.fixture
def books(database: DatabaseSettings, clock: TestClock) -> Iterator[SqlBooks]:
    opened = Database(database, clock=clock)
    yield SqlBooks(opened)
    opened.close()


def added(store: SqlStore, at: datetime, count: int = 1, **changes: object) -> list[Notification]:
    rows = [make.notification(at, **changes) for _ in range(count)]
    store.insert(rows)
    return rows


def settled(
    store: SqlStore, rows: Sequence[Notification], status: Status = Status.SENT, error: DeliveryError | None = None
) -> None:
    """Their next attempt ends so."""
    generation = {row.id: found.generation for row in rows if (found := store.get(row.tenant, row.id)) is not None}
    messages = [make.message(row, generation=generation[row.id]) for row in rows]
    claims = store.claim(messages, LEASE)
    assert len(claims.acquired) == len(rows)
    delay = timedelta(0) if status is Status.RETRYING else None
    ends = [
        Settlement(
            claims=claims,
            notification=row,
            status=status,
            provider="smtp",
            provider_message_id="m-1" if error is None else None,
            error=error,
            delay=delay,
        )
        for row in claims.acquired
    ]
    assert not store.settle(ends)


def in_every_state(store: SqlStore, clock: TestClock, **changes: object) -> dict[str, int]:
    """Rows of each state that a notification can have by now, by more than one way; and how many of each."""
    add: Callable[[int], list[Notification]] = lambda count: added(store, clock(), count, **changes)  # noqa: E731
    settled(store, add(3))
    settled(store, add(2), Status.FAILED, NO_USER)
    settled(store, unknown := add(2), Status.UNKNOWN, NO_ANSWER)
    settled(store, again := add(2), Status.RETRYING, NO_ANSWER)
    settled(store, again[:1])
    store.resolve(unknown[0].tenant, unknown[0].id)
    settled(store, add(1), Status.EXPIRED)
    pending, canceled = add(2), add(1)
    store.cancel(canceled[0].tenant, canceled[0].id)
    store.claim([make.message(pending[0])], LEASE)
    settled(store, replayed := add(2), Status.FAILED, NO_USER)
    store.reset_for_replay(Selection(tenant=replayed[0].tenant, ids=[row.id for row in replayed]), 10, timedelta(0))
    settled(store, replayed[:1], Status.RETRYING, TransientError("451", "later"))
    return {
        "sent": 5,
        "failed": 2,
        "unknown": 1,
        "retrying": 2,
        "expired": 1,
        "canceled": 1,
        "sending": 1,
        "pending": 2,
    }


def lines(
    books: SqlBooks, tenant: str = "acme", *, keep: timedelta | None = None, days: int = 1
) -> Sequence[LedgerLine]:
    return Ledger(books=books, keep=keep).days(tenant, NOON.date(), days).lines


def counts(line: LedgerLine) -> dict[str, int]:
    return {str(status): count for status, count in line.statuses.items() if count}


def audited(
    books: SqlBooks,
    tenant: str = "acme",
    *,
    limit: int = 500,
    since: datetime | None = None,
    until: datetime | None = None,
    keep: timedelta | None = None,
) -> list[Finding]:
    """Of all pages."""
    audit, after, found = Audit(books=books, keep=keep), None, list[Finding]()
    while True:
        page = audit.page(tenant, since, until, after=after, limit=limit)
        found += page.findings
        if page.next is None:
            return found
        after = page.next


def change(store: SqlStore, statement: Any) -> None:
    """Behind the back of the Store, as a fault would."""
    with store.database.engine.begin() as connection:
        assert connection.execute(statement).rowcount == 1


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_every_accepted_notification_counts_once_in_one_state(
    store: SqlStore, books: SqlBooks, clock: TestClock
) -> None:
    expected = in_every_state(store, clock)
    assert in_every_state(store, clock, channel="sms") == expected
    added(store, clock(), 4, channel="push")
    added(store, clock(), 7, tenant="globex")
    found = {line.channel: line for line in lines(books)}
    assert {channel: counts(line) for channel, line in found.items()} == {
        "email": expected,
        "sms": expected,
        "push": {"pending": 4},
    }
    assert all(line.accepted == sum(counts(line).values()) and line.deleted == 0 for line in found.values())
    assert set(found["push"].statuses) == set(Status)
    (other,) = lines(books, "globex")
    assert (other.channel, other.accepted, counts(other)) == ("email", 7, {"pending": 7})


def test_a_day_ends_at_midnight_in_utc(store: SqlStore, books: SqlBooks) -> None:
    midnight = NOON.replace(hour=0)
    added(store, midnight - timedelta(milliseconds=1))
    added(store, midnight, 2)
    added(store, midnight + timedelta(days=1) - timedelta(milliseconds=1), 3)
    added(store, midnight + timedelta(days=1), 4)
    found = [(line.day, line.accepted) for line in lines(books, days=2)]
    assert found == [(midnight.date(), 5), ((midnight - timedelta(days=1)).date(), 1)]


def test_ambiguous_attempts_are_counted_by_provider_and_cause(
    store: SqlStore, books: SqlBooks, clock: TestClock
) -> None:
    rows = added(store, clock(), 3)
    settled(store, rows, Status.RETRYING, NO_ANSWER)
    settled(store, rows[:2], Status.RETRYING, NO_ANSWER)
    settled(store, rows[:1])
    store.cancel("acme", rows[1].id)
    settled(store, added(store, clock()), Status.UNKNOWN, AmbiguousError("reset", "lost"))
    settled(store, added(store, clock(), tenant="globex"), Status.UNKNOWN, NO_ANSWER)
    settled(store, added(store, clock() - timedelta(days=1)), Status.UNKNOWN, NO_ANSWER)
    (line,) = lines(books)
    found = [(cause.provider, cause.code, cause.attempts, cause.may_have_been_sent) for cause in line.causes]
    assert found == [("smtp", "reset", 1, 1), ("smtp", "timeout", 5, 2)]


def test_what_the_retention_deleted_is_told_apart(
    database: DatabaseSettings, store: SqlStore, books: SqlBooks, clock: TestClock
) -> None:
    settled(store, added(store, clock(), 3))
    settled(store, added(store, clock(), 2, channel="sms"))
    stays = added(store, clock(), 1)
    clock.advance(seconds=30)
    insight = SqlInsight(Database(database, clock=clock))
    insight.summarize(1000)
    clock.advance(hours=25)
    keep = timedelta(days=1)
    assert store.purge(keep, 100).rows == 5
    found = {line.channel: (line.accepted, counts(line), line.deleted) for line in lines(books, keep=keep)}
    assert found == {"email": (4, {"pending": 1}, 3), "sms": (2, {}, 2)}
    assert MISSING_ROWS not in {finding.rule for finding in audited(books, keep=keep)}
    clock.advance(days=2)  # the counts are no longer kept
    settled(store, stays)
    insight.summarize(1000)
    found = {line.channel: (line.accepted, counts(line), line.deleted) for line in lines(books, keep=keep)}
    assert found == {"email": (1, {"sent": 1}, None)}
    assert {line.deleted for line in lines(books)} == {0}
    insight.database.close()


# --- the audit finds nothing where nothing is wrong -------------------------------------------------------------------


def test_nothing_is_found_in_any_state_that_the_code_makes(store: SqlStore, books: SqlBooks, clock: TestClock) -> None:
    in_every_state(store, clock)
    given_up = added(store, clock(), channel="sms")
    refusing = ProviderConnection(
        name="twilio", channel="sms", refusing_at=clock(), error_code="20003", error_message="Authenticate"
    )
    assert store.give_up(given_up, refusing)
    added(store, clock(), send_at=clock() + timedelta(days=1))
    assert audited(books) == []
    clock.advance(minutes=2)
    store.overdue(100, LEASE)
    store.overdue(100, LEASE)
    assert audited(books) == []


# --- the audit names what was broken ----------------------------------------------------------------------------------


def _sent(store: SqlStore, clock: TestClock) -> str:
    (row,) = added(store, clock())
    settled(store, [row], Status.RETRYING, TransientError("451", "later"))
    settled(store, [row])
    return row.id


def _row(**values: object) -> Callable[[str], Any]:
    return lambda id: update(notifications).where(n.id == id).values(**values)


def _entry(attempt: int, /, **values: object) -> Callable[[str], Any]:
    return lambda id: update(events).where(e.notification_id == id, e.attempt == attempt).values(**values)


BROKEN: dict[str, tuple[Callable[[str], Any], ...]] = {
    "status": (_row(status="canceled"), _row(status="pending", wake_at=NOON), _entry(2, status="expired")),
    "generations": (_row(generation=2, attempt=0), _entry(1, generation=2)),
    "attempts": (
        _row(attempt=3),
        _row(attempt=1),
        _entry(1, attempt=2),
        lambda id: delete(events).where(e.notification_id == id, e.attempt == 1),
    ),
    "acceptance": (_entry(2, provider=None), _entry(2, error_class="transient")),
    "lease": (_row(lease_until=NOON), _row(status="sending", wake_at=NOON)),
    "never_woken": (_row(status="retrying", wake_at=None),),
    "overdue": (_row(wake_at=NOON - OVERDUE_AFTER - timedelta(seconds=1)),),
}


@pytest.mark.parametrize(
    ("rule", "broken"), [(rule, broken) for rule, all_broken in BROKEN.items() for broken in all_broken]
)
def test_a_row_that_breaks_a_rule_is_named_with_the_rule(
    store: SqlStore, books: SqlBooks, clock: TestClock, rule: str, broken: Callable[[str], Any]
) -> None:
    id, others = _sent(store, clock), [_sent(store, clock) for _ in range(2)]
    assert audited(books) == []
    change(store, broken(id))
    found = audited(books)
    assert (id, rule) in {(finding.id, finding.rule) for finding in found}
    assert not {finding.id for finding in found} & set(others)
    assert audited(books, "globex") == []


def test_a_claim_that_was_settled_twice_is_named(store: SqlStore, books: SqlBooks, clock: TestClock) -> None:
    id = _sent(store, clock)
    change(store, _entry(1, token="t" * 32)(id))
    assert audited(books) == []
    change(store, _entry(2, token="t" * 32)(id))
    assert [(finding.id, finding.rule) for finding in audited(books)] == [(id, "settled_twice")]


def test_a_failed_row_without_an_error_is_named(store: SqlStore, books: SqlBooks, clock: TestClock) -> None:
    (row,) = added(store, clock())
    settled(store, [row], Status.FAILED, NO_USER)
    change(store, _row(error_class=None)(row.id))
    assert [(finding.id, finding.rule) for finding in audited(books)] == [(row.id, "error")]


def test_an_operators_word_is_an_acceptance(store: SqlStore, books: SqlBooks, clock: TestClock) -> None:
    (row,) = added(store, clock())
    settled(store, [row], Status.UNKNOWN, NO_ANSWER)
    store.resolve("acme", row.id)
    assert audited(books) == []
    change(store, update(events).where(e.notification_id == row.id, e.provider == OPERATOR).values(provider=None))
    assert [(finding.id, finding.rule) for finding in audited(books)] == [(row.id, "acceptance")]


def test_rows_that_were_accepted_and_are_missing_are_found(
    database: DatabaseSettings, store: SqlStore, books: SqlBooks, clock: TestClock
) -> None:
    for minute in range(5):
        rows = added(store, NOON + timedelta(minutes=minute), 3)
    clock.advance(minutes=10)
    insight = SqlInsight(Database(database, clock=clock))
    insight.summarize(1000)
    insight.database.close()
    assert audited(books) == []
    for row in rows[:2]:
        change(store, delete(notifications).where(n.id == row.id))
    missing = Finding(id=None, rule=MISSING_ROWS, detail="2026-05-20 email: 2 rows are missing, the first of 12:04")
    assert audited(books) == [missing]
    assert audited(books, since=NOON - timedelta(hours=1), until=NOON + timedelta(hours=1)) == [missing]
    assert audited(books, since=clock()) == []
    assert audited(books, "globex") == []
    # One that was committed too late to be counted is no loss.
    added(store, NOON + timedelta(minutes=1), 2)
    assert audited(books) == [missing]


def test_each_rule_has_been_broken() -> None:
    assert {*BROKEN, "settled_twice", "error"} == set(RULES)


def test_a_status_of_a_newer_release_is_not_judged(store: SqlStore, books: SqlBooks, clock: TestClock) -> None:
    id = _sent(store, clock)
    change(store, _row(status="rerouted", lease_until=NOON)(id))
    page = Audit(books=books, keep=None).page("acme", None, None, after=None, limit=10)
    assert (page.checked, page.skipped, page.findings) == (0, 1, [])
    (line,) = lines(books)
    assert (line.accepted, counts(line)) == (1, {"rerouted": 1})


# --- pages ------------------------------------------------------------------------------------------------------------


def test_every_row_is_judged_once_over_all_pages(store: SqlStore, books: SqlBooks, clock: TestClock) -> None:
    rows = added(store, clock(), 2500)
    broken = {rows[at].id for at in (0, 499, 500, 1700, 2499)}
    for id in broken:
        change(store, _row(wake_at=None)(id))
    audit, after, checked, pages, found = Audit(books=books, keep=None), None, 0, 0, list[str | None]()
    while True:
        page = audit.page("acme", None, None, after=after, limit=500)
        checked, pages = checked + page.checked, pages + 1
        found += [finding.id for finding in page.findings]
        if (after := page.next) is None:
            break
    assert (checked, pages) == (2500, 5)
    assert sorted(map(str, found)) == sorted(broken)


def test_a_time_narrows_the_audit(store: SqlStore, books: SqlBooks, clock: TestClock) -> None:
    ids = [added(store, NOON + timedelta(minutes=minute))[0].id for minute in range(3)]
    for id in ids:
        change(store, _row(wake_at=None)(id))
    found = audited(books, since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=2))
    assert [finding.id for finding in found] == [ids[1]]


def test_long_timelines_make_shorter_pages(
    store: SqlStore, books: SqlBooks, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = added(store, clock(), 4)
    for _ in range(3):
        settled(store, rows, Status.RETRYING, TransientError("451", "later"))
    settled(store, rows[:1], Status.RETRYING, TransientError("451", "later"))
    ids = sorted(row.id for row in rows)
    monkeypatch.setattr(audit_sql, "LONGEST_TIMELINES", 3)
    seen, after, too_long = list[str](), None, 0
    while True:
        page = books.rows("acme", None, None, after=after, limit=10)
        seen, too_long = seen + [audited.row.id for audited in page.rows], too_long + page.too_long
        assert all(len(audited.timeline) == 3 for audited in page.rows)
        if (after := page.next) is None:
            break
    assert (seen, too_long) == ([id for id in ids if id != rows[0].id], 1)


def test_a_page_and_a_day_take_the_same_number_of_statements_whatever_there_is(
    store: SqlStore, books: SqlBooks, clock: TestClock
) -> None:
    statements: list[str] = []
    event.listen(
        books.database.engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement)
    )

    def taken(look: Callable[[], object]) -> int:
        before = len(statements)
        look()
        return len(statements) - before

    def page() -> object:
        return Audit(books=books, keep=None).page("acme", None, None, after=None, limit=500)

    in_every_state(store, clock)
    few = taken(page), taken(lambda: lines(books))
    assert few[0] <= 8
    assert few[1] <= 19
    for channel in ("email", "sms", "push"):
        for _ in range(3):
            in_every_state(store, clock, channel=channel)
    assert (taken(page), taken(lambda: lines(books))) == few


def test_the_page_explains_every_rule() -> None:
    page = (Path(__file__).parents[2] / "docs/ledger.md").read_text(encoding="utf-8")
    findings = page.partition("## Findings")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", findings, re.MULTILINE)) == sorted([*RULES, MISSING_ROWS])

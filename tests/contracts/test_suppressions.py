"""The list of suppressed recipients, and what a claim finds in it: alike on every database."""

import string
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, insert, select
from tidings.adapters.sql.schema import suppressions as of_older_releases
from tidings.adapters.sql.store import SqlStore
from tidings.domain.notification import Notification
from tidings.domain.timing import HARD_BOUNCE_LASTS
from tidings.pipeline.suppression import LASTS, Reason, suppression
from tidings.ports import SuppressedBy, Suppression, SuppressionEntry, SuppressionSelection

from tests import make
from tests.clock import TestClock

LEASE = timedelta(seconds=60)
ADA = "ada@example.com"


def added(store: SqlStore, recipient: str = ADA, reason: str = "manual", **more: object) -> None:
    tenant, channel = str(more.pop("tenant", "acme")), str(more.pop("channel", "email"))
    entry = replace(suppression(recipient, reason, source="operator"), **more)  # type: ignore[arg-type]
    store.add_suppressions(tenant, channel, [entry])


def reasons(store: SqlStore, row: Notification) -> dict[str, str]:
    """What a claim finds of this row, in words."""
    store.insert([row])
    claims = store.claim([make.message(row)], LEASE)
    assert [one.id for one in claims.acquired] == [row.id]
    return {recipient: str(by) for recipient, by in claims.suppressed.get(row.id, {}).items()}


def listed(store: SqlStore, **chosen: object) -> Sequence[SuppressionEntry]:
    return store.find_suppressions(SuppressionSelection(tenant="acme", **chosen), 100)  # type: ignore[arg-type]


# --- what a claim finds -----------------------------------------------------------------------------------------------


def test_a_claim_finds_a_suppressed_recipient_and_no_other(store: SqlStore, clock: TestClock) -> None:
    added(store)
    assert reasons(store, make.notification(clock(), recipient=ADA)) == {ADA: "manual"}
    assert reasons(store, make.notification(clock(), recipient="bob@example.com")) == {}


def test_the_case_of_an_address_makes_no_difference(store: SqlStore, clock: TestClock) -> None:
    added(store, "Ada@Example.com")
    assert reasons(store, make.notification(clock(), recipient="aDa@example.com")) == {"aDa@example.com": "manual"}


def test_the_case_of_a_token_makes_a_difference(store: SqlStore, clock: TestClock) -> None:
    added(store, "token:aB", channel="push")
    content = '{"title":"Shipped"}'
    other = make.notification(clock(), channel="push", recipient="token:ab", content=content)
    same = make.notification(clock(), channel="push", recipient="token:aB", content=content)
    assert (reasons(store, other), reasons(store, same)) == ({}, {"token:aB": "manual"})


@pytest.mark.parametrize("content_is_bytes", [False, True])
def test_a_claim_finds_suppressed_copies(store: SqlStore, clock: TestClock, content_is_bytes: bool) -> None:
    added(store, "cc@example.com")
    added(store, "bcc@example.com", reason="opted_out")
    content = '{"subject":"S","text":"T","cc":["Cc@example.com","x@example.com"],"bcc":["bcc@example.com"]}'
    row = make.notification(clock(), content=content.encode() if content_is_bytes else content)
    assert reasons(store, row) == {"Cc@example.com": "manual", "bcc@example.com": "opted_out"}


def test_tenants_channels_and_scopes_are_apart(store: SqlStore, clock: TestClock) -> None:
    added(store, tenant="globex")
    added(store, channel="sms")
    added(store, scope="newsletter")
    assert reasons(store, make.notification(clock(), recipient=ADA)) == {}
    assert reasons(store, make.notification(clock(), recipient=ADA, tenant="globex")) == {ADA: "manual"}
    assert [entry.channel for entry in listed(store, recipients=[ADA])] == ["email", "sms"]
    assert [entry.scope for entry in listed(store, recipients=[ADA], scope="newsletter")] == ["newsletter"]


def test_a_claim_finds_an_opt_out_of_the_rows_own_category_only(store: SqlStore, clock: TestClock) -> None:
    """Also of a copy, and in a batch of several categories; an entry for everything goes before it."""
    added(store, scope="news", reason="opted_out")
    added(store, "cc@example.com", scope="news", reason="opted_out")
    added(store, "cc@example.com", reason="complaint")
    content = '{"subject":"S","text":"T","cc":["Cc@example.com"]}'
    rows = [
        make.notification(clock(), recipient=ADA, content=content, category=one) for one in ("news", "orders", None)
    ]
    store.insert(rows)
    found = store.claim([make.message(row) for row in rows], LEASE).suppressed
    of_copy = {"Cc@example.com": SuppressedBy("complaint")}
    assert [found[row.id] for row in rows] == [{ADA: SuppressedBy("opted_out", "news"), **of_copy}, of_copy, of_copy]
    store.remove_suppression("acme", "email", ADA, "news", "key-1")
    assert reasons(store, make.notification(clock(), recipient=ADA, category="news")) == {}


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_lasts_as_long_as_it_says_on_the_databases_clock(
    store: SqlStore, clock: TestClock, reason: Reason
) -> None:
    added(store, reason=reason)
    clock.advance(seconds=HARD_BOUNCE_LASTS.total_seconds() - 1)
    assert reasons(store, make.notification(clock(), recipient=ADA)) == {ADA: reason}
    clock.advance(seconds=2)
    is_over = reason in {Reason.HARD_BOUNCE, Reason.MAILBOX_UNKNOWN}
    assert reasons(store, make.notification(clock(), recipient=ADA)) == ({} if is_over else {ADA: reason})
    assert [entry.in_force for entry in listed(store)] == [not is_over]


def test_a_hundred_claims_cost_as_many_statements_as_one(store: SqlStore, clock: TestClock) -> None:
    statements: list[str] = []
    event.listen(store.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    counts = []
    for size, looks_up in ((1, True), (100, True), (100, False)):
        rows = [make.notification(clock()) for _ in range(size)]
        store.insert(rows)
        store.add_suppressions("acme", "email", [suppression(row.recipient, "manual") for row in rows])
        statements.clear()
        claims = store.claim([make.message(row) for row in rows], LEASE, suppressed=looks_up)
        counts.append(len(statements))
        assert len(claims.suppressed) == (size if looks_up else 0)
    assert counts[0] == counts[1] == counts[2] + 1


def test_a_claim_of_more_recipients_than_a_statement_takes_finds_them_all(
    store: SqlStore, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.adapters.sql.suppressions.LOOKED_UP", 3)
    rows = [make.notification(clock(), recipient=f"{letter}@example.com") for letter in string.ascii_lowercase]
    store.insert(rows)
    store.add_suppressions("acme", "email", [suppression(row.recipient, "manual") for row in rows])
    assert len(store.claim([make.message(row) for row in rows], LEASE).suppressed) == len(rows)


# --- two of the same recipient ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_entries_the_one_that_lasts_longer_stands(store: SqlStore, clock: TestClock, order: int) -> None:
    for reason in (Reason.HARD_BOUNCE, Reason.OPTED_OUT)[::order]:
        added(store, reason=reason)
        clock.advance(seconds=1)
    assert [(entry.reason, entry.expires_at) for entry in listed(store)] == [("opted_out", None)]


def test_a_later_bounce_lengthens_an_earlier_one(store: SqlStore, clock: TestClock) -> None:
    added(store, reason="hard_bounce")
    clock.advance(days=10)
    added(store, reason="mailbox_unknown")
    assert [(entry.reason, entry.expires_at) for entry in listed(store)] == [
        ("mailbox_unknown", clock() + HARD_BOUNCE_LASTS)
    ]


def test_what_suppresses_is_suppressed_twice_in_one_batch_without_harm(store: SqlStore) -> None:
    store.add_suppressions("acme", "email", [suppression(one, "manual") for one in (ADA, ADA.upper())])
    assert [entry.recipient for entry in listed(store)] == [ADA]


# --- operators --------------------------------------------------------------------------------------------------------


def test_a_removed_entry_suppresses_no_more_and_says_who_removed_it(store: SqlStore, clock: TestClock) -> None:
    added(store, note="asked by phone")
    assert store.remove_suppression("acme", "email", "Ada@example.com", "", "key-1")
    assert reasons(store, make.notification(clock(), recipient=ADA)) == {}
    (entry,) = listed(store)
    assert (entry.removed_by, entry.removed_at, entry.in_force, entry.note) == (
        "key-1",
        clock(),
        False,
        "asked by phone",
    )
    assert not store.remove_suppression("acme", "email", ADA, "", "key-2"), "the second removal finds nothing in force"
    assert listed(store)[0].removed_by == "key-1"


def test_new_evidence_suppresses_a_removed_recipient_again(store: SqlStore, clock: TestClock) -> None:
    added(store)
    store.remove_suppression("acme", "email", ADA, "", "key-1")
    clock.advance(seconds=1)
    added(store, reason="hard_bounce")
    (entry,) = listed(store)
    assert (entry.reason, entry.removed_at, entry.removed_by, entry.in_force) == ("hard_bounce", None, None, True)


def test_a_tenant_removes_and_sees_only_its_own(store: SqlStore) -> None:
    added(store, tenant="globex")
    assert not store.remove_suppression("acme", "email", ADA, "", "key-1")
    assert listed(store) == []


def test_the_list_is_filtered_and_paged(store: SqlStore, clock: TestClock) -> None:
    for number in range(5):
        added(store, f"{number}@example.com", reason="hard_bounce" if number % 2 else "manual")
    clock.advance(days=100)
    assert [entry.recipient[0] for entry in listed(store)] == ["4", "3", "2", "1", "0"]
    assert [entry.recipient[0] for entry in listed(store, in_force=True)] == ["4", "2", "0"]
    assert [entry.recipient[0] for entry in listed(store, in_force=False, reason="hard_bounce")] == ["3", "1"]
    assert [entry.recipient[0] for entry in listed(store, before=listed(store)[2].seq)] == ["1", "0"]
    assert listed(store, source="import") == []


# --- beside older releases --------------------------------------------------------------------------------------------


def test_what_an_older_release_records_is_taken_over(store: SqlStore, clock: TestClock) -> None:
    at = clock() - timedelta(days=80)
    given = [("Gone@example.com", "mailbox_unknown"), ("out@example.com", "opted_out"), (ADA, "opted_out")]
    added(store)
    with store.database.engine.begin() as connection:
        rows = [
            {"tenant": "acme", "channel": "email", "recipient": recipient, "reason": reason, "at": at}
            for recipient, reason in given
        ]
        connection.execute(insert(of_older_releases), [{**row, "notification_id": "n-1"} for row in rows])
    taken = [store.adopt_suppressions(LASTS, 2) for _ in range(3)]
    assert taken == [2, 1, 0]
    with store.database.engine.connect() as connection:
        assert connection.execute(select(of_older_releases)).all() == []
    assert {entry.recipient: (entry.reason, entry.expires_at) for entry in listed(store)} == {
        "gone@example.com": ("mailbox_unknown", at + HARD_BOUNCE_LASTS),
        "out@example.com": ("opted_out", None),
        ADA: ("manual", None),
    }


def test_what_lasts_is_kept_by_the_retention(store: SqlStore, clock: TestClock) -> None:
    added(store)
    store.add_suppressions("acme", "email", [Suppression(recipient="b@example.com", reason="hard_bounce", lasts=LEASE)])
    clock.advance(days=400)
    assert store.purge_suppressions(timedelta(days=30), 10) == 1
    assert [entry.recipient for entry in listed(store)] == [ADA]

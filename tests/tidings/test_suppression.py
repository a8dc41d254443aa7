"""Suppression, enforced: a recipient that takes no more is not sent to, and the timeline says why."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from tidings.domain.channels import EmailContent
from tidings.domain.errors import AmbiguousError, PermanentError, TransientError
from tidings.domain.notification import Notification, OnAmbiguous, Status, TimelineEntry
from tidings.domain.timing import HARD_BOUNCE_LASTS
from tidings.pipeline.delivery import Delivery
from tidings.pipeline.replay import Replay
from tidings.pipeline.suppression import Enforcement, Reason, suppression
from tidings.pipeline.sweep import Sweep
from tidings.ports import Acceptance, Selection, SuppressionSelection

from tests.tidings.conftest import Parts
from tests.tidings.test_delivery import added, incoming, waiting

ADA = "ada@example.com"
COPIED = '{"subject":"S","text":"T","cc":["Gone@example.com","bob@example.com"],"bcc":["out@example.com"]}'


def suppressed(parts: Parts, recipient: str = ADA, reason: str = "opted_out", tenant: str = "acme") -> None:
    parts.store.add_suppressions(tenant, "email", [suppression(recipient, reason)])


def opted_out(parts: Parts, recipient: str, category: str = "news") -> None:
    parts.store.add_suppressions("acme", "email", [suppression(recipient, "opted_out", scope=category)])


def last(parts: Parts, row: Notification) -> TimelineEntry:
    return parts.store.events(row.id)[-1]


@contextmanager
def delivering(parts: Parts, enforcement: Enforcement) -> Iterator[Delivery]:
    delivery = replace(parts.delivery, suppression=enforcement)
    yield delivery
    delivery.close()


# --- not sent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", list(Reason))
def test_a_suppressed_recipient_is_not_sent_to(parts: Parts, reason: Reason) -> None:
    """The provider is not called, no attempt counts, and there is no dead letter."""
    suppressed(parts, reason=reason)
    row, other = added(parts, recipient=ADA), added(parts)
    parts.delivery.deliver(incoming(row, other))
    assert [call.id for call in parts.provider.calls] == [other.id]
    after, entry = parts.row(row), last(parts, row)
    assert (after.status, after.error_class, after.error_code) == (Status.SUPPRESSED, "permanent", reason)
    assert (entry.status, entry.error_code) == (Status.SUPPRESSED, reason)
    assert (after.uncounted_attempts, after.refused_at) == (1, None)
    assert waiting(parts, "tidings.email.dead") == []


def test_the_case_of_an_address_makes_no_difference(parts: Parts) -> None:
    suppressed(parts, "Ada@Example.com")
    row = added(parts, recipient="aDA@example.com")
    parts.delivery.deliver(incoming(row))
    assert parts.row(row).status is Status.SUPPRESSED


def test_two_tenants_are_apart(parts: Parts) -> None:
    suppressed(parts)
    mine, theirs = added(parts, recipient=ADA), added(parts, recipient=ADA, tenant="globex")
    parts.delivery.deliver(incoming(mine, theirs))
    assert (parts.row(mine).status, parts.row(theirs).status) == (Status.SUPPRESSED, Status.SENT)


def test_a_scheduled_notification_is_decided_when_it_is_due(parts: Parts) -> None:
    at = parts.clock() + timedelta(hours=1)
    row = added(parts, recipient=ADA, send_at=at, next_attempt_at=at)
    freed = added(parts, recipient="bob@example.com", send_at=at, next_attempt_at=at)
    suppressed(parts, "bob@example.com")
    suppressed(parts)
    parts.store.remove_suppression("acme", "email", "bob@example.com", "", "a key")
    parts.delivery.deliver(incoming(row, freed))
    assert parts.row(row).status is Status.PENDING
    parts.clock.advance(hours=2)
    parts.delivery.deliver(incoming(row, freed))
    assert (parts.row(row).status, parts.row(freed).status) == (Status.SUPPRESSED, Status.SENT)


def test_a_retry_is_decided_anew(parts: Parts) -> None:
    row = added(parts, recipient=ADA)
    parts.provider.script[ADA] = [TransientError("450", "busy")]
    parts.delivery.deliver(incoming(row))
    suppressed(parts)
    parts.clock.advance(minutes=5)
    parts.delivery.deliver(incoming(row))
    assert (parts.row(row).status, len(parts.provider.calls)) == (Status.SUPPRESSED, 1)


def test_an_earlier_acceptance_wins_over_a_suppression(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `reconcile`: what the provider accepted was sent, whatever was recorded since."""
    row = added(parts, recipient=ADA, on_ambiguous=OnAmbiguous.RECONCILE)
    parts.provider.script[ADA] = [AmbiguousError("timeout", "no answer")]
    parts.delivery.deliver(incoming(row))
    suppressed(parts)
    earlier = Acceptance(provider_message_id="m-1")
    monkeypatch.setattr("tidings.pipeline.reconciliation.earlier_acceptance", lambda *_: earlier)
    parts.clock.advance(minutes=5)
    parts.delivery.deliver(incoming(row))
    assert parts.row(row).status is Status.SENT


# --- no more ----------------------------------------------------------------------------------------------------------


def test_an_expired_entry_does_not_suppress(parts: Parts) -> None:
    suppressed(parts, reason="hard_bounce")
    parts.clock.advance(seconds=HARD_BOUNCE_LASTS.total_seconds() + 1)
    row = added(parts, recipient=ADA)
    parts.delivery.deliver(incoming(row))
    assert parts.row(row).status is Status.SENT


def test_once_the_entry_is_removed_a_replay_sends(parts: Parts) -> None:
    suppressed(parts)
    row = added(parts, recipient=ADA)
    parts.delivery.deliver(incoming(row))
    replay = Replay(store=parts.store, broker=parts.broker)
    chosen = Selection(tenant="acme", ids=[row.id], statuses=[Status.SUPPRESSED])
    assert replay.replay(replace(chosen, statuses=None), limit=10).ids == [], "by its status only"
    assert replay.replay(chosen, limit=10).ids == [row.id]
    parts.delivery.deliver(incoming(parts.row(row)))
    assert parts.row(row).status is Status.SUPPRESSED, "the entry is still there"
    parts.store.remove_suppression("acme", "email", ADA, "", "a key")
    replay.replay(chosen, limit=10)
    parts.delivery.deliver(incoming(parts.row(row)))
    assert parts.row(row).status is Status.SENT


def test_the_retention_deletes_suppressed_notifications(parts: Parts) -> None:
    suppressed(parts)
    row = added(parts, recipient=ADA)
    parts.delivery.deliver(incoming(row))
    parts.clock.advance(days=31)
    assert parts.store.purge(timedelta(days=30), 10).rows == 1


# --- copies -----------------------------------------------------------------------------------------------------------


def test_suppressed_copies_are_left_out_and_named_in_the_timeline(parts: Parts) -> None:
    suppressed(parts, "gone@example.com", "mailbox_unknown")
    suppressed(parts, "out@example.com")
    row = added(parts, content=COPIED)
    parts.delivery.deliver(incoming(row))
    (call,) = parts.provider.calls
    assert isinstance(call.content, EmailContent)
    assert (call.content.cc, call.content.bcc) == (("bob@example.com",), ())
    note = "copies left out, because suppressed: Gone@example.com (mailbox_unknown), out@example.com (opted_out)"
    assert (last(parts, row).status, last(parts, row).note) == (Status.SENT, note)


def test_a_mail_to_a_suppressed_recipient_is_not_sent_to_its_copies(parts: Parts) -> None:
    suppressed(parts)
    row = added(parts, recipient=ADA, content=COPIED)
    parts.delivery.deliver(incoming(row))
    assert (parts.provider.calls, parts.row(row).status) == ([], Status.SUPPRESSED)


# --- settings and override --------------------------------------------------------------------------------------------


def test_a_warning_sends_and_says_what_would_have_been_suppressed(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    suppressed(parts)
    row = added(parts, recipient=ADA)
    with delivering(parts, Enforcement.WARN) as delivery:
        delivery.deliver(incoming(row))
    assert (parts.row(row).status, len(parts.provider.calls)) == (Status.SENT, 1)
    assert last(parts, row).note == f"sent although suppressed (TIDINGS_SUPPRESSION is warn): {ADA} (opted_out)"
    (line,) = [vars(record) for record in caplog.records if record.getMessage() == "suppression_not_enforced"]
    assert (line["notification_id"], line["reasons"]) == (row.id, ["opted_out"])
    assert ADA not in str(line)


def test_off_looks_nothing_up(parts: Parts) -> None:
    suppressed(parts)
    row = added(parts, recipient=ADA)
    with delivering(parts, Enforcement.OFF) as delivery:
        delivery.deliver(incoming(row))
    assert (parts.row(row).status, last(parts, row).note) == (Status.SENT, None)


def test_a_notification_that_ignores_suppression_is_sent_and_its_timeline_says_so(parts: Parts) -> None:
    suppressed(parts)
    suppressed(parts, "out@example.com")
    row = added(parts, recipient=ADA, content=COPIED, ignore_suppression=True)
    parts.delivery.deliver(incoming(row))
    (call,) = parts.provider.calls
    assert isinstance(call.content, EmailContent)
    assert call.content.bcc == ("out@example.com",)
    note = f"sent although suppressed (ignore_suppression): {ADA} (opted_out), out@example.com (opted_out)"
    assert last(parts, row).note == note


# --- categories -------------------------------------------------------------------------------------------------------


def test_an_opt_out_of_a_category_suppresses_that_category_alone(parts: Parts) -> None:
    opted_out(parts, ADA)
    news, orders, plain = (added(parts, recipient=ADA, category=one) for one in ("news", "orders", None))
    parts.delivery.deliver(incoming(news, orders, plain))
    assert [parts.row(row).status for row in (news, orders, plain)] == [Status.SUPPRESSED, Status.SENT, Status.SENT]
    assert (last(parts, news).error_code, last(parts, news).error_message) == (
        "opted_out",
        "the recipient opted out of news; the provider was not called",
    )


def test_a_critical_notification_passes_opt_outs_of_its_category_and_nothing_else(parts: Parts) -> None:
    opted_out(parts, ADA)
    opted_out(parts, "out@example.com")
    suppressed(parts, "gone@example.com", "hard_bounce")
    row = added(parts, recipient=ADA, content=COPIED, category="news", critical=True)
    parts.delivery.deliver(incoming(row))
    (call,) = parts.provider.calls
    assert isinstance(call.content, EmailContent)
    assert (call.content.cc, call.content.bcc) == (("bob@example.com",), ("out@example.com",))
    assert last(parts, row).note == (
        f"sent although suppressed (critical): {ADA} (opted_out of news), out@example.com (opted_out of news);"
        " copies left out, because suppressed: Gone@example.com (hard_bounce)"
    )
    suppressed(parts)
    again = added(parts, recipient=ADA, category="news", critical=True)
    parts.delivery.deliver(incoming(again))
    assert parts.row(again).status is Status.SUPPRESSED, "she opted out of everything"


# --- what suppresses --------------------------------------------------------------------------------------------------


def test_a_failure_suppresses_the_next_notification(parts: Parts) -> None:
    first, second = added(parts, recipient=ADA), added(parts, recipient=ADA)
    parts.provider.script[ADA] = [PermanentError("5.1.1", "no such user", suppress="mailbox_unknown")]
    parts.delivery.deliver(incoming(first))
    parts.delivery.deliver(incoming(second))
    assert (parts.row(first).status, parts.row(second).status) == (Status.FAILED, Status.SUPPRESSED)
    (entry,) = parts.store.find_suppressions(SuppressionSelection(tenant="acme"), 10)
    assert (entry.notification_id, entry.source) == (first.id, "provider")
    assert entry.expires_at == parts.clock() + HARD_BOUNCE_LASTS


def test_a_full_mailbox_does_not_suppress(parts: Parts) -> None:
    row = added(parts, recipient=ADA)
    parts.provider.script[ADA] = [PermanentError("5.2.2", "mailbox full", suppress="mailbox_full")]
    parts.delivery.deliver(incoming(row))
    assert parts.store.find_suppressions(SuppressionSelection(tenant="acme"), 10) == []


def test_the_sweep_takes_over_what_older_releases_record(parts: Parts) -> None:
    with parts.store.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO suppressions (tenant, channel, recipient, reason, notification_id, at)"
            " VALUES ('acme', 'email', 'Ada@example.com', 'opted_out', 'n-1', '2026-01-01 00:00:00.000000')"
        )
    Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()
    row = added(parts, recipient=ADA)
    parts.delivery.deliver(incoming(row))
    assert parts.row(row).status is Status.SUPPRESSED

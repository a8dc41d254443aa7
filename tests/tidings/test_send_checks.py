"""The checks before a provider is called: one list, whose order decides which outcome wins."""

import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from tidings.adapters.sql.schema import suppression_list
from tidings.domain.errors import NotReady, PermanentError, TransientError
from tidings.domain.notification import Notification, OnAmbiguous
from tidings.domain.stopwatch import Elapsed
from tidings.domain.timing import NO_DEADLINE
from tidings.pipeline.deadlines import Deadlines
from tidings.pipeline.leases import Leases
from tidings.pipeline.outcomes import ExpiredBeforeSend, NoTimeLeft
from tidings.pipeline.send_checks import Attempt, outcome_before_send
from tidings.ports import Acceptance

from tests.tidings.conftest import Parts
from tests.tidings.test_delivery import added, incoming

SHORT = timedelta(seconds=6)  # less than a call and the reserve to settle it


def attempt_of(parts: Parts, row: Notification, *, within: timedelta = NO_DEADLINE, held: bool = True) -> Attempt:
    claims = parts.store.claim([one.message for one in incoming(row) if one.message], timedelta(seconds=60))
    leases, clock = Leases(parts.store, timedelta(seconds=60)), time.monotonic()
    claims = replace(claims, elapsed=Elapsed(clock, 0.0))
    if held:
        leases.keep(claims, asked_at=clock)
    leases.close()
    return Attempt(
        notification=claims.acquired[0],
        claims=claims,
        deadlines=Deadlines.of(clock, within=within, call=parts.provider.timeout),
        provider=parts.provider,
        store=parts.store,
        leases=leases,
        clock=clock,
    )


def test_nothing_speaks_against_a_send_that_is_due(parts: Parts) -> None:
    assert outcome_before_send(attempt_of(parts, added(parts))) is None


def test_the_first_outcome_of_the_list_wins(parts: Parts) -> None:
    attempt = attempt_of(parts, added(parts), held=False)
    attempt.notification = replace(attempt.notification, expires_at=attempt.now)
    assert outcome_before_send(attempt) == NoTimeLeft()


def test_an_expired_notification_is_not_sent_even_if_its_content_is_unreadable(parts: Parts) -> None:
    attempt = attempt_of(parts, added(parts))
    attempt.notification = replace(attempt.notification, expires_at=attempt.now, content="{}")
    assert outcome_before_send(attempt) == ExpiredBeforeSend()
    attempt.notification = replace(attempt.notification, expires_at=None)
    assert isinstance(outcome_before_send(attempt), NotReady)


def test_a_time_out_too_short_for_any_call_is_reported_before_all_else(parts: Parts) -> None:
    attempt = attempt_of(parts, added(parts), within=SHORT, held=False)
    outcome = outcome_before_send(attempt)
    assert isinstance(outcome, NotReady)
    assert outcome.code == "no_time"


def test_time_and_expiry_are_checked_again_after_the_lookup_of_earlier_attempts(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = attempt_of(parts, added(parts, on_ambiguous=OnAmbiguous.RECONCILE))
    attempt.notification = replace(attempt.notification, expires_at=attempt.now + timedelta(seconds=5))
    later = attempt.clock + 10
    monkeypatch.setattr("tidings.pipeline.send_checks.time", SimpleNamespace(monotonic=lambda: later))
    assert outcome_before_send(attempt) == ExpiredBeforeSend()


# --- suppression: decided with the settlement -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "reasons"),
    [
        (PermanentError("550", "no such user", suppress="mailbox_unknown"), ["mailbox_unknown"]),
        (PermanentError("554", "refused as spam"), []),
        (TransientError("450", "busy"), []),
        (Acceptance(provider_message_id="id"), []),
    ],
    ids=["permanent, with a reason", "permanent, without one", "transient", "accepted"],
)
def test_only_a_permanent_error_with_a_reason_suppresses_its_recipient(
    parts: Parts, outcome: Acceptance | Exception, reasons: list[str]
) -> None:
    row = added(parts)
    parts.provider.script[row.recipient] = [outcome] if isinstance(outcome, Exception) else []
    parts.delivery.deliver(incoming(row))
    with parts.store.database.engine.connect() as connection:
        found = connection.execute(select(suppression_list)).all()
    assert [(one.tenant, one.channel, one.recipient, one.reason) for one in found] == [
        (row.tenant, row.channel, row.recipient, reason) for reason in reasons
    ]

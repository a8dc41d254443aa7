"""The checks before a provider is called: one list, whose order decides which outcome wins."""

import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from tidings.adapters.sql.schema import suppressions
from tidings.domain.errors import NotReady, PermanentError, TransientError
from tidings.domain.notification import Notification, OnAmbiguous
from tidings.domain.stopwatch import Elapsed
from tidings.domain.timing import NO_DEADLINE
from tidings.pipeline.deadlines import Deadlines
from tidings.pipeline.leases import Leases
from tidings.pipeline.outcomes import ExpiredBeforeSend, NoTimeLeft
from tidings.pipeline.send_checks import Attempt, outcome_before_send
from tidings.ports import Acceptance

from tests.tidings.conftest import House
from tests.tidings.test_delivery import added, letters

SHORT = timedelta(seconds=6)  # less than a call and the reserve to settle it


def attempt_of(house: House, row: Notification, *, within: timedelta = NO_DEADLINE, held: bool = True) -> Attempt:
    claims = house.store.claim([one.message for one in letters(row) if one.message], timedelta(seconds=60))
    leases, clock = Leases(house.store, timedelta(seconds=60)), time.monotonic()
    claims = replace(claims, elapsed=Elapsed(clock, 0.0))
    if held:
        leases.keep(claims, asked_at=clock)
    leases.close()
    return Attempt(
        notification=claims.acquired[0],
        claims=claims,
        deadlines=Deadlines.of(clock, within=within, call=house.provider.timeout),
        provider=house.provider,
        store=house.store,
        leases=leases,
        clock=clock,
    )


def test_nothing_speaks_against_a_send_that_is_due(house: House) -> None:
    assert outcome_before_send(attempt_of(house, added(house))) is None


def test_the_first_outcome_of_the_list_wins(house: House) -> None:
    attempt = attempt_of(house, added(house), held=False)
    attempt.notification = replace(attempt.notification, expires_at=attempt.now)
    assert outcome_before_send(attempt) == NoTimeLeft()


def test_an_expired_notification_is_not_sent_even_if_its_content_is_unreadable(house: House) -> None:
    attempt = attempt_of(house, added(house))
    attempt.notification = replace(attempt.notification, expires_at=attempt.now, content="{}")
    assert outcome_before_send(attempt) == ExpiredBeforeSend()
    attempt.notification = replace(attempt.notification, expires_at=None)
    assert isinstance(outcome_before_send(attempt), NotReady)


def test_a_time_out_too_short_for_any_call_is_reported_before_all_else(house: House) -> None:
    attempt = attempt_of(house, added(house), within=SHORT, held=False)
    outcome = outcome_before_send(attempt)
    assert isinstance(outcome, NotReady)
    assert outcome.code == "no_time"


def test_time_and_expiry_are_checked_again_after_the_lookup_of_earlier_attempts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = attempt_of(house, added(house, on_ambiguous=OnAmbiguous.RECONCILE))
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
    house: House, outcome: Acceptance | Exception, reasons: list[str]
) -> None:
    row = added(house)
    house.provider.script[row.recipient] = [outcome] if isinstance(outcome, Exception) else []
    house.delivery.deliver(letters(row))
    with house.store.database.engine.connect() as connection:
        found = connection.execute(select(suppressions)).all()
    assert [(one.tenant, one.channel, one.recipient, one.reason) for one in found] == [
        (row.tenant, row.channel, row.recipient, reason) for reason in reasons
    ]

"""What `on_ambiguous: reconcile` promises: ask the provider before an ambiguous SMS is sent again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import AccountError, AmbiguousError, StoreUnavailable, TransientError
from tidings.domain.notification import Notification, OnAmbiguous, Status, TimelineEntry
from tidings.domain.timing import CLOCK_SKEW, LISTED_AFTER
from tidings.pipeline.delivery import Delivery
from tidings.pipeline.replay import Replay
from tidings.pipeline.sweep import Sweep
from tidings.ports import Acceptance, Clock, Selection, SendRequest

from tests import make
from tests.clock import TestClock
from tests.tidings.conftest import Parts, ScriptedProvider
from tests.tidings.test_delivery import incoming

NUMBER = "+15005550010"
TIMEOUT = AmbiguousError("timeout", "no answer")


@dataclass
class ListingProvider(ScriptedProvider):
    """Also tells what it has accepted; `lost` are sends that arrive though their answer does not."""

    clock: Clock = field(default_factory=TestClock)
    lost: int = 0
    listed: list[tuple[str, str, datetime]] = field(default_factory=list)  # receipt, text, when
    refusals: list[Exception] = field(default_factory=list)
    asked: list[datetime] = field(default_factory=list)

    def send(self, outbound: SendRequest) -> Acceptance:
        if self.lost:
            self.lost -= 1
            self.calls.append(outbound)
            self.arrive(outbound)
            raise TIMEOUT
        receipt = super().send(outbound)
        self.arrive(outbound)
        return receipt

    def arrive(self, outbound: SendRequest) -> str:
        name = f"SM{len(self.listed)}"
        self.listed.append((name, outbound.content.model_dump_json(), self.clock()))
        return name

    def accepted(self, outbound: SendRequest, since: datetime) -> Sequence[Acceptance]:
        self.asked.append(since)
        if self.refusals:
            raise self.refusals.pop(0)
        text = outbound.content.model_dump_json()
        return [Acceptance(provider_message_id=name) for name, said, at in self.listed if said == text and at >= since]


@pytest.fixture
def listing(parts: Parts) -> ListingProvider:
    return ListingProvider(clock=parts.clock)


@pytest.fixture
def delivery(parts: Parts, listing: ListingProvider) -> Iterator[Delivery]:
    made = replace(parts.delivery, provider=listing)
    yield made
    made.close()


def added(parts: Parts, **changes: object) -> Notification:
    given = {"channel": "sms", "recipient": NUMBER, "content": '{"text":"Hello"}', **changes}
    row = make.notification(parts.clock(), **{"on_ambiguous": OnAmbiguous.RECONCILE, **given})
    parts.store.insert([row])
    return row


def outbound(row: Notification) -> SendRequest:
    """As a worker makes it that has claimed this row."""
    content = CHANNELS[row.channel].model_validate_json(row.content)
    return SendRequest(id=row.id, attempt=row.attempt, recipient=row.recipient, content=content)


def due(parts: Parts, row: Notification) -> Notification:
    """Move the clock to its next attempt."""
    at = parts.row(row).next_attempt_at
    assert at is not None
    parts.clock.now = at
    return row


def test_an_attempt_found_accepted_is_sent_without_a_second_call(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    row, begun = added(parts), parts.clock()
    listing.lost = 1
    delivery.deliver(incoming(row))
    delivery.deliver(incoming(due(parts, row)))
    after = parts.row(row)
    assert (after.status, after.provider_message_id, len(listing.calls)) == (Status.SENT, "SM0", 1)
    assert listing.asked == [begun - CLOCK_SKEW]


def test_an_attempt_found_not_accepted_is_sent_again(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    row = added(parts)
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(incoming(row))
    delivery.deliver(incoming(due(parts, row)))
    assert (parts.row(row).status, len(listing.calls)) == (Status.SENT, 2)


def test_the_provider_has_time_to_list_what_it_accepted(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    row = added(parts)
    listing.lost = 1
    delivery.deliver(incoming(row))
    assert parts.row(row).next_attempt_at == parts.clock() + LISTED_AFTER


def test_no_lookup_for_a_first_attempt_or_one_proven_not_accepted(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    row = added(parts)
    listing.script[NUMBER] = [TransientError("429", "later")]
    delivery.deliver(incoming(row))
    delivery.deliver(incoming(due(parts, row)))
    assert (parts.row(row).status, listing.asked) == (Status.SENT, [])


@pytest.mark.parametrize("policy", [OnAmbiguous.RESEND, OnAmbiguous.HOLD])
def test_no_lookup_under_another_policy(
    parts: Parts, delivery: Delivery, listing: ListingProvider, policy: OnAmbiguous
) -> None:
    row = added(parts, on_ambiguous=policy)
    listing.lost = 1
    delivery.deliver(incoming(row))
    parts.clock.advance(minutes=1)
    delivery.deliver(incoming(row))
    assert listing.asked == []


@pytest.mark.parametrize("error", [TransientError("connect", "no"), AmbiguousError("500", "no"), RuntimeError("fault")])
def test_while_the_lookup_fails_nothing_is_sent_and_finally_an_operator_decides(
    parts: Parts, delivery: Delivery, listing: ListingProvider, error: Exception
) -> None:
    row = added(parts, max_attempts=3)
    listing.lost, listing.refusals = 1, [error] * 2
    delivery.deliver(incoming(row))
    for _ in range(2):
        assert parts.row(row).status is Status.RETRYING
        delivery.deliver(incoming(due(parts, row)))
    after = parts.row(row)
    assert (after.status, after.error_class, len(listing.calls)) == (Status.UNKNOWN, "ambiguous", 1)


def test_a_lookup_that_refuses_our_account_counts_no_attempt_and_is_repeated(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    row = added(parts, max_attempts=2)
    listing.lost, listing.refusals = 1, [AccountError("401", "no")]
    for _ in range(3):
        delivery.deliver(incoming(row))
        parts.clock.advance(minutes=5)
    after = parts.row(row)
    assert (after.status, after.uncounted_attempts, len(listing.calls)) == (Status.SENT, 1, 1)


def test_nothing_is_sent_if_the_database_fails_during_the_lookup(
    parts: Parts, delivery: Delivery, listing: ListingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = added(parts)
    listing.lost = 1
    delivery.deliver(incoming(row))

    def gone(_: str) -> Sequence[TimelineEntry]:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(parts.store, "events", gone)
        delivery.deliver(incoming(due(parts, row)))
    assert (parts.row(row).status, len(listing.calls)) == (Status.RETRYING, 1)


def test_after_its_worker_died_it_is_reconciled_too(parts: Parts, delivery: Delivery, listing: ListingProvider) -> None:
    row = added(parts)
    claims = parts.store.claim([make.message(row)], timedelta(seconds=60))
    listing.lost = 1
    with pytest.raises(AmbiguousError):  # sent, and then the worker dies
        listing.send(outbound(claims.acquired[0]))
    for _ in range(2):
        parts.clock.advance(minutes=2)
        Sweep(store=parts.store, broker=parts.broker, settler=parts.settler).run()
    delivery.deliver(incoming(due(parts, row)))
    assert (parts.row(row).status, len(listing.calls)) == (Status.SENT, 1)


def test_a_provider_that_cannot_tell_sends_nothing_again(parts: Parts) -> None:
    row = added(parts, max_attempts=2)
    parts.provider.script[NUMBER] = [TIMEOUT]
    parts.delivery.deliver(incoming(row))
    parts.delivery.deliver(incoming(due(parts, row)))
    assert (parts.row(row).status, len(parts.provider.calls)) == (Status.UNKNOWN, 1)


# --- the same text to the same number -------------------------------------------------------------------------------


def test_the_message_of_another_notification_is_not_taken_for_ours(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    row, twin = added(parts), added(parts)
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(incoming(row))
    delivery.deliver(incoming(twin))
    taken = parts.row(twin).provider_message_id
    listing.listed = [(taken or "", text, at) for _, text, at in listing.listed]
    delivery.deliver(incoming(due(parts, row)))
    assert [parts.row(each).status for each in (row, twin)] == [Status.SENT] * 2
    assert len(listing.calls) == 3


def test_one_acceptance_that_may_belong_to_two_is_left_to_an_operator(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    twins = [added(parts, max_attempts=3) for _ in range(2)]
    listing.lost = 1
    delivery.deliver(incoming(twins[0]))
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(incoming(twins[1]))
    for _ in range(2):
        parts.clock.advance(hours=1)
        delivery.deliver(incoming(*twins))
    assert [parts.row(twin).status for twin in twins] == [Status.UNKNOWN] * 2
    assert len(listing.calls) == 2


def test_a_recent_acceptance_may_belong_to_an_earlier_notification(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    """The clocks' margin reaches back to before our first attempt; so does the look at the other rows."""
    before, row = added(parts), added(parts)
    listing.lost = 1
    delivery.deliver(incoming(before))
    parts.clock.advance(seconds=3)
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(incoming(row))
    delivery.deliver(incoming(due(parts, row)))
    assert (parts.row(row).status, parts.row(row).error_code) == (Status.RETRYING, "reconcile")


def test_two_equal_notifications_that_are_both_ambiguous_are_left_to_an_operator(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    """Whose of the two it is, no list tells; and taking one at a time would be a race."""
    twins = [added(parts, max_attempts=2) for _ in range(2)]
    listing.lost = 2
    delivery.deliver(incoming(*twins))
    parts.clock.advance(hours=1)
    delivery.deliver(incoming(*twins))
    assert [parts.row(twin).status for twin in twins] == [Status.UNKNOWN] * 2
    assert len(listing.calls) == 2


def test_a_message_that_another_notification_is_sending_is_not_taken_for_ours(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    row = added(parts)
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(incoming(row))
    rival = added(parts)
    claims = parts.store.claim([make.message(rival)], timedelta(seconds=60))
    receipt = listing.send(outbound(claims.acquired[0]))
    delivery.deliver(incoming(due(parts, row)))  # asks while the rival's message is listed and its row does not say so
    assert parts.row(row).status is Status.RETRYING
    parts.store.settle([parts.settler.settlement_for(claims, claims.acquired[0], receipt, provider="listing")])
    delivery.deliver(incoming(due(parts, row)))
    sent = [parts.row(each) for each in (row, rival)]
    assert [each.status for each in sent] == [Status.SENT] * 2
    assert len({each.provider_message_id for each in sent}) == 2


@pytest.mark.parametrize("later", [AccountError("401", "no"), None])
def test_an_earlier_ambiguous_attempt_of_another_notification_makes_it_a_rival(
    parts: Parts, delivery: Delivery, listing: ListingProvider, later: AccountError | None
) -> None:
    """It arrived twice or went on to another error: one of the listed is its own, though its row does not say which."""
    rival = added(parts, on_ambiguous=OnAmbiguous.RECONCILE if later else OnAmbiguous.RESEND)
    listing.lost, listing.refusals = 1, [later] if later else []
    delivery.deliver(incoming(rival))
    delivery.deliver(incoming(due(parts, rival)))
    row = added(parts)
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(incoming(row))
    delivery.deliver(incoming(due(parts, row)))
    assert (parts.row(row).status, parts.row(row).error_code) == (Status.RETRYING, "reconcile")


def test_another_text_to_the_same_number_does_not_matter(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    rows = [added(parts), added(parts, content='{"text":"Goodbye"}')]
    listing.lost = 2
    delivery.deliver(incoming(*rows))
    parts.clock.advance(hours=1)
    delivery.deliver(incoming(rows[0]))
    assert parts.row(rows[0]).status is Status.SENT


# --- an operator decides ----------------------------------------------------------------------------------------------


def unknown(parts: Parts, delivery: Delivery, listing: ListingProvider, **changes: object) -> Notification:
    row = added(parts, max_attempts=1, **changes)
    delivery.deliver(incoming(row))
    assert parts.row(row).status is Status.UNKNOWN
    return row


def test_a_replay_looks_up_once_more_and_sends_only_what_was_not_accepted(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    listing.lost = 1
    arrived = unknown(parts, delivery, listing)
    listing.script[NUMBER] = [TIMEOUT]
    missing = unknown(parts, delivery, listing, content='{"text":"Goodbye"}')
    named = Selection(tenant="acme", statuses=[Status.UNKNOWN])
    Replay(store=parts.store, broker=parts.broker).replay(named, limit=10)
    delivery.deliver(incoming(parts.row(arrived), parts.row(missing)))
    assert [parts.row(each).status for each in (arrived, missing)] == [Status.SENT] * 2
    assert sorted(call.id for call in listing.calls) == sorted([arrived.id, missing.id, missing.id])


def test_a_replay_by_an_operator_is_sent_although_the_lookup_is_unclear(
    parts: Parts, delivery: Delivery, listing: ListingProvider
) -> None:
    listing.lost = 1
    row = unknown(parts, delivery, listing)
    listing.script[NUMBER] = [TIMEOUT]
    unknown(parts, delivery, listing)
    replay = Replay(store=parts.store, broker=parts.broker)
    again = replay.again("acme", row.id)
    assert again is not None
    assert (again.notification.status, again.notification.generation) == (Status.PENDING, 2)
    delivery.deliver(incoming(again.notification))
    assert (parts.row(row).status, len(listing.calls)) == (Status.SENT, 3)

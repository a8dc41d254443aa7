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
from tests.tidings.conftest import House, ScriptedProvider
from tests.tidings.test_delivery import letters

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
def listing(house: House) -> ListingProvider:
    return ListingProvider(clock=house.clock)


@pytest.fixture
def delivery(house: House, listing: ListingProvider) -> Iterator[Delivery]:
    made = replace(house.delivery, provider=listing)
    yield made
    made.close()


def added(house: House, **changes: object) -> Notification:
    given = {"channel": "sms", "recipient": NUMBER, "content": '{"text":"Hello"}', **changes}
    row = make.notification(house.clock(), **{"on_ambiguous": OnAmbiguous.RECONCILE, **given})
    house.store.insert([row])
    return row


def outbound(row: Notification) -> SendRequest:
    """As a worker makes it that has claimed this row."""
    content = CHANNELS[row.channel].model_validate_json(row.content)
    return SendRequest(id=row.id, attempt=row.attempt, recipient=row.recipient, content=content)


def due(house: House, row: Notification) -> Notification:
    """Move the clock to its next attempt."""
    at = house.row(row).next_attempt_at
    assert at is not None
    house.clock.now = at
    return row


def test_what_had_arrived_is_sent_without_a_second_send(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    row, begun = added(house), house.clock()
    listing.lost = 1
    delivery.deliver(letters(row))
    delivery.deliver(letters(due(house, row)))
    after = house.row(row)
    assert (after.status, after.provider_message_id, len(listing.calls)) == (Status.SENT, "SM0", 1)
    assert listing.asked == [begun - CLOCK_SKEW]


def test_what_had_not_arrived_is_sent(house: House, delivery: Delivery, listing: ListingProvider) -> None:
    row = added(house)
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(letters(row))
    delivery.deliver(letters(due(house, row)))
    assert (house.row(row).status, len(listing.calls)) == (Status.SENT, 2)


def test_the_provider_has_time_to_list_what_it_accepted(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    row = added(house)
    listing.lost = 1
    delivery.deliver(letters(row))
    assert house.row(row).next_attempt_at == house.clock() + LISTED_AFTER


def test_nobody_is_asked_about_a_first_attempt_or_one_proven_not_accepted(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    row = added(house)
    listing.script[NUMBER] = [TransientError("429", "later")]
    delivery.deliver(letters(row))
    delivery.deliver(letters(due(house, row)))
    assert (house.row(row).status, listing.asked) == (Status.SENT, [])


@pytest.mark.parametrize("policy", [OnAmbiguous.RESEND, OnAmbiguous.HOLD])
def test_nobody_is_asked_under_another_policy(
    house: House, delivery: Delivery, listing: ListingProvider, policy: OnAmbiguous
) -> None:
    row = added(house, on_ambiguous=policy)
    listing.lost = 1
    delivery.deliver(letters(row))
    house.clock.advance(minutes=1)
    delivery.deliver(letters(row))
    assert listing.asked == []


@pytest.mark.parametrize("error", [TransientError("connect", "no"), AmbiguousError("500", "no"), RuntimeError("fault")])
def test_while_the_list_fails_nothing_is_sent_and_in_the_end_an_operator_decides(
    house: House, delivery: Delivery, listing: ListingProvider, error: Exception
) -> None:
    row = added(house, max_attempts=3)
    listing.lost, listing.refusals = 1, [error] * 2
    delivery.deliver(letters(row))
    for _ in range(2):
        assert house.row(row).status is Status.RETRYING
        delivery.deliver(letters(due(house, row)))
    after = house.row(row)
    assert (after.status, after.error_class, len(listing.calls)) == (Status.UNKNOWN, "ambiguous", 1)


def test_a_list_that_refuses_our_account_burns_no_attempt_and_is_asked_again(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    row = added(house, max_attempts=2)
    listing.lost, listing.refusals = 1, [AccountError("401", "no")]
    for _ in range(3):
        delivery.deliver(letters(row))
        house.clock.advance(minutes=5)
    after = house.row(row)
    assert (after.status, after.uncounted_attempts, len(listing.calls)) == (Status.SENT, 1, 1)


def test_a_database_that_is_away_while_it_reconciles_sends_nothing(
    house: House, delivery: Delivery, listing: ListingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = added(house)
    listing.lost = 1
    delivery.deliver(letters(row))

    def gone(_: str) -> Sequence[TimelineEntry]:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(house.store, "events", gone)
        delivery.deliver(letters(due(house, row)))
    assert (house.row(row).status, len(listing.calls)) == (Status.RETRYING, 1)


def test_after_its_worker_died_it_is_reconciled_too(house: House, delivery: Delivery, listing: ListingProvider) -> None:
    row = added(house)
    claims = house.store.claim([make.message(row)], timedelta(seconds=60))
    listing.lost = 1
    with pytest.raises(AmbiguousError):  # sent, and then the worker dies
        listing.send(outbound(claims.acquired[0]))
    for _ in range(2):
        house.clock.advance(minutes=2)
        Sweep(store=house.store, broker=house.broker, settler=house.settler).run()
    delivery.deliver(letters(due(house, row)))
    assert (house.row(row).status, len(listing.calls)) == (Status.SENT, 1)


def test_a_provider_that_cannot_tell_sends_nothing_again(house: House) -> None:
    row = added(house, max_attempts=2)
    house.provider.script[NUMBER] = [TIMEOUT]
    house.delivery.deliver(letters(row))
    house.delivery.deliver(letters(due(house, row)))
    assert (house.row(row).status, len(house.provider.calls)) == (Status.UNKNOWN, 1)


# --- the same text to the same number -------------------------------------------------------------------------------


def test_the_message_of_another_notification_is_not_taken_for_ours(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    row, twin = added(house), added(house)
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(letters(row))
    delivery.deliver(letters(twin))
    taken = house.row(twin).provider_message_id
    listing.listed = [(taken or "", text, at) for _, text, at in listing.listed]
    delivery.deliver(letters(due(house, row)))
    assert [house.row(each).status for each in (row, twin)] == [Status.SENT] * 2
    assert len(listing.calls) == 3


def test_one_arrival_that_may_be_either_of_two_is_left_to_an_operator(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    twins = [added(house, max_attempts=3) for _ in range(2)]
    listing.lost = 1
    delivery.deliver(letters(twins[0]))
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(letters(twins[1]))
    for _ in range(2):
        house.clock.advance(hours=1)
        delivery.deliver(letters(*twins))
    assert [house.row(twin).status for twin in twins] == [Status.UNKNOWN] * 2
    assert len(listing.calls) == 2


def test_what_arrived_just_before_may_be_an_earlier_ones(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    """The clocks' margin reaches back to before our first attempt; so does the look at the other rows."""
    before, row = added(house), added(house)
    listing.lost = 1
    delivery.deliver(letters(before))
    house.clock.advance(seconds=3)
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(letters(row))
    delivery.deliver(letters(due(house, row)))
    assert (house.row(row).status, house.row(row).error_code) == (Status.RETRYING, "reconcile")


def test_twins_whose_ends_are_both_open_are_left_to_an_operator(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    """Whose of the two it is, no list tells; and taking one at a time would be a race."""
    twins = [added(house, max_attempts=2) for _ in range(2)]
    listing.lost = 2
    delivery.deliver(letters(*twins))
    house.clock.advance(hours=1)
    delivery.deliver(letters(*twins))
    assert [house.row(twin).status for twin in twins] == [Status.UNKNOWN] * 2
    assert len(listing.calls) == 2


def test_what_a_rival_is_just_sending_is_not_taken_for_ours(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    row = added(house)
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(letters(row))
    rival = added(house)
    claims = house.store.claim([make.message(rival)], timedelta(seconds=60))
    receipt = listing.send(outbound(claims.acquired[0]))
    delivery.deliver(letters(due(house, row)))  # asks while the rival's message is listed and its row does not say so
    assert house.row(row).status is Status.RETRYING
    house.store.settle([house.settler.settlement_for(claims, claims.acquired[0], receipt, provider="listing")])
    delivery.deliver(letters(due(house, row)))
    sent = [house.row(each) for each in (row, rival)]
    assert [each.status for each in sent] == [Status.SENT] * 2
    assert len({each.provider_message_id for each in sent}) == 2


@pytest.mark.parametrize("later", [AccountError("401", "no"), None])
def test_an_open_end_that_its_row_no_longer_shows_is_a_rival_all_the_same(
    house: House, delivery: Delivery, listing: ListingProvider, later: AccountError | None
) -> None:
    """It arrived twice or went on to another error: one of the listed is its own, though its row does not say which."""
    rival = added(house, on_ambiguous=OnAmbiguous.RECONCILE if later else OnAmbiguous.RESEND)
    listing.lost, listing.refusals = 1, [later] if later else []
    delivery.deliver(letters(rival))
    delivery.deliver(letters(due(house, rival)))
    row = added(house)
    listing.script[NUMBER] = [TIMEOUT]
    delivery.deliver(letters(row))
    delivery.deliver(letters(due(house, row)))
    assert (house.row(row).status, house.row(row).error_code) == (Status.RETRYING, "reconcile")


def test_another_text_to_the_same_number_does_not_matter(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    rows = [added(house), added(house, content='{"text":"Goodbye"}')]
    listing.lost = 2
    delivery.deliver(letters(*rows))
    house.clock.advance(hours=1)
    delivery.deliver(letters(rows[0]))
    assert house.row(rows[0]).status is Status.SENT


# --- an operator decides ----------------------------------------------------------------------------------------------


def unknown(house: House, delivery: Delivery, listing: ListingProvider, **changes: object) -> Notification:
    row = added(house, max_attempts=1, **changes)
    delivery.deliver(letters(row))
    assert house.row(row).status is Status.UNKNOWN
    return row


def test_a_replay_asks_once_more_and_sends_only_what_is_not_there(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    listing.lost = 1
    arrived = unknown(house, delivery, listing)
    listing.script[NUMBER] = [TIMEOUT]
    missing = unknown(house, delivery, listing, content='{"text":"Goodbye"}')
    named = Selection(tenant="acme", statuses=[Status.UNKNOWN])
    Replay(store=house.store, broker=house.broker).replay(named, limit=10)
    delivery.deliver(letters(house.row(arrived), house.row(missing)))
    assert [house.row(each).status for each in (arrived, missing)] == [Status.SENT] * 2
    assert sorted(call.id for call in listing.calls) == sorted([arrived.id, missing.id, missing.id])


def test_what_an_operator_replays_though_nobody_can_tell_is_sent(
    house: House, delivery: Delivery, listing: ListingProvider
) -> None:
    listing.lost = 1
    row = unknown(house, delivery, listing)
    listing.script[NUMBER] = [TIMEOUT]
    unknown(house, delivery, listing)
    replay = Replay(store=house.store, broker=house.broker)
    again = replay.again("acme", row.id)
    assert again is not None
    assert (again.notification.status, again.notification.generation) == (Status.PENDING, 2)
    delivery.deliver(letters(again.notification))
    assert (house.row(row).status, len(listing.calls)) == (Status.SENT, 3)

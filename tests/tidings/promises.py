"""What is promised of a notification, judged by its row, its timeline and the vendor's books.

Each function raises AssertionError with the promise that is broken. test_state_machine.py calls them after every step.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

from tidings.domain.notification import CLAIMABLE, Notification, OnAmbiguous, Status, TimelineEntry

from tests.tidings.actors import Call

MOVING = {*CLAIMABLE, Status.SENDING}
OPERATOR = "operator"


def sent_only_once(row: Notification, calls: Sequence[Call]) -> None:
    """B: each generation is sent once, and once more for each ambiguity: under `hold` for none, under `reconcile` for
    none that arrived, whose list tells."""
    for _, group in groupby(calls, key=lambda call: call.generation):
        for call in list(group)[:-1]:
            assert call.ambiguous or not call.arrived, "B: sent again after it was accepted"
            if row.on_ambiguous is OnAmbiguous.HOLD:
                assert not call.ambiguous, "hold: sent again after an ambiguity"
            if row.on_ambiguous is OnAmbiguous.RECONCILE:
                assert not call.arrived, "reconcile: sent again after it had arrived"
    generations = [call.generation for call in calls]
    assert generations == sorted(generations), "an older generation was sent"


def as_many_copies_as_are_sent(rows: Mapping[str, Notification], calls: Sequence[Call]) -> None:
    """B and C, for rivals, who get the same thing: no more copies of it than notifications, ambiguities aside; and no
    more of them are `sent` than copies arrived, so none was sent by another's."""
    arrived = sum(call.arrived for call in calls)
    generations = {(call.id, call.generation) for call in calls}
    resends = sum(call.ambiguous and rows[call.id].on_ambiguous is OnAmbiguous.RESEND for call in calls)
    sent = sum(row.status is Status.SENT and row.provider_message_id is not None for row in rows.values())
    assert arrived <= len(generations) + resends, "B: more copies than notifications"
    assert sent <= arrived, "C: more are sent than arrived"


def sent_only_after_it_was_accepted(
    row: Notification, timeline: Sequence[TimelineEntry], calls: Sequence[Call]
) -> None:
    """C: the receipt is its own, of this generation; under `reconcile` of any."""
    if row.status is not Status.SENT:
        return
    if timeline[-1].provider == OPERATOR:
        assert row.provider_message_id is None, "C: an operator's word has no receipt"
        return
    any_time = row.on_ambiguous is OnAmbiguous.RECONCILE
    accepted = {call.receipt for call in calls if any_time or call.generation == row.generation}
    assert row.provider_message_id in accepted - {None}, "C: sent, and nobody accepted it"


def open_only_where_nobody_sends_again(row: Notification) -> None:
    if row.status is Status.UNKNOWN:
        assert row.on_ambiguous is not OnAmbiguous.RESEND, "unknown under resend"


def timeline_tells_the_row(row: Notification, timeline: Sequence[TimelineEntry]) -> None:
    """The timeline tells the row's way, and ends where the row is."""
    generation, attempt, ended = 1, 0, False
    before: TimelineEntry | None = None
    for event in timeline:
        if event.status is Status.PENDING:
            assert ended, "replayed before its end"
            assert event.generation == generation + 1, "a replay that skipped a generation, or made none"
            generation, attempt, ended = event.generation, 0, False
        else:
            assert event.generation == generation, "an event of another generation"
            _follows(event, before, attempt, ended=ended)
            _in_time(event, row)
            attempt, ended = event.attempt, event.status is not Status.RETRYING
        before = event
    assert row.generation == generation, "a generation without a replay in the timeline"
    assert row.attempt == attempt + (row.status is Status.SENDING), "the row counts other attempts than its timeline"
    assert row.attempt - row.uncounted_attempts <= row.max_attempts, "more attempts than it was given"
    assert ended == (row.status not in MOVING), "one has ended, the row or its timeline, and not the other"
    if row.status is not Status.SENDING:
        last = timeline[-1].status if timeline else Status.PENDING
        assert row.status is last, "the row is not where its timeline ends"


def _follows(event: TimelineEntry, before: TimelineEntry | None, attempt: int, *, ended: bool) -> None:
    if event.provider == OPERATOR:
        assert event.status is Status.SENT
        assert before is not None
        assert before.status is Status.UNKNOWN, "an operator decided on what was not open"
        return
    assert not ended, "an event after the end"
    claimed = event.started_at is not None
    assert event.attempt == attempt + claimed, "an attempt without an event, or with two"
    assert event.error_code != "internal", "the vendor of the story failed: look there"


def _in_time(event: TimelineEntry, row: Notification) -> None:
    if event.started_at is not None and row.expires_at is not None:
        assert event.started_at < row.expires_at, "claimed after its expiry"


def replayed_once(row: Notification, generation: int, calls: Sequence[Call]) -> None:
    """G: two replays are one; it goes out once more, unless it has expired or its list shows that it had arrived."""
    made = sum(call.generation == row.generation for call in calls)
    over = row.status is Status.EXPIRED and row.expires_at is not None
    found = row.on_ambiguous is OnAmbiguous.RECONCILE and row.status is Status.SENT and made == 0
    assert row.generation == generation + 1, "G: what was dead was not replayed once"
    assert over or row.status is Status.SENT, "G: replayed, and not sent"
    assert made == (0 if over or found else 1), "G: sent twice"

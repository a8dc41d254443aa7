"""What every Store promises."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, select
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.schema import notifications, suppression_list
from tidings.adapters.sql.store import SqlStore
from tidings.domain.errors import (
    LEASE_EXPIRED,
    AmbiguousError,
    DeliveryError,
    PermanentError,
    StoreUnavailable,
    TransientError,
)
from tidings.domain.notification import Notification, OnAmbiguous, Priority, Status
from tidings.domain.stopwatch import Elapsed
from tidings.domain.timing import REQUEUE_AFTER, SWEEP_GRACE
from tidings.ports import Changed, Claims, Selection, Settlement, Suppression

from tests import make
from tests.clock import TestClock
from tests.lost_answers import commits_unanswered

LEASE = timedelta(seconds=60)
HOUR = timedelta(hours=1)
EVERYTHING = Selection(tenant="acme")


def inserted(store: SqlStore, clock: TestClock, count: int = 1, **changes: object) -> list[Notification]:
    rows = [make.notification(clock(), **changes) for _ in range(count)]
    store.insert(rows)
    return rows


def claimed(store: SqlStore, rows: Sequence[Notification], *, isolated: bool = False) -> Claims:
    return store.claim([make.message(row) for row in rows], LEASE, isolated=isolated)


def sent(row: Notification, claims: Claims) -> Settlement:
    return Settlement(claims=claims, notification=row, status=Status.SENT, provider="smtp", provider_message_id="m-1")


def status(store: SqlStore, row: Notification) -> Status:
    found = store.get(row.tenant, row.id)
    assert found is not None
    return found.status


# --- insert -----------------------------------------------------------------------------------------------------------


def test_a_row_comes_back_as_it_was_inserted(store: SqlStore, clock: TestClock) -> None:
    row = make.notification(
        clock(), recipient="käthe@example.com ☂", metadata='{"a":"b"}', send_at=clock(), traceparent="00-" + "a" * 52
    )
    store.insert([row])
    assert store.get("acme", row.id) == replace(row, queued_at=clock())


@pytest.mark.parametrize("is_bytes", [False, True])
@pytest.mark.parametrize("before", range(8))
def test_a_large_content_of_quotes_comes_back_as_it_was(
    store: SqlStore, clock: TestClock, before: int, is_bytes: bool
) -> None:
    """Wherever it is cut for the driver. What was given as bytes may come back as bytes."""
    content = "x" * before + "\\'\"\n%s\x1aé☂😀;--" * 20_000
    row = make.notification(clock(), content=content.encode() if is_bytes else content)
    small = make.notification(clock(), content="small")
    store.insert([small, row])
    found = [store.get("acme", one.id) for one in (row, small)]
    contents = [one.content for one in found if one is not None]
    assert [text.decode() if isinstance(text, bytes) else text for text in contents] == [content, "small"]


def test_a_large_content_with_a_key_that_is_taken_changes_nothing(store: SqlStore, clock: TestClock) -> None:
    first, second = (
        make.notification(clock(), content=letter * 1_000_000, idempotency_hash="h1") for letter in (b"a", b"b")
    )
    for row in (first, second):
        store.insert([row])
    found = store.get("acme", first.id)
    assert found is not None
    assert found.content in {first.content, "a" * 1_000_000}
    assert store.get("acme", second.id) is None


def test_a_key_that_is_taken_answers_the_earlier_row_and_writes_nothing(store: SqlStore, clock: TestClock) -> None:
    (first,) = inserted(store, clock, idempotency_hash="h1", fingerprint="f")
    second, other = make.notification(clock(), idempotency_hash="h1"), make.notification(clock(), idempotency_hash="h2")
    answers = store.insert([second, other])
    assert [answer.existing and answer.existing.id for answer in answers] == [first.id, None]
    assert answers[0].existing is not None
    assert answers[0].existing.content == ""  # nobody asks for it, and it may be megabytes
    assert store.count(EVERYTHING) == 2


def test_it_tells_the_time_of_the_database(store: SqlStore, clock: TestClock) -> None:
    clock.advance(hours=5)
    assert store.now() == clock()


def test_the_holders_of_keys_are_found(store: SqlStore, clock: TestClock) -> None:
    first, second, _ = (inserted(store, clock, idempotency_hash=key)[0] for key in ("h1", "h2", "h3"))
    found = store.holders({"h1", "h2", "h9"})
    assert {key: row.id for key, row in found.items()} == {"h1": first.id, "h2": second.id}
    assert store.holders(set()) == {}


def test_two_equal_keys_in_one_batch_give_one_row(store: SqlStore, clock: TestClock) -> None:
    rows = [make.notification(clock(), idempotency_hash="h1") for _ in range(2)]
    answers = store.insert(rows)
    assert store.count(EVERYTHING) == 1
    assert [answer.existing is None for answer in answers].count(True) == 1


def test_two_that_race_with_one_key_give_one_row(database: DatabaseSettings, clock: TestClock) -> None:
    stores = [SqlStore(Database(database, clock=clock)) for _ in range(4)]
    together = threading.Barrier(len(stores))

    def race(store: SqlStore) -> str:
        row = make.notification(clock(), idempotency_hash="h1")
        together.wait()
        (answer,) = store.insert([row])
        return (answer.existing or answer.notification).id

    with ThreadPoolExecutor(len(stores)) as threads:
        ids = set(threads.map(race, stores))
    assert len(ids) == 1
    assert stores[0].count(EVERYTHING) == 1
    for store in stores:
        store.close()


def test_the_same_batch_inserted_again_is_harmless(store: SqlStore, clock: TestClock) -> None:
    """As after a COMMIT whose answer was lost."""
    rows = inserted(store, clock, 3, idempotency_hash=None)
    answers = store.insert(rows)
    assert [answer.existing for answer in answers] == [None, None, None]
    assert store.count(EVERYTHING) == 3


# --- claim ------------------------------------------------------------------------------------------------------------


def test_only_one_of_two_workers_acquires(store: SqlStore, clock: TestClock) -> None:
    rows = inserted(store, clock, 5)
    first, second = claimed(store, rows), claimed(store, rows)
    assert {row.id for row in first.acquired} == {row.id for row in rows}
    assert not second.acquired
    assert [deferred.remaining for deferred in second.deferred] == [LEASE] * 5


def test_many_workers_at_once_share_the_rows_without_overlap(database: DatabaseSettings, clock: TestClock) -> None:
    stores = [SqlStore(Database(database, clock=clock)) for _ in range(4)]
    rows = inserted(stores[0], clock, 100)
    together = threading.Barrier(len(stores))

    def work(store: SqlStore) -> list[str]:
        together.wait()
        return [row.id for part in range(0, 100, 10) for row in claimed(store, rows[part : part + 10]).acquired]

    with ThreadPoolExecutor(len(stores)) as threads:
        acquired = [id for part in threads.map(work, stores) for id in part]
    assert sorted(acquired) == sorted(row.id for row in rows)
    for store in stores:
        store.close()


def test_a_claim_raises_the_attempt_and_sets_a_lease(store: SqlStore, clock: TestClock) -> None:
    (row,) = claimed(store, inserted(store, clock)).acquired
    assert (row.status, row.attempt, row.lease_until) == (Status.SENDING, 1, clock() + LEASE)


def test_the_same_message_twice_in_a_batch_acquires_once(store: SqlStore, clock: TestClock) -> None:
    (row,) = inserted(store, clock)
    claims = claimed(store, [row, row])
    assert len(claims.acquired) == 1
    assert not claims.deferred


def test_a_row_that_is_not_due_is_held_until_it_is(store: SqlStore, clock: TestClock) -> None:
    (row,) = inserted(store, clock, next_attempt_at=clock() + timedelta(seconds=30))
    (deferred,) = claimed(store, [row]).deferred
    assert deferred.remaining == timedelta(seconds=30)
    clock.advance(seconds=30)
    assert len(claimed(store, [row]).acquired) == 1


@pytest.mark.parametrize("end", [Status.SENT, Status.FAILED, Status.UNKNOWN, Status.CANCELED, Status.EXPIRED])
def test_a_message_of_a_terminal_row_is_stale(store: SqlStore, clock: TestClock, end: Status) -> None:
    (row,) = inserted(store, clock, status=end)
    claims = claimed(store, [row])
    assert [message.id for message in claims.stale] == [row.id]
    assert not claims.acquired
    assert not claims.deferred


def test_messages_of_an_unknown_row_and_of_an_older_generation_are_stale(store: SqlStore, clock: TestClock) -> None:
    (waiting,) = inserted(store, clock, generation=2, next_attempt_at=clock() + LEASE)
    stale, unknown = make.message(waiting, generation=1), make.message(make.notification(clock()))
    assert store.claim([stale, unknown], LEASE).stale == [stale, unknown]


def test_past_its_expiry_a_row_is_not_claimed(store: SqlStore, clock: TestClock) -> None:
    (row,) = inserted(store, clock, expires_at=clock() + timedelta(seconds=5))
    clock.advance(seconds=5)
    assert not claimed(store, [row]).acquired


def test_a_claim_does_not_take_an_expired_lease(store: SqlStore, clock: TestClock) -> None:
    """Whether the provider was asked is not known: the sweep decides, by on_ambiguous."""
    rows = inserted(store, clock)
    claimed(store, rows)
    clock.advance(minutes=5)
    claims = claimed(store, rows)
    assert not claims.acquired
    assert len(claims.deferred) == 1


# --- settle -----------------------------------------------------------------------------------------------------------


def test_a_settlement_ends_the_row_and_is_its_event(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, inserted(store, clock))
    begun = clock()
    clock.advance(seconds=2)
    assert store.settle([sent(row, claims) for row in claims.acquired]) == []
    (row,) = claims.acquired
    after = store.get("acme", row.id)
    assert after is not None
    assert (after.status, after.provider, after.provider_message_id) == (Status.SENT, "smtp", "m-1")
    (only,) = store.events(row.id)
    assert (only.status, only.attempt, only.started_at, only.at) == (Status.SENT, 1, begun, clock())


def test_a_row_and_its_timeline_are_read_as_of_one_moment(
    store: SqlStore, database: DatabaseSettings, clock: TestClock
) -> None:
    """The worker settles between the look at the row and the look at its events."""
    claims = claimed(store, inserted(store, clock))
    (row,) = claims.acquired
    worker = SqlStore(Database(database, clock=clock))

    def meanwhile(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM notifications" in statement and status(worker, row) is Status.SENDING:
            worker.settle([sent(row, claims)])

    event.listen(store.database.engine, "after_cursor_execute", meanwhile)
    told = [store.get_with_timeline("acme", row.id) for _ in range(2)]
    worker.close()
    seen = [(found.status, [item.status for item in events]) for found, events in filter(None, told)]
    assert seen == [(Status.SENDING, []), (Status.SENT, [Status.SENT])]
    assert store.get_with_timeline("other", row.id) is None


def test_a_retry_is_due_after_its_delay_on_the_databases_clock(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, inserted(store, clock))
    (row,) = claims.acquired
    error = TransientError("451", "try later")
    delay = timedelta(seconds=30)
    store.settle([Settlement(claims=claims, notification=row, status=Status.RETRYING, error=error, delay=delay)])
    after = store.get("acme", row.id)
    assert after is not None
    assert (after.next_attempt_at, after.error_class, after.error_code) == (clock() + delay, "transient", "451")


def abandoned(store: SqlStore, clock: TestClock, *, after: float = 300) -> Claims:
    """Whose lease was seen to be over after so many seconds, and still was after the grace."""
    clock.advance(seconds=after)
    assert store.overdue(10, LEASE).abandoned is None
    clock.advance(seconds=SWEEP_GRACE.total_seconds())
    found = store.overdue(10, LEASE).abandoned
    assert found is not None
    return found


def test_a_lease_that_is_over_is_taken_over_after_the_grace_and_not_before(store: SqlStore, clock: TestClock) -> None:
    worker = claimed(store, inserted(store, clock, 2))
    clock.advance(minutes=30)
    assert store.overdue(10, LEASE).abandoned is None
    assert not store.settle([sent(worker.acquired[0], worker)])
    clock.advance(seconds=SWEEP_GRACE.total_seconds() - 1)
    assert store.overdue(10, LEASE).abandoned is None
    clock.advance(seconds=1)
    found = store.overdue(10, LEASE).abandoned
    assert found is not None
    assert [row.id for row in found.acquired] == [worker.acquired[1].id]
    assert found.token != worker.token


def test_a_dead_sweeps_own_lease_runs_out_too(store: SqlStore, clock: TestClock) -> None:
    claimed(store, inserted(store, clock))
    first = abandoned(store, clock)
    assert abandoned(store, clock).token != first.token


def test_a_lease_that_is_renewed_is_not_taken_over(store: SqlStore, clock: TestClock) -> None:
    kept, other = inserted(store, clock, 2)
    claims, others = claimed(store, [kept]), claimed(store, [other])
    clock.advance(seconds=LEASE.total_seconds() - 1)
    assert list(store.renew({kept.id: claims.token}, LEASE)) == [kept.id]
    assert [row.id for row in abandoned(store, clock, after=2).acquired] == [other.id]
    assert others.token != claims.token
    assert store.settle([sent(row, claims) for row in claims.acquired]) == []
    assert status(store, kept) is Status.SENT


def test_only_what_is_still_held_is_renewed(store: SqlStore, clock: TestClock) -> None:
    rows = inserted(store, clock, 3)
    claims, others = claimed(store, rows[:2]), claimed(store, rows[2:])
    ended, deferred = claims.acquired
    store.settle([sent(ended, claims)])
    clock.advance(seconds=1)
    tokens = {ended.id: claims.token, deferred.id: claims.token, rows[2].id: "not its own"}
    assert list(store.renew(tokens, LEASE)) == [deferred.id]
    remaining = {item.message.id: item.remaining for item in claimed(store, rows).deferred}
    assert remaining == {deferred.id: LEASE, rows[2].id: LEASE - timedelta(seconds=1)}
    assert store.settle([sent(row, others) for row in others.acquired]) == []


def test_a_lease_that_was_seen_to_run_out_can_be_renewed_in_the_grace(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, inserted(store, clock))
    clock.advance(seconds=LEASE.total_seconds() + 1)
    assert store.overdue(10, LEASE).abandoned is None  # the first look
    assert store.renew({row.id: claims.token for row in claims.acquired}, LEASE)
    clock.advance(seconds=SWEEP_GRACE.total_seconds() + 1)
    assert store.overdue(10, LEASE).abandoned is None


def test_the_ends_of_several_claims_are_written_together_and_each_is_fenced_by_its_own(
    store: SqlStore, clock: TestClock
) -> None:
    rows = inserted(store, clock, 3)
    first, second, third = (claimed(store, [row]) for row in rows)
    late = sent(third.acquired[0], third)
    clock.advance(seconds=LEASE.total_seconds() - 5)
    store.renew({rows[0].id: first.token, rows[1].id: second.token}, LEASE)
    again = abandoned(store, clock, after=6)
    assert [row.id for row in again.acquired] == [rows[2].id]
    (one,), (other,) = first.acquired, second.acquired
    swapped = [sent(one, second), sent(other, first), late]  # each token is one of the group's, and not its row's
    assert [item.notification.id for item in store.settle(swapped)] == [row.id for row in rows]
    assert [status(store, row) for row in rows] == [Status.SENDING] * 3
    assert store.settle([sent(one, first), sent(other, second), late]) == [late]
    assert [status(store, row) for row in rows] == [Status.SENT, Status.SENT, Status.SENDING]


def test_an_end_has_the_time_of_the_providers_answer_and_none_that_is_to_come(
    store: SqlStore, clock: TestClock
) -> None:
    rows, begun = inserted(store, clock, 2), clock()
    claims = replace(claimed(store, rows), elapsed=Elapsed(began=100.0, seconds=0.5))
    clock.advance(seconds=30)
    early, fast = (
        replace(sent(row, claims), elapsed=Elapsed(began=101.0, seconds=seconds))
        for row, seconds in zip(claims.acquired, (2.5, 3600), strict=True)
    )
    store.settle([early, fast])
    at = [event.at for row in claims.acquired for event in store.events(row.id)]
    assert at == [begun + timedelta(seconds=3), begun + timedelta(seconds=30)]


def test_what_lost_its_worker_is_claimed_alone(store: SqlStore, clock: TestClock) -> None:
    suspect, other = inserted(store, clock, 2)
    claimed(store, [suspect])
    lost = abandoned(store, clock)
    error = AmbiguousError(LEASE_EXPIRED, "no end")
    store.settle(
        [Settlement(claims=lost, notification=row, status=Status.RETRYING, error=error) for row in lost.acquired]
    )
    both = claimed(store, [suspect, other])
    assert [row.id for row in both.acquired] == [other.id]
    assert [(item.message.id, item.remaining) for item in both.isolate] == [(suspect.id, timedelta(0))]
    assert not both.deferred
    assert not both.stale
    assert not claimed(store, [suspect]).acquired
    isolate = claimed(store, [suspect], isolated=True)
    assert [row.id for row in isolate.acquired] == [suspect.id]
    store.settle([sent(row, isolate) for row in isolate.acquired])
    assert claimed(store, [suspect, other]).isolate == []


# --- how far a queue has got ------------------------------------------------------------------------------------------


def test_queue_progress_is_when_the_newest_delivered_row_was_queued(store: SqlStore, clock: TestClock) -> None:
    begun = clock()
    rows = []
    for channel in ("email", "email", "sms", "email"):
        clock.advance(seconds=1)
        (row,) = inserted(store, clock, channel=channel)
        rows.append((clock(), row))
    assert store.queue_progress("email", Priority.NORMAL, begun) is None
    claims = claimed(store, [rows[1][1], rows[2][1]])
    store.settle([sent(row, claims) for row in claims.acquired])
    assert store.queue_progress("email", Priority.NORMAL, begun) == rows[1][0]
    assert store.queue_progress("sms", Priority.NORMAL, begun) == rows[2][0]
    assert store.queue_progress("email", Priority.HIGH, begun) is None
    assert store.queue_progress("email", Priority.NORMAL, rows[1][0] + timedelta(milliseconds=1)) is None


def test_a_late_worker_cannot_overwrite(store: SqlStore, clock: TestClock) -> None:
    rows = inserted(store, clock)
    late = claimed(store, rows)
    taken_over = abandoned(store, clock)
    store.settle([Settlement(claims=taken_over, notification=rows[0], status=Status.UNKNOWN)])
    lost = store.settle([sent(row, late) for row in late.acquired])
    assert [settlement.notification.id for settlement in lost] == [rows[0].id]
    assert status(store, rows[0]) is Status.UNKNOWN
    assert [item.status for item in store.events(rows[0].id)] == [Status.UNKNOWN]


def test_settling_twice_writes_once(store: SqlStore, clock: TestClock) -> None:
    """As after a COMMIT whose answer was lost."""
    claims = claimed(store, inserted(store, clock))
    settlements = [sent(row, claims) for row in claims.acquired]
    assert store.settle(settlements) == []
    assert store.settle(settlements) == []
    assert len(store.events(claims.acquired[0].id)) == 1


def test_a_vendors_endless_words_do_not_undo_a_settlement(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, inserted(store, clock, 2))
    good, bad = claims.acquired
    error = PermanentError("ünendlich" * 50, "x" * 5000)
    ends = [
        Settlement(
            claims=claims, notification=good, status=Status.SENT, provider="smtp", provider_message_id="m" * 1000
        ),
        Settlement(claims=claims, notification=bad, status=Status.FAILED, provider="smtp", error=error),
    ]
    assert store.settle(ends) == []
    assert (status(store, good), status(store, bad)) == (Status.SENT, Status.FAILED)


def test_the_largest_metadata_and_content_fit(store: SqlStore, clock: TestClock) -> None:
    row = make.notification(clock(), metadata="\u2602" * 200_000, content='"\\' * 3_600_000)
    store.insert([row])
    assert store.get("acme", row.id) == replace(row, queued_at=clock())


def test_a_recipient_that_can_take_nothing_more_is_recorded(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, inserted(store, clock, 2, recipient="gone@example.com"))
    suppression = Suppression(recipient="gone@example.com", reason="mailbox_unknown")
    store.settle(
        [
            Settlement(claims=claims, notification=row, status=Status.FAILED, suppression=suppression)
            for row in claims.acquired
        ]
    )
    with store.database.engine.connect() as connection:
        rows = connection.execute(select(suppression_list)).all()
    assert [(row.tenant, row.recipient, row.reason) for row in rows] == [
        ("acme", "gone@example.com", "mailbox_unknown")
    ]


# --- sweep ------------------------------------------------------------------------------------------------------------


def test_what_could_not_be_queued_is_overdue_within_seconds(store: SqlStore, clock: TestClock) -> None:
    rows = inserted(store, clock)
    store.mark_unqueued(rows)
    assert not store.overdue(10, LEASE).wake
    clock.advance(seconds=SWEEP_GRACE.total_seconds())
    assert [row.id for row in store.overdue(10, LEASE).wake] == [rows[0].id]


def test_what_is_new_counts_as_queued_and_is_looked_at_after_some_seconds(store: SqlStore, clock: TestClock) -> None:
    inserted(store, clock)
    clock.advance(seconds=REQUEUE_AFTER.total_seconds())
    assert not store.overdue(10, LEASE).wake
    clock.advance(seconds=SWEEP_GRACE.total_seconds())
    assert len(store.overdue(10, LEASE).wake) == 1


def test_what_waits_in_its_queue_is_looked_at_after_the_pause(store: SqlStore, clock: TestClock) -> None:
    rows = inserted(store, clock)
    clock.advance(minutes=1)
    assert len(store.overdue(10, LEASE).wake) == 1
    store.mark_waiting(rows, timedelta(minutes=2))
    clock.advance(minutes=2)
    assert not store.overdue(10, LEASE).wake
    clock.advance(seconds=SWEEP_GRACE.total_seconds())
    assert len(store.overdue(10, LEASE).wake) == 1


def test_what_a_worker_has_had_meanwhile_is_not_marked(store: SqlStore, clock: TestClock) -> None:
    """A wave that was half confirmed: its messages may be delivered before it is known to have failed."""
    rows = inserted(store, clock, 2)
    sending, retrying = rows
    claims = claimed(store, [retrying])
    delay = timedelta(hours=1)
    store.settle(
        [Settlement(claims=claims, notification=row, status=Status.RETRYING, delay=delay) for row in claims.acquired]
    )
    claimed(store, [sending])
    store.mark_unqueued(rows)
    clock.advance(seconds=SWEEP_GRACE.total_seconds())
    assert not store.overdue(10, LEASE).wake


Mark = Callable[[SqlStore, Sequence[Notification]], None]


@pytest.mark.parametrize(
    "mark",
    [
        lambda store, rows: store.mark_queued(rows),
        lambda store, rows: store.mark_waiting(rows, timedelta(minutes=2)),
        lambda store, rows: store.mark_unqueued(rows),
    ],
    ids=["queued", "waiting", "unqueued"],
)
def test_a_mark_leaves_alone_what_a_quicker_worker_settled(store: SqlStore, clock: TestClock, mark: Mark) -> None:
    """The next attempt stays when it was to be: the sweep does not look before."""
    inserted(store, clock)
    clock.advance(minutes=1)
    seen = store.overdue(10, LEASE).wake
    claims = claimed(store, seen)
    (row,) = claims.acquired
    store.settle([Settlement(claims=claims, notification=row, status=Status.RETRYING, delay=HOUR)])
    before = store.get("acme", row.id)
    mark(store, seen)
    assert store.get("acme", row.id) == before
    clock.advance(minutes=59)
    assert not store.overdue(10, LEASE).wake


@pytest.mark.parametrize(
    "mark",
    [lambda store, rows: store.mark_queued(rows), lambda store, rows: store.mark_unqueued(rows)],
    ids=["queued", "unqueued"],
)
def test_a_mark_leaves_alone_what_was_replayed_meanwhile(store: SqlStore, clock: TestClock, mark: Mark) -> None:
    seen = inserted(store, clock)
    claims = claimed(store, seen)
    store.settle([Settlement(claims=claims, notification=row, status=Status.FAILED) for row in claims.acquired])
    store.reset_for_replay(EVERYTHING, 10, HOUR)
    mark(store, seen)
    clock.advance(minutes=59)
    assert not store.overdue(10, LEASE).wake
    clock.advance(minutes=1)
    assert len(store.overdue(10, LEASE).wake) == 1


def test_two_sweeps_do_not_find_the_same(store: SqlStore, clock: TestClock) -> None:
    inserted(store, clock, 3)
    clock.advance(minutes=1)
    assert len(store.overdue(10, LEASE).wake) == 3
    assert not store.overdue(10, LEASE).wake


def test_a_scheduled_row_is_found_when_it_is_due_and_not_before(store: SqlStore, clock: TestClock) -> None:
    due = clock() + timedelta(seconds=90)
    inserted(store, clock, send_at=due, next_attempt_at=due)
    clock.advance(seconds=89)
    assert not store.overdue(10, LEASE).wake
    clock.advance(seconds=1)
    assert len(store.overdue(10, LEASE).wake) == 1


def test_a_retry_whose_message_was_lost_is_found(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, inserted(store, clock))
    delay = timedelta(seconds=30)
    store.settle(
        [Settlement(claims=claims, notification=row, status=Status.RETRYING, delay=delay) for row in claims.acquired]
    )
    clock.advance(seconds=30)
    assert not store.overdue(10, LEASE).wake
    clock.advance(seconds=SWEEP_GRACE.total_seconds())
    assert len(store.overdue(10, LEASE).wake) == 1


def test_what_is_past_its_expiry_becomes_expired(store: SqlStore, clock: TestClock) -> None:
    (row,) = inserted(store, clock, expires_at=clock() + timedelta(seconds=5))
    assert store.overdue(10, LEASE).expired == 0
    clock.advance(seconds=5)
    assert store.overdue(10, LEASE).expired == 1
    assert status(store, row) is Status.EXPIRED
    assert [item.status for item in store.events(row.id)] == [Status.EXPIRED]


def test_a_sweep_takes_no_more_than_its_limit(store: SqlStore, clock: TestClock) -> None:
    inserted(store, clock, 5)
    clock.advance(minutes=1)
    found = store.overdue(3, LEASE)
    assert (len(found.wake), found.more) == (3, True)
    assert len(store.overdue(3, LEASE).wake) == 2


def test_a_dead_letter_that_is_owed_is_found_until_it_is_confirmed(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, inserted(store, clock))
    error = PermanentError("550", "no")
    failed = [Settlement(claims=claims, notification=row, status=Status.FAILED, error=error) for row in claims.acquired]
    store.settle(failed, dead_letters_owed=True)
    clock.advance(seconds=SWEEP_GRACE.total_seconds())
    (owed,) = store.overdue(10, LEASE).dead_letters_owed
    store.mark_dead_letter_published([owed])
    clock.advance(minutes=10)
    assert not store.overdue(10, LEASE).dead_letters_owed


def test_a_dead_letter_of_a_later_generation_is_still_owed(store: SqlStore, clock: TestClock) -> None:
    """It was replayed and failed again between the sweep's publishing and its mark."""

    def fail(row: Notification) -> None:
        claims = claimed(store, [row])
        ends = [Settlement(claims=claims, notification=one, status=Status.FAILED) for one in claims.acquired]
        store.settle(ends, dead_letters_owed=True)

    (row,) = inserted(store, clock)
    fail(row)
    clock.advance(seconds=SWEEP_GRACE.total_seconds())
    (owed,) = store.overdue(10, LEASE).dead_letters_owed
    (revived,) = store.reset_for_replay(EVERYTHING, 10, timedelta(0))
    fail(revived)
    store.mark_dead_letter_published([owed])
    clock.advance(seconds=SWEEP_GRACE.total_seconds())
    assert [again.generation for again in store.overdue(10, LEASE).dead_letters_owed] == [2]


# --- replay and cancel ------------------------------------------------------------------------------------------------


def failed(
    store: SqlStore, clock: TestClock, count: int = 1, code: str = "550", **changes: object
) -> list[Notification]:
    claims = claimed(store, inserted(store, clock, count, **changes))
    error = PermanentError(code, "no")
    store.settle(
        [Settlement(claims=claims, notification=row, status=Status.FAILED, error=error) for row in claims.acquired]
    )
    return list(claims.acquired)


def test_a_replayed_row_is_pending_one_generation_later(store: SqlStore, clock: TestClock) -> None:
    (row,) = failed(store, clock)
    (revived,) = store.reset_for_replay(EVERYTHING, 10, timedelta(0))
    after = store.get("acme", row.id)
    assert after is not None
    assert (after.status, after.generation, after.attempt) == (Status.PENDING, 2, 0)
    assert (revived.id, revived.generation) == (row.id, 2)
    assert [item.status for item in store.events(row.id)] == [Status.FAILED, Status.PENDING]


def test_reviving_twice_finds_nothing_the_second_time(store: SqlStore, clock: TestClock) -> None:
    failed(store, clock, 3)
    assert len(store.reset_for_replay(EVERYTHING, 10, timedelta(0))) == 3
    assert not store.reset_for_replay(EVERYTHING, 10, timedelta(0))


def test_a_replay_whose_commit_was_not_answered_answers_its_rows_and_takes_no_others(
    store: SqlStore, clock: TestClock
) -> None:
    rows = failed(store, clock, 4)
    with commits_unanswered(store.database, times=1):
        revived = store.reset_for_replay(EVERYTHING, 2, timedelta(0))
    assert [(row.id, row.generation) for row in revived] == [(row.id, 2) for row in rows[:2]]
    assert store.count(replace(EVERYTHING, statuses=[Status.FAILED])) == 2
    assert [item.status for item in store.events(rows[0].id)] == [Status.FAILED, Status.PENDING]


def test_a_replay_answers_the_rows_as_they_then_are(store: SqlStore, clock: TestClock) -> None:
    (row,) = failed(store, clock)
    clock.advance(hours=1)
    (revived,) = store.reset_for_replay(EVERYTHING, 10, timedelta(0))
    after = store.get("acme", row.id)
    assert after is not None
    assert revived.updated_at == after.updated_at == clock()


def test_only_what_is_selected_is_revived(store: SqlStore, clock: TestClock) -> None:
    failed(store, clock, code="550", tenant="acme")
    failed(store, clock, code="21211", tenant="acme", channel="sms")
    failed(store, clock, code="550", tenant="other")
    inserted(store, clock)
    assert [
        row.channel for row in store.reset_for_replay(replace(EVERYTHING, error_code="21211"), 10, timedelta(0))
    ] == ["sms"]
    assert [row.tenant for row in store.reset_for_replay(EVERYTHING, 10, timedelta(0))] == ["acme"]
    assert store.count(Selection(tenant="other", statuses=[Status.FAILED])) == 1


def test_a_row_revived_for_later_is_due_then(store: SqlStore, clock: TestClock) -> None:
    (row,) = failed(store, clock)
    store.reset_for_replay(EVERYTHING, 10, timedelta(seconds=7))
    assert not claimed(store, [replace(row, generation=2)]).acquired
    clock.advance(seconds=7)
    assert len(store.overdue(10, LEASE).wake) == 1
    assert len(claimed(store, [replace(row, generation=2)]).acquired) == 1


def test_a_cancel_and_a_claim_have_one_winner(store: SqlStore, clock: TestClock) -> None:
    first, second = inserted(store, clock, 2)
    canceled = store.cancel("acme", first.id)
    assert canceled is not None
    assert (canceled.notification.status, canceled.by_this_call) == (Status.CANCELED, True)
    assert store.cancel("acme", first.id) == replace(canceled, by_this_call=False)
    assert not claimed(store, [first]).acquired
    claimed(store, [second])
    too_late = store.cancel("acme", second.id)
    assert too_late is not None
    assert (too_late.notification.status, too_late.by_this_call) == (Status.SENDING, False)


def test_a_cancel_and_a_claim_that_race_have_one_winner_each_time(database: DatabaseSettings, clock: TestClock) -> None:
    claiming, canceling = [SqlStore(Database(database, clock=clock)) for _ in range(2)]
    rows = inserted(claiming, clock, 200)
    together = threading.Barrier(2)

    def work(row: Notification) -> bool:
        together.wait()
        return len(claimed(claiming, [row]).acquired) == 1

    def cancel(row: Notification) -> bool:
        together.wait()
        found = canceling.cancel("acme", row.id)
        assert found is not None
        return found.by_this_call

    with ThreadPoolExecutor(2) as threads:
        for row in rows:
            won = threads.submit(work, row), threads.submit(cancel, row)
            acquired, canceled = (each.result() for each in won)
            assert acquired != canceled
            assert status(claiming, row) is (Status.SENDING if acquired else Status.CANCELED)
    for store in (claiming, canceling):
        store.close()


def unknown(store: SqlStore, clock: TestClock) -> Notification:
    claims = claimed(store, inserted(store, clock, on_ambiguous=OnAmbiguous.HOLD))
    (row,) = claims.acquired
    error = AmbiguousError("timeout", "no answer")
    store.settle([Settlement(claims=claims, notification=row, status=Status.UNKNOWN, provider="smtp", error=error)])
    return row


def test_an_unknown_row_is_resolved_once_and_its_timeline_says_by_whom(store: SqlStore, clock: TestClock) -> None:
    row = unknown(store, clock)
    first, second = (store.resolve("acme", row.id) for _ in range(2))
    after = store.get("acme", row.id)
    assert after is not None
    assert (after.status, after.provider, after.error_class) == (Status.SENT, "operator", "ambiguous")
    assert first == Changed(notification=after, by_this_call=True)
    assert second == Changed(notification=after, by_this_call=False)
    ends = [(item.status, item.provider) for item in store.events(row.id)]
    assert ends == [(Status.UNKNOWN, "smtp"), (Status.SENT, "operator")]


@pytest.mark.parametrize("end", sorted({*Status} - {Status.UNKNOWN}))
def test_only_an_unknown_row_is_resolved(store: SqlStore, clock: TestClock, end: Status) -> None:
    (row,) = inserted(store, clock, status=end)
    before = store.get("acme", row.id)
    assert before is not None
    assert store.resolve("acme", row.id) == Changed(notification=before, by_this_call=False)
    assert store.get("acme", row.id) == before
    assert not store.events(row.id)


def test_a_resolve_and_a_replay_have_one_winner(store: SqlStore, clock: TestClock) -> None:
    row = unknown(store, clock)
    store.resolve("acme", row.id)
    assert not store.reset_for_replay(EVERYTHING, 10, timedelta(0))
    other = unknown(store, clock)
    store.reset_for_replay(EVERYTHING, 10, timedelta(0))
    late = store.resolve("acme", other.id)
    assert late is not None
    assert (late.notification.status, late.by_this_call) == (Status.PENDING, False)


# --- what has expired, and what may have been sent --------------------------------------------------------------------


def test_what_has_expired_is_revived_only_with_a_new_expiry(store: SqlStore, clock: TestClock) -> None:
    (expired,) = failed(store, clock, expires_at=clock() + HOUR)
    clock.advance(minutes=59)
    (lasting,) = failed(store, clock, expires_at=clock() + HOUR)
    clock.advance(minutes=1)
    assert store.count(replace(EVERYTHING, lasts=timedelta(0))) == 1
    assert store.count_by_expiry(EVERYTHING) == (1, 1)
    assert store.count_by_expiry(replace(EVERYTHING, tenant="nobody")) == (0, 0)
    assert [row.id for row in store.find(replace(EVERYTHING, expires_within=timedelta(0)), 10)] == [expired.id]
    assert [row.id for row in store.reset_for_replay(EVERYTHING, 10, timedelta(0))] == [lasting.id]
    assert not store.reset_for_replay(EVERYTHING, 10, timedelta(0), expires_at=clock())
    (revived,) = store.reset_for_replay(EVERYTHING, 10, timedelta(0), expires_at=clock() + HOUR)
    after = store.get("acme", expired.id)
    assert after is not None
    assert (after.status, after.expires_at) == (Status.PENDING, clock() + HOUR)
    assert revived.expires_at == after.expires_at


def test_a_new_expiry_takes_the_place_of_those_alone_that_are_over(store: SqlStore, clock: TestClock) -> None:
    ends = [clock() + HOUR, clock() + 3 * HOUR, None]
    rows = [row for end in ends for row in failed(store, clock, expires_at=end)]
    clock.advance(hours=2)
    store.reset_for_replay(EVERYTHING, 10, timedelta(0), expires_at=clock() + HOUR)
    found = [store.get("acme", row.id) for row in rows]
    assert [row and row.expires_at for row in found] == [clock() + HOUR, clock() + HOUR, None]


def test_what_would_expire_before_its_turn_is_not_revived(store: SqlStore, clock: TestClock) -> None:
    failed(store, clock, expires_at=clock() + timedelta(seconds=30))
    assert not store.reset_for_replay(EVERYTHING, 10, timedelta(seconds=30))
    assert len(store.reset_for_replay(EVERYTHING, 10, timedelta(seconds=29))) == 1


def test_an_ambiguous_attempt_is_remembered_through_later_ones_and_replays(store: SqlStore, clock: TestClock) -> None:
    (plain,) = inserted(store, clock)
    clock.advance(milliseconds=1)
    (doubtful,) = inserted(store, clock)

    def end(row: Notification, error: DeliveryError, status: Status) -> None:
        claims = claimed(store, [row])
        delay = timedelta(0) if status is Status.RETRYING else None
        ends = [
            Settlement(claims=claims, notification=one, status=status, error=error, delay=delay)
            for one in claims.acquired
        ]
        assert ends
        store.settle(ends)

    ids = [plain.id, doubtful.id]
    end(doubtful, AmbiguousError("timeout", "no answer"), Status.RETRYING)
    assert set(store.may_have_been_sent(ids)) == {doubtful.id}
    for row in (plain, doubtful):
        end(row, PermanentError("550", "no"), Status.FAILED)
    assert set(store.may_have_been_sent(ids)) == {doubtful.id}
    for row in store.reset_for_replay(EVERYTHING, 10, timedelta(0)):
        end(row, PermanentError("550", "no"), Status.FAILED)
    assert set(store.may_have_been_sent(ids)) == {doubtful.id}
    assert store.count_doubtful(EVERYTHING, 10) == 1
    assert store.count_doubtful(EVERYTHING, 1) == 0, "of the oldest so many"
    assert store.count_doubtful(replace(EVERYTHING, ids=[doubtful.id]), 10) == 1


@pytest.mark.parametrize("end", [Status.CANCELED, Status.EXPIRED])
def test_a_doubt_outlasts_a_cancel_and_an_expiry(store: SqlStore, clock: TestClock, end: Status) -> None:
    (row,) = inserted(store, clock, expires_at=clock() + HOUR)
    claims = claimed(store, [row])
    error = AmbiguousError("timeout", "no answer")
    store.settle(
        [
            Settlement(claims=claims, notification=one, status=Status.RETRYING, error=error, delay=HOUR)
            for one in claims.acquired
        ]
    )
    clock.advance(hours=2)
    store.cancel("acme", row.id) if end is Status.CANCELED else store.overdue(10, LEASE)
    after = store.get("acme", row.id)
    assert after is not None
    assert (after.status, after.error_class) == (end, "ambiguous")
    assert set(store.may_have_been_sent([row.id])) == {row.id}


# --- reads ------------------------------------------------------------------------------------------------------------


def test_another_tenants_row_is_not_there(store: SqlStore, clock: TestClock) -> None:
    (row,) = inserted(store, clock, tenant="acme")
    assert store.get("other", row.id) is None
    assert store.cancel("other", row.id) is None
    assert store.resolve("other", row.id) is None
    assert store.find(Selection(tenant="other"), 10) == []


def test_a_list_is_newest_first_and_pages_without_gaps(store: SqlStore, clock: TestClock) -> None:
    rows = []
    for _ in range(7):
        clock.advance(milliseconds=1)
        rows += inserted(store, clock)
    first = store.find(EVERYTHING, 4)
    rest = store.find(replace(EVERYTHING, before_id=first[-1].id), 4)
    assert store.find(replace(EVERYTHING, after_id=rest[0].id), 1, oldest_first=True) == first[-1:]
    assert [row.id for row in [*first, *rest]] == [row.id for row in reversed(rows)]


def test_times_select_by_creation(store: SqlStore, clock: TestClock) -> None:
    inserted(store, clock)
    clock.advance(seconds=10)
    middle = clock()
    (row,) = inserted(store, clock)
    clock.advance(seconds=10)
    inserted(store, clock)
    found = store.find(replace(EVERYTHING, since=middle, until=middle + timedelta(seconds=1)), 10)
    assert [item.id for item in found] == [row.id]


def test_a_list_leaves_the_content_out(store: SqlStore, clock: TestClock) -> None:
    inserted(store, clock)
    assert store.find(EVERYTHING, 1)[0].content == ""


def test_a_sweep_and_a_replay_leave_the_contents_out(store: SqlStore, clock: TestClock) -> None:
    """500 mails with attachments would be gigabytes."""
    failed(store, clock)
    assert [row.content for row in store.reset_for_replay(EVERYTHING, 10, timedelta(0))] == [""]
    clock.advance(minutes=1)
    assert [row.content for row in store.overdue(10, LEASE).wake] == [""]
    assert "Shipped" in claimed(store, store.find(EVERYTHING, 1)).acquired[0].content


def test_an_ambiguous_end_is_told_from_others(store: SqlStore, clock: TestClock) -> None:
    claims = claimed(store, inserted(store, clock, on_ambiguous=OnAmbiguous.HOLD))
    (row,) = claims.acquired
    store.settle(
        [Settlement(claims=claims, notification=row, status=Status.UNKNOWN, error=AmbiguousError("timeout", "?"))]
    )
    assert store.count(replace(EVERYTHING, error_class="ambiguous")) == 1
    assert store.count(replace(EVERYTHING, error_class="permanent")) == 0


# --- cost and failure -------------------------------------------------------------------------------------------------


def test_a_batch_of_any_size_takes_the_same_number_of_statements(store: SqlStore, clock: TestClock) -> None:
    counted: list[str] = []
    event.listen(store.database.engine, "before_cursor_execute", lambda *args: counted.append(args[2]))
    counts = []
    for size in (2, 200):
        counted.clear()
        rows = inserted(store, clock, size)
        store.mark_queued(rows)
        claims = claimed(store, rows)
        store.settle([sent(row, claims) for row in claims.acquired])
        counts.append(len(counted))
    assert counts[0] == counts[1]


def test_thousands_due_in_one_minute_come_page_by_page_in_the_same_number_of_statements(
    store: SqlStore, clock: TestClock
) -> None:
    due = clock() + timedelta(hours=1)
    times = [due + timedelta(seconds=number % 60) for number in range(5000)]
    rows = [make.notification(clock(), send_at=at, next_attempt_at=at) for at in times]
    for start in range(0, 5000, 500):
        store.insert(rows[start : start + 500])
    counted: list[str] = []
    event.listen(store.database.engine, "before_cursor_execute", lambda *args: counted.append(args[2]))
    clock.now = due + timedelta(seconds=29)
    pages, more = [], True
    while more:
        counted.clear()
        page = store.overdue(500, LEASE)
        pages.append((len(page.wake), len(counted)))
        assert all(row.send_at is not None and row.send_at <= clock() for row in page.wake)
        store.mark_queued(page.wake)
        more = page.more
    assert sum(size for size, _ in pages) == sum(at <= clock() for at in times)  # to the second: none early, none late
    assert {size for size, _ in pages[:-1]} == {500}
    assert len({statements for size, statements in pages if size}) == 1


# --- retention --------------------------------------------------------------------------------------------------------

KEEP = timedelta(days=30)


def ended(store: SqlStore, clock: TestClock, status: Status = Status.SENT) -> Notification:
    (row,) = inserted(store, clock)
    claims = claimed(store, [row])
    store.settle([replace(sent(row, claims), status=status) for row in claims.acquired])
    return row


def test_what_has_been_over_for_long_is_deleted_with_its_timeline(store: SqlStore, clock: TestClock) -> None:
    old = [ended(store, clock, status) for status in (Status.SENT, Status.FAILED)]
    (canceled,) = inserted(store, clock)
    store.cancel("acme", canceled.id)
    clock.advance(days=30)
    assert store.purge(KEEP, 10).rows == 0  # not yet: as long as that, and no less
    clock.advance(seconds=1)
    young = ended(store, clock)
    assert store.purge(KEEP, 10).rows == 3
    assert [row.id for row in store.find(EVERYTHING, 10)] == [young.id]
    assert not any(store.events(row.id) for row in (*old, canceled))
    assert store.events(young.id)


def test_what_still_moves_or_waits_for_a_person_is_never_deleted(store: SqlStore, clock: TestClock) -> None:
    pending, retrying, sending = inserted(store, clock, 3)
    unknown = ended(store, clock, Status.UNKNOWN)
    claims = claimed(store, [retrying])
    again = Settlement(claims=claims, notification=claims.acquired[0], status=Status.RETRYING, delay=timedelta(hours=1))
    store.settle([again])
    claimed(store, [sending])
    owed = claimed(store, inserted(store, clock))
    store.settle([replace(sent(row, owed), status=Status.FAILED) for row in owed.acquired], dead_letters_owed=True)
    clock.advance(days=365)
    assert store.purge(KEEP, 10).rows == 0
    kept = {row.id for row in store.find(EVERYTHING, 10)}
    assert kept == {pending.id, retrying.id, sending.id, unknown.id, owed.acquired[0].id}


def test_an_old_row_that_came_to_its_end_lately_is_kept(store: SqlStore, clock: TestClock) -> None:
    row = ended(store, clock, Status.FAILED)
    clock.advance(days=40)
    store.reset_for_replay(EVERYTHING, 10, timedelta(0))
    (revived,) = store.find(EVERYTHING, 10)
    claims = claimed(store, [revived])
    store.settle([sent(item, claims) for item in claims.acquired])
    assert store.purge(KEEP, 10).rows == 0
    assert store.get("acme", row.id) is not None


def test_the_retention_goes_page_by_page_the_oldest_first(store: SqlStore, clock: TestClock) -> None:
    rows = []
    for _ in range(5):
        rows.append(ended(store, clock))
        clock.advance(seconds=1)
    clock.advance(days=31)
    first = store.purge(KEEP, 3)
    assert (first.rows, first.last) == (3, rows[2].id)
    assert {row.id for row in store.find(EVERYTHING, 10)} == {row.id for row in rows[3:]}
    second = store.purge(KEEP, 3, after=rows[2].id)
    assert (second.rows, second.last) == (2, None)


def test_suppressions_that_ended_leave_with_the_retention_page_by_page(store: SqlStore, clock: TestClock) -> None:
    def suppressed(count: int) -> None:
        claims = claimed(store, inserted(store, clock, count))
        ends = [
            Settlement(
                claims=claims,
                notification=row,
                status=Status.FAILED,
                suppression=Suppression(recipient=row.recipient, reason="hard_bounce", lasts=timedelta(0)),
            )
            for row in claims.acquired
        ]
        store.settle(ends)

    for count in (2, 3):
        suppressed(count)
        clock.advance(seconds=1)
    clock.advance(hours=24 * 30)
    suppressed(1)
    assert [store.purge_suppressions(timedelta(days=30), 2) for _ in range(3)] == [2, 3, 0]  # all of one moment leave
    with store.database.engine.connect() as connection:
        assert len(connection.execute(select(suppression_list)).all()) == 1


def test_a_key_may_be_used_again_once_its_row_is_gone(store: SqlStore, clock: TestClock) -> None:
    (row,) = inserted(store, clock, idempotency_hash="h1")
    store.cancel("acme", row.id)
    clock.advance(days=31)
    store.purge(KEEP, 10)
    (answer,) = store.insert([make.notification(clock(), idempotency_hash="h1")])
    assert answer.existing is None


def test_without_a_schema_the_check_names_the_remedy(mariadb_url: str) -> None:
    store = SqlStore(Database(DatabaseSettings(database_url=mariadb_url)))
    with pytest.raises(StoreUnavailable, match=r"tidings\.migrate"):
        store.check()
    store.close()


def test_a_database_that_is_not_there_is_unavailable_and_says_nothing_of_the_rows(clock: TestClock) -> None:
    settings = DatabaseSettings(database_url="mysql+pymysql://nobody:secret@127.0.0.1:9/none", database_timeout=2)
    store = SqlStore(Database(settings))
    with pytest.raises(StoreUnavailable) as caught:
        store.insert([make.notification(clock())])
    assert "example.com" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_wake_at_is_empty_once_a_row_has_ended(store: SqlStore, clock: TestClock) -> None:
    """The index that the sweep reads holds only what still moves."""
    claims = claimed(store, inserted(store, clock, 3))
    store.settle([sent(row, claims) for row in claims.acquired])
    with store.database.engine.connect() as connection:
        assert connection.scalars(select(notifications.c.wake_at)).all() == [None, None, None]

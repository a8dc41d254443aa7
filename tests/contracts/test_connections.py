"""What every Store promises of connections: whether a provider refuses our account, shared by all workers."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from tidings.adapters.sql.store import SqlStore
from tidings.domain.connection import SEVERAL, CallEnd, Connection
from tidings.domain.errors import AccountError, TransientError
from tidings.domain.notification import Notification, Status
from tidings.domain.timing import FIRST_PROBE, LONGEST_PROBE, LONGEST_PROBE_RETRY_AFTER, SUSPECT_FOR
from tidings.ports import Selection, Settlement

from tests import make
from tests.clock import TestClock

LEASE = timedelta(seconds=15)
ACCEPTED = CallEnd(notification_id="a", recipient="ada@example.com", accepted=True)


def refused(recipient: str, **more: object) -> CallEnd:
    end = CallEnd(notification_id=recipient, recipient=recipient, refused=True, code="20003", message="wrong token")
    return replace(end, **more)  # type: ignore[arg-type]


def several(count: int = SEVERAL) -> list[CallEnd]:
    return [refused(f"somebody{number}@example.com") for number in range(count)]


def report(store: SqlStore, *ends: CallEnd) -> Connection:
    return store.report("twilio", "sms", ends)[1]


def refusing(store: SqlStore, clock: TestClock) -> Connection:
    report(store, *several())
    clock.advance(seconds=SUSPECT_FOR.total_seconds())
    return report(store, refused("somebody@example.com"))


def test_an_unknown_provider_has_no_connection(store: SqlStore) -> None:
    assert store.connections() == []


def test_an_acceptance_is_kept_with_its_time(store: SqlStore, clock: TestClock) -> None:
    for _ in range(2):
        clock.advance(seconds=5)
        assert report(store, ACCEPTED).accepted_at == clock()
    (found,) = store.connections()
    assert found == Connection(name="twilio", channel="sms", at=clock(), accepted_at=clock())


def test_several_refused_recipients_are_needed_and_some_time(store: SqlStore, clock: TestClock) -> None:
    for _ in range(5):
        clock.advance(seconds=10)
        assert report(store, *several(SEVERAL - 1)).is_open, "the same recipients, however often"
    assert not report(store, *several()).is_open
    report(store, ACCEPTED)
    report(store, *several())
    assert not store.connections()[0].is_refusing, "others may be accepted at this moment"
    clock.advance(seconds=SUSPECT_FOR.total_seconds())
    begun = clock() - SUSPECT_FOR
    stands = report(store, refused("somebody@example.com"))
    assert (stands.refusing_at, stands.error_code, stands.error_message) == (begun, "20003", "wrong token")
    assert store.connections() == [stands]


def test_an_acceptance_outweighs_the_refusals_beside_it(store: SqlStore, clock: TestClock) -> None:
    assert report(store, *several(), ACCEPTED).is_clean
    assert refusing(store, clock).is_refusing
    before, after = store.report("twilio", "sms", [*several(), ACCEPTED])
    assert before.is_refusing
    assert after.is_clean
    assert store.connections() == [after]


def test_one_worker_reports_the_begin_of_a_refusal_and_one_its_end(store: SqlStore, clock: TestClock) -> None:
    report(store, *several())
    clock.advance(seconds=SUSPECT_FOR.total_seconds())
    for end, changed in ((refused("b@example.com"), (False, True)), (ACCEPTED, (True, False))):
        with ThreadPoolExecutor(8) as threads:
            told = list(threads.map(lambda end: store.report("twilio", "sms", [end]), [end] * 8))
        assert [(b.is_refusing, a.is_refusing) for b, a in told].count(changed) == 1


def test_many_workers_that_report_a_new_provider_create_one_row(store: SqlStore) -> None:
    ends = [several(8)[number] for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda end: report(store, end), ends))
    (found,) = store.connections()
    assert len(set(found.suspects)) == SEVERAL


def test_probes_have_growing_pauses_and_honour_retry_after(store: SqlStore, clock: TestClock) -> None:
    refusing(store, clock)
    pauses = []
    for number in range(12):
        clock.advance(minutes=11)
        assert store.take_probe("twilio", f"probe-{number}", LEASE)
        assert not store.take_probe("twilio", "another", LEASE)
        stands = report(store, refused("c@example.com", notification_id=f"probe-{number}"))
        pauses.append(stands.probe_in)
    assert pauses == [min(FIRST_PROBE * 2**number, LONGEST_PROBE) for number in range(1, 13)]
    clock.advance(minutes=11)
    assert store.take_probe("twilio", "last", LEASE)
    wish = refused("c@example.com", notification_id="last", retry_after=timedelta(hours=24))
    assert report(store, wish).probe_in == LONGEST_PROBE_RETRY_AFTER


def test_a_refusal_that_was_no_probe_moves_no_probe(store: SqlStore, clock: TestClock) -> None:
    refusing(store, clock)
    clock.advance(minutes=11)
    due = report(store, refused("late@example.com"))
    assert not due.probe_in


def test_a_probe_whose_recipient_was_refused_lets_the_next_be_sent_at_once(store: SqlStore, clock: TestClock) -> None:
    refusing(store, clock)
    clock.advance(minutes=11)
    assert store.take_probe("twilio", "probe", LEASE)
    report(store, CallEnd(notification_id="probe", recipient="x", permanent=True))
    assert store.take_probe("twilio", "next", LEASE)


def test_a_probe_that_died_with_its_worker_is_followed_by_another(store: SqlStore, clock: TestClock) -> None:
    refusing(store, clock)
    clock.advance(minutes=11)
    row = make.notification(clock(), channel="sms")
    store.insert([row])
    assert store.take_probe("twilio", row.id, LEASE)
    claims = store.claim([make.message(row)], LEASE)
    clock.advance(minutes=11)
    assert not store.take_probe("twilio", "another", LEASE), "its row is being sent, by a lease that is renewed"
    transient = TransientError("timeout", "no answer")
    store.settle(
        [
            Settlement(claims=claims, notification=one, status=Status.RETRYING, error=transient, delay=LEASE)
            for one in claims.acquired
        ]
    )
    assert store.take_probe("twilio", "another", LEASE)
    store.release_probe("twilio", "another")
    assert store.take_probe("twilio", "a third", LEASE)


def test_only_one_of_many_workers_takes_a_probe(store: SqlStore, clock: TestClock) -> None:
    refusing(store, clock)
    clock.advance(minutes=11)
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda number: store.take_probe("twilio", f"probe-{number}", LEASE), range(8)))
    assert taken.count(True) == 1


def test_an_open_connection_has_no_probe(store: SqlStore) -> None:
    assert not store.take_probe("twilio", "probe", LEASE)
    report(store, ACCEPTED)
    assert not store.take_probe("twilio", "probe", LEASE)


def test_a_vendors_long_text_is_cut_and_fails_no_settlement(store: SqlStore, clock: TestClock) -> None:
    report(store, *[refused(end.recipient, code="é" * 500, message="ü" * 5000) for end in several()])
    (found,) = store.connections()
    assert (found.error_code, found.error_message) == ("?" * 64, "ü" * 500)


# --- what waits -------------------------------------------------------------------------------------------------------


def settled(store: SqlStore, rows: Sequence[Notification], error: Exception | None, *, uncounted: bool) -> None:
    claims = store.claim([make.message(row) for row in rows], LEASE)
    store.settle(
        [
            Settlement(
                claims=claims,
                notification=row,
                status=Status.RETRYING,
                error=error,  # type: ignore[arg-type]
                delay=timedelta(seconds=1),
                uncounted=uncounted,
            )
            for row in claims.acquired
        ]
    )


def refused_at(store: SqlStore, row: Notification) -> object:
    found = store.get(row.tenant, row.id)
    assert found is not None
    return found.refused_at


def test_a_row_knows_since_when_our_account_keeps_it(store: SqlStore, clock: TestClock) -> None:
    row = make.notification(clock(), channel="sms")
    store.insert([row])
    account, later = AccountError("20003", "wrong token"), TransientError("429", "slow down")
    since = clock()
    for error, uncounted, kept in (
        (account, True, True),
        (None, True, True),  # not sent, for want of time
        (account, False, True),  # counted, since others were accepted
        (TransientError("5.7.1", "denied", may_be_account=True), True, True),
        (later, False, False),
    ):
        settled(store, [row], error, uncounted=uncounted)
        assert (refused_at(store, row) == since) is kept
        clock.advance(seconds=2)
    assert refused_at(store, row) is None
    settled(store, [row], account, uncounted=True)
    claims = store.claim([make.message(row)], LEASE)
    assert not claims.acquired
    clock.advance(seconds=2)
    claims = store.claim([make.message(row)], LEASE)
    assert claims.acquired[0].refused_at == clock() - timedelta(seconds=2), "a worker decides by it"


def test_giving_up_leaves_a_dead_letter_owed(store: SqlStore, clock: TestClock) -> None:
    rows = [make.notification(clock(), channel="sms") for _ in range(4)]
    store.insert(rows)
    connection = refusing(store, clock)
    store.claim([make.message(rows[0])], LEASE)
    store.cancel("acme", rows[1].id)
    given_up = store.give_up(rows, connection)
    assert {row.id for row in given_up} == {row.id for row in rows[2:]}
    found = {row.id: row for row in store.find(Selection(tenant="acme"), 10)}
    assert [found[row.id].status for row in rows] == [Status.SENDING, Status.CANCELED, Status.FAILED, Status.FAILED]
    dead = found[rows[2].id]
    assert (dead.provider, dead.error_class, dead.error_code) == ("twilio", "account", "20003")
    last = store.events(dead.id)[-1]
    assert (last.status, last.error_message, last.attempt) == (Status.FAILED, "wrong token", 0)
    clock.advance(seconds=10)
    assert {row.id for row in store.overdue(10, LEASE).dead_letters_owed} == {row.id for row in rows[2:]}
    assert not store.give_up(rows, connection), "once"


def test_a_replay_restarts_the_wait_for_the_account(store: SqlStore, clock: TestClock) -> None:
    row = make.notification(clock(), channel="sms")
    store.insert([row])
    settled(store, [row], AccountError("20003", "wrong token"), uncounted=True)
    assert refused_at(store, row) is not None
    clock.advance(days=2)
    assert store.give_up(store.find(Selection(tenant="acme"), 1), refusing(store, clock))
    (revived,) = store.reset_for_replay(Selection(tenant="acme"), 10, timedelta(0))
    assert revived.refused_at is None
    assert refused_at(store, row) is None

"""The replay function: dead letters are listed, counted and replayed; the sweep runs by request and by schedule."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from tidings.adapters.sql.schema import notifications
from tidings.domain.errors import AmbiguousError, DeliveryError, PermanentError, TransientError
from tidings.domain.notification import Notification, OnAmbiguous, Priority, Status
from tidings.messaging import topology
from tidings.pipeline import sweep
from tidings.pipeline.outgoing import message_for
from tidings.pipeline.sweep import Swept
from tidings.runtime.container import Container

from tests.functions.conftest import Imported
from tests.functions.served import Answer, Caller, Keys, Lines, intake_of, process, replay_of, wired_to
from tests.lost_answers import commits_unanswered
from tests.make import notification
from tests.wait import eventually

DEAD = "/v1/dead-letters"
REPLAY = "/v1/dead-letters/replay"
SWEEP = "/v1/sweep"

Fail = Callable[..., list[str]]


@pytest.fixture
def fail(container: Container) -> Fail:
    """Make rows that failed with this error, oldest first. Return their ids."""

    def made(
        count: int = 1, error: DeliveryError | None = None, *, age: timedelta = timedelta(), **changes: Any
    ) -> list[str]:
        end = error or PermanentError("21211", "not a number")
        hold = OnAmbiguous.HOLD if isinstance(end, AmbiguousError) else OnAmbiguous.RESEND
        now = datetime.now(UTC) - age
        rows = [notification(now + timedelta(milliseconds=n), on_ambiguous=hold, **changes) for n in range(-count, 0)]
        container.store.insert(rows)
        claims = container.store.claim([message_for(row) for row in rows], timedelta(seconds=60))
        assert len(claims.acquired) == count
        container.settler.record(
            [container.settler.settlement_for(claims, row, end, provider="test") for row in claims.acquired]
        )
        return [row.id for row in rows]

    return made


def until(right: Callable[[], object]) -> None:
    eventually("it is so", right, within=30)


def expire(container: Container, id: str) -> None:
    """Set its expires_at to a second ago."""
    store: Any = container.store
    over = datetime.now(UTC) - timedelta(seconds=1)
    with store.database.engine.begin() as connection:
        connection.execute(update(notifications).where(notifications.c.id == id).values(expires_at=over))


def unanswered(container: Container) -> AbstractContextManager[None]:
    """Every COMMIT arrives, and its answer is lost: the client gets a 503."""
    store: Any = container.store
    return commits_unanswered(store.database, times=1000)


def stored(container: Container, ids: Sequence[str], tenant: str = "acme") -> list[Notification]:
    found = [container.store.get(tenant, id) for id in ids]
    return [row for row in found if row is not None]


def timeline(replay: Caller, id: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = replay("GET", f"/v1/notifications/{id}").body["events"]
    return events


def listed(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [item["id"] for item in answer.body["notifications"]]


def dump(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return "\n".join(connection.iterdump())


# --- dead letters -----------------------------------------------------------------------------------------------------


def test_dead_letters_are_listed_with_their_reasons(replay: Caller, container: Container, fail: Fail) -> None:
    (failed,) = fail(error=PermanentError("5.1.1", "no such user"))
    (unknown,) = fail(error=AmbiguousError("timeout", "no answer"))
    alive = notification(datetime.now(UTC))
    container.store.insert([alive])
    answer = replay("GET", DEAD)
    assert listed(answer) == [unknown, failed]
    by_id = {item["id"]: item for item in answer.body["notifications"]}
    assert by_id[failed]["status"] == "failed"
    assert by_id[failed]["last_error"] == {"error_class": "permanent", "code": "5.1.1", "message": "no such user"}
    assert by_id[unknown]["status"] == "unknown"
    assert by_id[unknown]["last_error"]["error_class"] == "ambiguous"
    assert all("content" not in item for item in by_id.values())


def test_dead_letters_are_filtered_and_paged(replay: Caller, fail: Fail) -> None:
    old = fail(3, age=timedelta(days=2))
    texts = fail(2, PermanentError("30005", "unknown handset"), channel="sms", recipient="+15005550010")
    (held,) = fail(error=AmbiguousError("timeout", "no answer"))

    def found(**query: str) -> list[str]:
        return sorted(listed(replay("GET", DEAD, query=query)))

    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert found(channel="sms") == sorted(texts)
    assert found(code="30005") == sorted(texts)
    assert found(status="unknown") == [held]
    assert found(until=yesterday) == sorted(old)
    assert found(since=yesterday) == sorted([*texts, held])
    assert found(channel="sms", code="timeout") == []
    first = replay("GET", DEAD, query={"limit": "4"})
    second = replay("GET", DEAD, query={"limit": "4", "cursor": first.body["next_cursor"]})
    assert sorted([*listed(first), *listed(second)]) == sorted([*old, *texts, held])
    assert "next_cursor" not in second.body
    ahead = replay("GET", DEAD, query={"limit": "4", "order": "oldest"})
    rest = replay("GET", DEAD, query={"limit": "4", "order": "oldest", "cursor": ahead.body["next_cursor"]})
    assert [*listed(ahead), *listed(rest)] == [*listed(first), *listed(second)][::-1]


@pytest.mark.parametrize(
    ("query", "pointer", "detail"),
    [
        ({"status": "sent"}, "#/status", "must be one of failed, suppressed, undelivered, unknown"),
        ({"status": "gone"}, "#/status", "must be "),
        ({"code": "é"}, "#/code", "must match "),
        ({"since": "2026-11-22T10:00:00"}, "#/since", "needs a time zone"),
        ({"limit": "0"}, "#/limit", "must be at least 1"),
        ({"recipient": "x"}, "#/recipient", "unknown field"),
    ],
)
def test_each_invalid_parameter_of_a_filter_has_an_error_entry(
    replay: Caller, query: dict[str, str], pointer: str, detail: str
) -> None:
    answer = replay("GET", DEAD, query=query)
    assert answer.status == 422
    assert answer.errors[pointer].startswith(detail)


# --- replay -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_counts_and_changes_nothing(replay: Caller, database_file: Path, fail: Fail) -> None:
    dead = fail(12)
    held = fail(2, AmbiguousError("timeout", "no answer"))
    before = dump(database_file)
    answer = replay("POST", REPLAY, {"dry_run": True})
    assert answer.status == 200
    sample = answer.body.pop("sample")
    assert answer.body == {
        "dry_run": True,
        "count": 12,
        "may_double": 0,
        "expired": 0,
        "unknown": 2,
        "newest": dead[-1],
    }
    assert [item["id"] for item in sample] == dead[:10]
    assert "content" not in sample[0]
    assert dump(database_file) == before
    only = replay("POST", REPLAY, {"dry_run": True, "status": "unknown"})
    assert (only.body["count"], only.body["may_double"], only.body["unknown"]) == (2, 2, 0)
    assert [item["may_have_been_sent"] for item in only.body["sample"]] == [True, True]
    assert [item["id"] for item in only.body["sample"]] == held


def test_a_dry_run_counts_the_possible_doubles_of_that_replay(replay: Caller, fail: Fail) -> None:
    fail(1, AmbiguousError("timeout", "no answer"), age=timedelta(hours=1))
    fail(2, AmbiguousError("timeout", "no answer"))
    dry = replay("POST", REPLAY, {"dry_run": True, "status": "unknown", "limit": 2}).body
    assert (dry["count"], dry["may_double"]) == (3, 2)


def test_a_replay_sets_back_to_pending_one_generation_later(replay: Caller, container: Container, fail: Fail) -> None:
    ids = fail(3)
    answer = replay("POST", REPLAY, {})
    assert answer.status == 200
    assert answer.body == {"dry_run": False, "count": 3, "queued": 3, "expired": 0, "unknown": 0, "ids": ids}
    for row in stored(container, ids):
        assert (row.status, row.generation, row.attempt) == ("pending", 2, 0)
        assert row.queued_at is not None
    assert container.broker.depth(topology.work_queue("email", Priority.NORMAL)) == 3


@pytest.mark.parametrize("body", [b"", b" "])
def test_an_empty_body_replays_nothing(replay: Caller, fail: Fail, body: bytes) -> None:
    ids = fail(2)
    answer = replay("POST", REPLAY, body)
    assert (answer.status, answer.body["title"]) == (422, "The replay is not valid")
    assert listed(replay("GET", DEAD)) == ids[::-1]


def test_unknown_notifications_are_replayed_only_if_asked_for(replay: Caller, fail: Fail) -> None:
    (failed,), (held,) = fail(), fail(error=AmbiguousError("timeout", "no answer"))
    assert replay("POST", REPLAY, {}).body["ids"] == [failed]
    named = replay("POST", REPLAY, {"ids": [held]}).body
    assert (named["ids"], named["unknown"]) == ([], 1)
    assert replay("POST", REPLAY, {"status": "unknown"}).body["ids"] == [held]


def test_expired_dead_letters_are_counted_and_need_a_new_expiry(
    replay: Caller, container: Container, fail: Fail
) -> None:
    (id,) = fail()
    expire(container, id)
    assert replay("POST", REPLAY, {"dry_run": True}).body["expired"] == 1
    assert replay("POST", REPLAY, {"dry_run": True}).body["count"] == 0
    left = replay("POST", REPLAY, {}).body
    assert (left["ids"], left["expired"]) == ([], 1)
    past = replay("POST", REPLAY, {"expires_at": "2026-01-01T00:00:00Z"})
    assert past.status == 422
    assert past.errors["#/expires_at"].startswith("is in the past: the server's time is 20")
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    dry = replay("POST", REPLAY, {"dry_run": True, "expires_at": later}).body
    assert (dry["count"], dry["expired"]) == (1, 0)
    assert replay("POST", REPLAY, {"expires_at": later}).body["ids"] == [id]
    assert stored(container, [id])[0].status == "pending"


def test_a_new_expiry_lies_at_most_a_year_ahead_as_that_of_a_submission(replay: Caller, fail: Fail) -> None:
    (id,) = fail(error=AmbiguousError("timeout", "no answer"))
    for days, expected in ((367, 422), (365, 200)):
        at = (datetime.now(UTC) + timedelta(days=days)).isoformat()
        answers = (
            replay("POST", REPLAY, {"expires_at": at}),
            replay("POST", resolve(id), {"outcome": "replay", "expires_at": at}),
        )
        assert [answer.status for answer in answers] == [expected] * 2
        if expected == 422:
            assert {answer.errors["#/expires_at"] for answer in answers} == {"lies more than 366 days ahead"}


def test_replaying_twice_is_harmless(replay: Caller, container: Container, fail: Fail) -> None:
    ids = fail(3)
    assert replay("POST", REPLAY, {"ids": ids}).body["count"] == 3
    assert replay("POST", REPLAY, {"ids": ids}).body == {
        "dry_run": False,
        "count": 0,
        "queued": 0,
        "expired": 0,
        "unknown": 0,
        "ids": [],
    }
    assert {row.generation for row in stored(container, ids)} == {2}
    assert container.broker.depth(topology.work_queue("email", Priority.NORMAL)) == 3


def test_a_replay_may_be_narrowed(replay: Caller, container: Container, fail: Fail) -> None:
    old = fail(2, age=timedelta(days=2))
    texts = fail(2, PermanentError("30005", "unknown handset"), channel="sms", recipient="+15005550010")
    (held,) = fail(error=AmbiguousError("timeout", "no answer"))
    (one, _) = texts
    hour = timedelta(hours=1)
    assert replay("POST", REPLAY, {"ids": [one]}).body["ids"] == [one]
    assert replay("POST", REPLAY, {"until": (datetime.now(UTC) - hour).isoformat()}).body["ids"] == old
    assert replay("POST", REPLAY, {"channel": "email", "code": "30005"}).body["ids"] == []
    assert replay("POST", REPLAY, {"code": "30005"}).body["ids"] == [texts[1]]
    assert replay("POST", REPLAY, {"status": "failed"}).body["ids"] == []
    assert replay("POST", REPLAY, {"status": "unknown"}).body["ids"] == [held]


def test_a_limit_takes_the_oldest(replay: Caller, fail: Fail) -> None:
    ids = fail(7)
    assert replay("POST", REPLAY, {"limit": 3}).body["ids"] == ids[:3]
    assert replay("POST", REPLAY, {"limit": 100}).body["ids"] == ids[3:]


def test_a_rate_spreads_them_over_the_seconds(replay: Caller, container: Container, fail: Fail) -> None:
    ids = fail(5)
    start = datetime.now(UTC)
    answer = replay("POST", REPLAY, {"rate": 2})
    elapsed = datetime.now(UTC) - start
    assert (answer.body["count"], answer.body["queued"]) == (5, 2)
    due = [row.next_attempt_at for row in stored(container, ids)]
    assert due[:2] == [None, None]
    waits = [at - start for at in due[2:] if at is not None]
    assert all(
        timedelta(seconds=n) <= wait <= timedelta(seconds=n) + elapsed for n, wait in zip((1, 1, 2), waits, strict=True)
    )


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"ids": []}, "#/ids", "number of entries must be at least 1"),
        ({"ids": ["x"]}, "#/ids/0", "must match "),
        ({"ids": "all"}, "#/ids", "must be an array"),
        ({"limit": 0}, "#/limit", "must be at least 1"),
        ({"limit": 10_001}, "#/limit", "must be at most 10000"),
        ({"rate": 0}, "#/rate", "must be at least 1"),
        ({"limit": "5"}, "#/limit", "must be a whole number"),
        ({"dry_run": "false"}, "#/dry_run", "must be true or false"),
        ({"dry_run": 1}, "#/dry_run", "must be true or false"),
        ({"expires_at": "tomorrow"}, "#/expires_at", "must be"),
        ({"status": "sent"}, "#/status", "must be one of failed, suppressed, undelivered, unknown"),
        ({"since": "2026-11-22T10:00:00"}, "#/since", "needs a time zone"),
        ({"everything": True}, "#/everything", "unknown field"),
        ({"email": True}, "#/email", "unknown field"),
        ([], "#", "must be an object"),
    ],
)
def test_an_invalid_replay_request_changes_nothing_and_gets_422(
    replay: Caller, fail: Fail, body: Any, pointer: str, detail: str
) -> None:
    ids = fail(1)
    answer = replay("POST", REPLAY, body)
    assert (answer.status, answer.body["title"]) == (422, "The replay is not valid")
    assert answer.errors[pointer].startswith(detail), answer.errors
    assert listed(replay("GET", DEAD)) == ids


def test_a_replay_request_that_is_not_json_is_refused(replay: Caller, container: Container, fail: Fail) -> None:
    ids = fail(1)
    assert replay("POST", REPLAY, b"{").status == 400
    assert stored(container, ids)[0].status == "failed"


# --- an operator decides about what is unknown ------------------------------------------------------------------------


def resolve(id: str) -> str:
    return f"/v1/notifications/{id}/resolve"


def test_an_unknown_one_is_marked_sent_once_and_the_timeline_says_by_whom(
    replay: Caller, container: Container, keys: Keys, fail: Fail, lines: Lines
) -> None:
    (id,) = fail(error=AmbiguousError("timeout", "no answer"))
    answer = replay("POST", resolve(id), {"outcome": "sent"})
    assert (answer.status, answer.body["status"], answer.body["provider"]) == (200, "sent", "operator")
    assert "may_have_been_sent" not in answer.body
    again = replay("POST", resolve(id), {"outcome": "sent"})
    assert (again.status, again.body) == (200, answer.body), "an answer that was lost is asked for again"
    other = replay("POST", resolve(id), {"outcome": "replay"})
    assert (other.status, other.body["detail"]) == (409, "Its status is sent; only unknown can be resolved.")
    assert [line["outcome"] for line in lines.named("resolved")] == ["sent"]
    shown = intake_of(container, keys)("GET", f"/v1/notifications/{id}").body
    ends = [(event["status"], event.get("provider")) for event in shown["events"][1:]]
    assert ends == [("sending", None), ("unknown", "test"), ("sent", "operator")]
    assert container.broker.depth(topology.work_queue("email", Priority.NORMAL)) == 0


def test_an_unknown_one_is_replayed_alone_and_once(replay: Caller, container: Container, fail: Fail) -> None:
    id, other = fail(2, AmbiguousError("timeout", "no answer"))
    answer = replay("POST", resolve(id), {"outcome": "replay"})
    assert (answer.status, answer.body["status"], answer.body["generation"]) == (200, "pending", 2)
    again = replay("POST", resolve(id), {"outcome": "replay"})
    assert (again.status, again.body["status"], again.body["generation"]) == (200, "pending", 2)
    assert replay("POST", resolve(id), {"outcome": "sent"}).status == 409, "another decision"
    assert [row.status for row in stored(container, [id, other])] == ["pending", "unknown"]
    assert container.broker.depth(topology.work_queue("email", Priority.NORMAL)) == 1
    events = replay("GET", f"/v1/notifications/{id}").body["events"]
    assert [event["status"] for event in events] == ["pending", "sending", "unknown", "pending"]
    (claimed,) = container.store.claim([message_for(stored(container, [id])[0])], timedelta(minutes=1)).acquired
    assert claimed.id == id
    late = replay("POST", resolve(id), {"outcome": "replay"})
    said = "Its status is sending (may have been sent); only unknown can be resolved."
    assert (late.status, late.body["detail"]) == (409, said)


def test_a_replay_of_a_failed_notification_is_not_a_decision(replay: Caller, fail: Fail) -> None:
    """Its row looks like a decided one; its timeline does not."""
    (id,) = fail()
    assert replay("POST", REPLAY, {"ids": [id]}).body["count"] == 1
    assert replay("POST", resolve(id), {"outcome": "replay"}).status == 409


@pytest.mark.parametrize("outcome", ["sent", "replay"])
def test_only_unknown_notifications_can_be_resolved(
    replay: Caller, keys: Keys, container: Container, fail: Fail, outcome: str
) -> None:
    (failed,), (unknown,) = fail(), fail(error=AmbiguousError("timeout", "no answer"))
    answer = replay("POST", resolve(failed), {"outcome": outcome})
    assert (answer.status, answer.body["detail"]) == (409, "Its status is failed; only unknown can be resolved.")
    assert replay("POST", resolve(unknown), {"outcome": outcome}, key=keys.other).status == 404
    assert replay("POST", resolve(unknown), {"outcome": outcome}, key=keys.send).status == 403
    assert replay("POST", resolve("x"), {"outcome": outcome}).status == 404
    assert [row.status for row in stored(container, [failed, unknown])] == ["failed", "unknown"]


@pytest.mark.parametrize("status", ["sent", "pending"])
def test_resolving_a_notification_that_is_not_unknown_logs_nothing(
    replay: Caller, container: Container, lines: Lines, status: str
) -> None:
    row = notification(datetime.now(UTC), status=Status(status))
    container.store.insert([row])
    assert replay("POST", resolve(row.id), {"outcome": "sent"}).status == 409
    assert replay("POST", resolve(row.id), {"outcome": "replay"}).status == 409
    assert not lines.named("resolved")


def test_an_unknown_one_that_has_expired_is_sent_again_with_a_new_expiry(
    replay: Caller, container: Container, fail: Fail
) -> None:
    (id,) = fail(error=AmbiguousError("timeout", "no answer"))
    expire(container, id)
    until(lambda: replay("POST", REPLAY, {"dry_run": True, "status": "unknown"}).body["expired"] == 1)
    answer = replay("POST", resolve(id), {"outcome": "replay"})
    assert (answer.status, answer.body["title"]) == (409, "It has expired")
    assert stored(container, [id])[0].status == "unknown"
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for _ in range(2):
        assert replay("POST", resolve(id), {"outcome": "replay", "expires_at": later}).status == 200
    much_later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    assert replay("POST", resolve(id), {"outcome": "replay", "expires_at": much_later}).status == 409


@pytest.mark.parametrize("outcome", ["sent", "replay"])
def test_a_decision_whose_commit_was_not_answered_is_done(
    replay: Caller, container: Container, fail: Fail, outcome: str
) -> None:
    """Each answer of the database is lost: the client gets a 503 and repeats the request."""
    (id,) = fail(error=AmbiguousError("timeout", "no answer"))
    with unanswered(container):
        assert replay("POST", resolve(id), {"outcome": outcome}).status == 503
    assert replay("POST", resolve(id), {"outcome": outcome}).status == 200
    events = replay("GET", f"/v1/notifications/{id}").body["events"]
    assert [event["status"] for event in events[2:]] == ["unknown", "sent" if outcome == "sent" else "pending"]


def test_dead_letters_replayed_without_an_answer_are_not_replayed_twice(
    replay: Caller, container: Container, fail: Fail
) -> None:
    ids = fail(3, AmbiguousError("timeout", "no answer"))
    with unanswered(container):
        assert replay("POST", REPLAY, {"ids": ids, "status": "unknown"}).status == 503
    again = replay("POST", REPLAY, {"ids": ids, "status": "unknown"})
    assert (again.status, again.body["count"]) == (200, 0)
    assert {(row.status, row.generation) for row in stored(container, ids)} == {("pending", 2)}


# --- cancel -----------------------------------------------------------------------------------------------------------


def cancel(id: str) -> str:
    return f"/v1/notifications/{id}/cancel"


def test_an_operator_cancels_a_waiting_notification_and_it_is_logged_once(
    replay: Caller, container: Container, lines: Lines
) -> None:
    row = notification(datetime.now(UTC))
    container.store.insert([row])
    for _ in range(2):
        answer = replay("POST", cancel(row.id))
        assert (answer.status, answer.body["status"]) == (200, "canceled")
        assert "may_have_been_sent" not in answer.body
    assert len(lines.named("canceled")) == 1
    assert replay("POST", cancel("x")).status == 404


def test_canceling_shows_that_it_may_have_been_sent(replay: Caller, container: Container, keys: Keys) -> None:
    row, plain = notification(datetime.now(UTC)), notification(datetime.now(UTC))
    container.store.insert([row, plain])
    for error in (AmbiguousError("timeout", "no answer"), TransientError("451", "later")):
        claims = container.store.claim([message_for(row)], timedelta(seconds=60))
        container.settler.record(
            [container.settler.settlement_for(claims, one, error, provider="test") for one in claims.acquired]
        )
        until(lambda: container.store.get("acme", row.id).next_attempt_at < datetime.now(UTC))  # type: ignore[union-attr, operator]
    begun = [(event["status"], event.get("may_have_been_sent")) for event in timeline(replay, row.id)]
    assert begun == [
        ("pending", None), ("sending", None), ("retrying", True), ("sending", True), ("retrying", True)
    ]  # fmt: skip
    answer = replay("POST", cancel(row.id))
    assert (answer.body["status"], answer.body["may_have_been_sent"]) == ("canceled", True)
    one = replay("GET", f"/v1/notifications/{row.id}").body
    assert one["may_have_been_sent"]
    assert (one["events"][-1]["status"], one["events"][-1]["may_have_been_sent"]) == ("canceled", True)
    for caller in (replay, intake_of(container, keys)):
        found = caller("GET", "/v1/notifications").body["notifications"]
        assert {item["id"]: item.get("may_have_been_sent") for item in found} == {row.id: True, plain.id: None}
    expired = intake_of(container, keys)("POST", cancel(plain.id)).body
    assert "may_have_been_sent" not in expired


def test_a_claimed_notification_is_not_canceled_and_its_doubt_is_shown(replay: Caller, container: Container) -> None:
    row = notification(datetime.now(UTC))
    container.store.insert([row])
    claims = container.store.claim([message_for(row)], timedelta(seconds=60))
    answer = replay("POST", cancel(row.id))
    assert (answer.status, answer.body["detail"]) == (
        409,
        "Its status is sending: a worker has it, and its outcome is not known yet; "
        "only pending and retrying can be canceled.",
    )
    error = AmbiguousError("timeout", "no answer")
    container.settler.record(
        [container.settler.settlement_for(claims, one, error, provider="test") for one in claims.acquired]
    )
    until(lambda: container.store.get("acme", row.id).next_attempt_at < datetime.now(UTC))  # type: ignore[union-attr, operator]
    container.store.claim([message_for(row)], timedelta(seconds=60))
    again = replay("POST", cancel(row.id)).body["detail"]
    assert again.startswith("Its status is sending (may have been sent): a worker has it")
    assert timeline(replay, row.id)[-1] | {"at": ""} == {
        "status": "sending", "at": "", "generation": 1, "attempt": 2, "may_have_been_sent": True
    }  # fmt: skip


def test_a_replayed_notification_is_not_marked_sent(replay: Caller, container: Container, fail: Fail) -> None:
    (id,) = fail(error=AmbiguousError("timeout", "no answer"))
    replay("POST", resolve(id), {"outcome": "replay"})
    assert replay("POST", resolve(id), {"outcome": "sent"}).status == 409
    assert stored(container, [id])[0].status == "pending"


@pytest.mark.parametrize(
    ("body", "status"), [({}, 422), ({"outcome": "lost"}, 422), ({"outcome": "sent", "x": 1}, 422), (b"{", 400)]
)
def test_an_invalid_decision_changes_nothing(
    replay: Caller, container: Container, fail: Fail, body: Any, status: int
) -> None:
    (id,) = fail(error=AmbiguousError("timeout", "no answer"))
    assert replay("POST", resolve(id), body).status == status
    assert stored(container, [id])[0].status == "unknown"


# --- who may ----------------------------------------------------------------------------------------------------------


def test_a_tenant_sees_and_replays_only_its_own(replay: Caller, keys: Keys, container: Container, fail: Fail) -> None:
    ours, theirs = fail(2), fail(2, tenant="globex")
    assert listed(replay("GET", DEAD)) == ours[::-1]
    assert listed(replay("GET", DEAD, key=keys.other)) == theirs[::-1]
    assert replay("POST", REPLAY, {"dry_run": True}, key=keys.other).body["count"] == 2
    assert replay("POST", REPLAY, {"ids": theirs}).body["count"] == 0
    assert replay("POST", REPLAY, {}).body["ids"] == ours
    assert {row.status for row in stored(container, theirs, "globex")} == {"failed"}


@pytest.mark.parametrize(("method", "path"), [("GET", DEAD), ("POST", REPLAY), ("POST", SWEEP)])
def test_only_an_operator_key_is_accepted(replay: Caller, keys: Keys, method: str, path: str) -> None:
    assert replay(method, path, key=None).status == 401
    assert replay(method, path, key="wrong").status == 401
    answer = replay(method, path, key=keys.send)
    assert (answer.status, answer.body["title"]) == (403, "The API key lacks the scope `operate`")
    assert replay(method, path, {}, key=keys.both).status == 200


# --- sweep ------------------------------------------------------------------------------------------------------------

NOTHING = dict.fromkeys(
    ("published", "waiting", "abandoned", "lettered", "expired", "given_up", "refused", "purged"), 0
)
ON_LAMBDA = {name.replace("lettered", "dead_lettered"): count for name, count in NOTHING.items()}
"""What the schedule's event gets: the counts as the log has them."""


def never_queued(container: Container, file: Path) -> str:
    """A row that is old enough, and whose message was never published."""
    row = notification(datetime.now(UTC))
    container.store.insert([row])
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE notifications SET wake_at = '2026-01-01 00:00:00.000000'")
    return row.id


def test_a_sweep_publishes_rows_that_were_never_queued(
    replay: Caller, container: Container, database_file: Path
) -> None:
    id = never_queued(container, database_file)
    first = replay("POST", SWEEP)
    assert (first.status, first.body) == (200, {**NOTHING, "published": 1})
    assert replay("POST", SWEEP).body == NOTHING
    assert container.broker.depth(topology.work_queue("email", Priority.NORMAL)) == 1
    assert stored(container, [id])[0].queued_at is not None


@pytest.mark.parametrize("event", [{}, {"source": "aws.scheduler", "detail": {}}, {"version": "0", "id": "x"}])
def test_the_schedules_event_runs_the_sweep(
    imported: Imported, container: Container, database_file: Path, event: dict[str, Any]
) -> None:
    never_queued(container, database_file)
    main = imported("replay")
    assert main.handler(event, None) == {**ON_LAMBDA, "published": 1}
    assert main.handler(event, None) == ON_LAMBDA


def test_the_schedules_event_may_set_how_long_the_sweep_runs(
    imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Swept(published=1)
    monkeypatch.setattr(sweep, "SWEEP_EVERY", timedelta(milliseconds=1))
    monkeypatch.setattr(sweep.Sweep, "run", lambda _: runs)
    main = imported("replay")
    assert main.handler({"for": 1}, None)["published"] > 1
    assert main.handler({}, None)["published"] == 1


# --- when a part is gone ----------------------------------------------------------------------------------------------


def test_everything_returns_503_without_the_database(keys: Keys, lines: Lines) -> None:
    with wired_to("sqlite:////nowhere/at/all/tidings.db") as parts:
        replay = replay_of(parts, keys)
        for method, path in (("GET", DEAD), ("POST", REPLAY), ("POST", SWEEP), ("GET", "/readyz")):
            answer = replay(method, path, {})
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) >= 1
        assert replay("GET", "/healthz", key=None).status == 200
    assert len(lines.named("service_unavailable")) == 3


def test_a_replay_works_without_the_broker(keys: Keys, container: Container, fail: Fail, database_url: str) -> None:
    ids = fail(2)
    with wired_to(database_url, "amqp://guest:guest@127.0.0.1:9/") as parts:
        replay = replay_of(parts, keys)
        assert replay("GET", "/readyz", key=None).body["status"] == "degraded"
        assert replay("POST", REPLAY, {}).body == {
            "dry_run": False,
            "count": 2,
            "queued": 0,
            "expired": 0,
            "unknown": 0,
            "ids": ids,
        }
    assert [(row.status, row.queued_at) for row in stored(container, ids)] == [("pending", None)] * 2


def test_a_log_line_of_a_replay_has_no_recipient(replay: Caller, fail: Fail, lines: Lines) -> None:
    (id,) = fail(recipient="ada@example.com")
    replay("POST", REPLAY, {})
    replay("GET", DEAD)
    assert [line["notification_id"] for line in lines.named("replayed")] == [id]
    assert "ada@example.com" not in lines.text()


def test_the_timeline_goes_on_after_a_replay(replay: Caller, container: Container, keys: Keys, fail: Fail) -> None:
    (id,) = fail()
    replay("POST", REPLAY, {})
    shown = intake_of(container, keys)("GET", f"/v1/notifications/{id}").body
    steps = [(event["status"], event["generation"]) for event in shown["events"]]
    assert steps == [("pending", 1), ("sending", 1), ("failed", 1), ("pending", 2)]


# --- as a process -----------------------------------------------------------------------------------------------------


def test_a_real_process_lists_replays_and_sweeps(
    settings: dict[str, str], keys: Keys, tmp_path: Path, fail: Fail
) -> None:
    ids = fail(2, recipient="ada@example.com")
    operator = {"authorization": f"Bearer {keys.operate}"}
    with process("replay", settings, tmp_path) as ask:
        assert ask("GET", "/readyz").status == 200
        assert listed(ask("GET", f"{DEAD}?limit=1", None, operator)) == ids[1:]
        assert ask("POST", REPLAY, b'{"dry_run": true}', operator).body["count"] == 2
        assert ask("POST", REPLAY, b"{}", operator).body["ids"] == ids
        assert ask("POST", SWEEP, b"", operator).body == NOTHING
        assert ask("POST", SWEEP, b"").status == 401
    log = ask.log.read_text()
    logged = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["notification_id"] for line in logged if line["message"] == "replayed"] == ids
    assert "ada@example.com" not in log

"""Times in the past: a `send_at` means at once, an `expires_at` is refused."""

from pathlib import Path

from tidings.adapters.sql.database import Database
from tidings.adapters.sql.store import SqlStore
from tidings.api.api_keys import ApiKeys
from tidings.api.app import App
from tidings.api.intake import IntakeEndpoints
from tidings.pipeline.intake import Intake
from tidings.runtime.container import Container

from tests.clock import TestClock
from tests.functions.served import Caller, Keys, later, mail, sms
from tests.functions.test_intake import SEND, rows

PASSED = "is in the past: the server's time is 20"


def test_an_expires_at_in_the_past_is_refused(intake: Caller, database_file: Path) -> None:
    answer = intake("POST", SEND, sms(expires_at=later(seconds=-1)))
    assert (answer.status, answer.body["title"]) == (422, "The notification is not valid")
    assert answer.errors["#/expires_at"].startswith(PASSED)
    with_key = {"idempotency-key": "new"}
    assert intake("POST", SEND, sms(expires_at=later(seconds=-1)), headers=with_key).status == 422
    assert rows(database_file) == []


def test_only_the_expired_items_of_an_array_are_refused(intake: Caller, database_file: Path) -> None:
    items = [sms(), sms(expires_at=later(seconds=-1)), sms(expires_at=later(hours=1)), sms(recipient="0800"), mail()]
    results = intake("POST", SEND, items).body["results"]
    assert [result.get("status", "error") for result in results] == ["pending", "error", "pending", "error", "pending"]
    (error,) = results[1]["error"]["errors"]
    assert (error["pointer"], error["index"]) == ("#/1/expires_at", 1)
    assert [row["id"] for row in rows(database_file)] == [results[n]["id"] for n in (0, 2, 4)]


def asked(container: Container, keys: Keys, *, store: TestClock, intake: TestClock) -> Caller:
    """An intake whose clock is not the database's."""
    database = SqlStore(Database(container.database, clock=store))
    accept = Intake(store=database, broker=container.broker)
    routes = IntakeEndpoints(intake=accept, store=database, broker=container.broker, now=intake)
    return Caller(App(routes.all(), ApiKeys(keys=keys.kept)), keys.send)


def test_a_request_repeated_after_its_expiry_is_answered_as_at_first(
    container: Container, keys: Keys, database_file: Path
) -> None:
    """The client lost the answer, and cannot know whether it was stored."""
    clock = TestClock()
    ask = asked(container, keys, store=clock, intake=clock)
    body, key = sms(expires_at=later(hours=1)), {"idempotency-key": "one"}
    first = ask("POST", SEND, body, headers=key)
    clock.advance(hours=2)
    again = ask("POST", SEND, body, headers=key)
    assert (again.status, again.body, again.headers["idempotency-replayed"]) == (202, first.body, "true")
    other = ask("POST", SEND, {**body, "priority": "high"}, headers=key)
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
    assert ask("POST", SEND, body, headers={"idempotency-key": "two"}).errors["#/expires_at"].startswith(PASSED)
    (alone,) = ask("POST", SEND, [{**body, "idempotency_key": "one"}]).body["results"]
    assert alone == {**first.body, "replayed": True}
    assert len(rows(database_file)) == 1


def test_the_database_clock_decides_what_has_expired(container: Container, keys: Keys, database_file: Path) -> None:
    """A fast intake refuses nothing that is still valid; a slow one stores what then expires."""
    true, fast, slow = TestClock(), TestClock(), TestClock()
    fast.advance(hours=1)
    slow.advance(hours=-1)
    soon, past = sms(expires_at=later(minutes=30)), sms(expires_at=later(minutes=-30))
    assert asked(container, keys, store=true, intake=fast)("POST", SEND, soon).status == 202
    refused = asked(container, keys, store=true, intake=fast)("POST", SEND, past)
    assert refused.errors == {
        "#/expires_at": f"is in the past: the server's time is {true().isoformat(timespec='seconds')}"
    }
    assert asked(container, keys, store=true, intake=slow)("POST", SEND, past).status == 202
    assert len(rows(database_file)) == 2

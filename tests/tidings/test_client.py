"""The Python client against a real intake process, by way of a server that hurts what passes."""

import http.client
import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from tidings.adapters.sql.database import Database
from tidings.adapters.sql.store import SqlStore
from tidings.api.api_keys import Scope, new_key
from tidings.client import Accepted, Client, Draft, Refused, Unexpected, Unreachable
from tidings.domain.notification import Status
from tidings.ports import Selection

from tests.functions.served import process
from tests.migrated import migrated

TEXT = {"text": "It is on its way."}
NUMBER = "+15005550010"
Hurt = Callable[["_Between"], None]
ANSWER_WITHIN, WITHIN = 60.0, 120.0
"""Seconds of a try, and of a call. All is far quicker, unless the machine is busy: a late answer is no lost one."""


# --- the intake, and what stands in front of it -----------------------------------------------------------------------


class _Between(http.server.BaseHTTPRequestHandler):
    """Hands on to the intake, and hurts the first requests as the test says."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _any(self) -> None:
        self.server.keys.append(self.headers.get("idempotency-key"))
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        hurts = self.server.hurts
        if hurts:
            hurts.pop(0)(self)
        else:
            self.hand_on()

    do_GET = do_POST = _any  # noqa: N815

    def forward(self) -> tuple[int, dict[str, str], bytes]:
        to = urlsplit(self.server.intake)
        connection = http.client.HTTPConnection(str(to.hostname), to.port, timeout=ANSWER_WITHIN)
        try:
            connection.request(self.command, self.path, self.body, dict(self.headers))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
        finally:
            connection.close()

    def hand_on(self) -> None:
        status, headers, content = self.forward()
        self.say(status, content, {name: headers[name] for name in headers if name != "content-length"})

    def say(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, intake: str) -> None:
        super().__init__(("127.0.0.1", 0), _Between)
        self.intake = intake
        self.hurts: list[Hurt] = []
        self.keys: list[str | None] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def cut_after_the_request(between: _Between) -> None:
    """The intake has committed, and nobody hears of it."""
    assert between.forward()[0] == 202
    between.close_connection = True


def cut_at_once(between: _Between) -> None:
    between.close_connection = True


def cut_amid_the_answer(between: _Between) -> None:
    between.forward()
    between.send_response(202)
    between.send_header("content-length", "1000")
    between.end_headers()
    between.wfile.write(b'{"id":')
    between.close_connection = True


def silent(between: _Between) -> None:
    """It was received, and no answer comes."""
    between.forward()
    between.server.over.wait(WITHIN)
    between.close_connection = True


def says(status: int, **headers: str) -> Hurt:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda between: between.say(status, b"<html>", named)


@dataclass(frozen=True, kw_only=True)
class World:
    """One tenant's client, the server between, and the rows behind."""

    client: Client
    between: _Server
    tenant: str
    key: str
    store: SqlStore
    made: list[Client] = field(default_factory=list)

    def rows(self) -> int:
        return self.store.count(Selection(tenant=self.tenant))

    def another(self, **options: Any) -> Client:
        given = {"url": self.between.url, "api_key": self.key, "timeout": ANSWER_WITHIN, "deadline": WITHIN}
        self.made.append(Client(**{**given, **options}))
        return self.made[-1]


@dataclass(frozen=True, kw_only=True)
class Intake:
    url: str
    store: SqlStore
    callers: Iterator[tuple[str, str]]


@pytest.fixture(scope="module")
def intake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    folder = tmp_path_factory.mktemp("client")
    database = migrated(f"sqlite:///{folder}/tidings.db")
    made = {f"t{number}": new_key(f"t{number}", [Scope.SEND]) for number in range(40)}
    settings = {
        "TIDINGS_DATABASE_URL": database.database_url,
        "TIDINGS_BROKER_URL": "",
        "TIDINGS_API_KEYS": " ".join(str(kept) for _, kept in made.values()),
    }
    store = SqlStore(Database(database))
    with process("intake", settings, folder) as running:
        yield Intake(url=running.url, store=store, callers=iter([(name, key) for name, (key, _) in made.items()]))
    store.close()


@pytest.fixture
def world(intake: Intake) -> Iterator[World]:
    tenant, key = next(intake.callers)
    with _Server(intake.url) as between:
        thread = threading.Thread(target=between.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with Client(url=between.url, api_key=key, timeout=ANSWER_WITHIN, deadline=WITHIN) as client:
            made = World(client=client, between=between, tenant=tenant, key=key, store=intake.store)
            yield made
            for other in made.made:
                other.close()
        between.over.set()
        between.shutdown()
        thread.join()


# --- what may happen on the way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hurts",
    [
        [cut_after_the_request],
        [cut_at_once],
        [cut_amid_the_answer],
        [cut_after_the_request, cut_at_once, says(502), says(504), cut_amid_the_answer, says(408), says(429)],
    ],
    ids=["answer lost", "request lost", "half an answer", "all of it"],
)
def test_whatever_is_lost_on_the_way_one_send_is_one_notification(world: World, hurts: list[Hurt]) -> None:
    world.between.hurts = list(hurts)
    accepted = world.client.send("sms", NUMBER, TEXT)
    assert world.rows() == 1
    assert world.client.get(accepted.id).status is Status.PENDING
    sent_with = world.between.keys[: len(hurts) + 1]
    assert len(sent_with) == len(hurts) + 1
    assert set(sent_with) == {f'"{accepted.idempotency_key}"'}, "the same key in every try"


def test_who_meets_the_row_of_the_lost_answer_is_told_so(world: World) -> None:
    assert world.client.send("sms", NUMBER, TEXT).replayed is False
    world.between.hurts = [cut_after_the_request]
    assert world.client.send("sms", NUMBER, TEXT).replayed is True


def test_a_server_that_does_not_answer_in_time_is_asked_again(world: World) -> None:
    world.between.hurts = [silent]
    world.another(timeout=1.0).send("sms", NUMBER, TEXT)
    assert world.rows() == 1
    assert len(world.between.keys) >= 2, "and more often where a busy machine lets it wait for over a second again"


def test_two_sends_without_a_key_are_two_notifications(world: World) -> None:
    first, second = world.client.send("sms", NUMBER, TEXT), world.client.send("sms", NUMBER, TEXT)
    assert first.id != second.id
    assert world.rows() == 2


def test_a_key_of_the_callers_own_makes_a_second_send_the_first(world: World) -> None:
    key = 'order "4711" \\ shipped'
    first = world.client.send("sms", NUMBER, TEXT, idempotency_key=key)
    second = world.another().send("sms", NUMBER, TEXT, idempotency_key=key)
    assert (second.id, second.replayed, second.idempotency_key) == (first.id, True, key)
    with pytest.raises(Refused) as refused:
        world.client.send("sms", NUMBER, {"text": "Something else"}, idempotency_key=key)
    assert refused.value.status == 422


@pytest.mark.parametrize("key", ["", "x" * 256, "line\nbreak", "naïve"])
def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_sent(world: World, key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        world.client.send("sms", NUMBER, TEXT, idempotency_key=key)
    assert world.between.keys == []


def test_retry_after_is_waited_for(world: World) -> None:
    world.between.hurts = [says(503, retry_after="1")]
    begun = time.monotonic()
    world.client.send("sms", NUMBER, TEXT)
    assert time.monotonic() - begun >= 1.0


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(world: World) -> None:
    world.between.hurts = [says(503, retry_after="3600")]
    with pytest.raises(Refused) as refused:
        world.client.send("sms", NUMBER, TEXT)
    assert (refused.value.status, refused.value.retry_after) == (503, 3600.0)
    assert len(world.between.keys) == 1


def test_the_deadline_ends_it_with_the_last_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.between.hurts = [cut_at_once] * 1000
    slept: list[float] = []
    # Time goes by in the pauses alone: how often it is tried by then is not for the machine to say.
    by_pauses = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr("tidings.client.transport.time", by_pauses)
    with pytest.raises(Unreachable, match=str(world.between.server_port)):
        world.another(deadline=30.0).send("sms", NUMBER, TEXT)
    assert len(world.between.keys) > 6, "it was tried again until then"
    assert sum(slept) < 30.0


def test_a_silent_server_cannot_outlast_the_deadline(world: World) -> None:
    world.between.hurts = [silent] * 10
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="timed out"):
        world.another(timeout=60, deadline=1.0).send("sms", NUMBER, TEXT)
    assert time.monotonic() - begun < 30, "the time-out of 60 s is cut down to the deadline"


def test_with_a_deadline_of_nothing_the_first_try_is_the_last(world: World) -> None:
    world.between.hurts = [says(503, retry_after="0")]
    with pytest.raises(Refused):
        world.another(deadline=0).send("sms", NUMBER, TEXT)
    assert len(world.between.keys) == 1


def test_a_refusal_is_not_tried_again_and_tells_each_field(world: World) -> None:
    with pytest.raises(Refused) as refused:
        world.client.send("sms", "not a number", {"text": ""})
    assert refused.value.status == 422
    assert [entry["pointer"] for entry in refused.value.errors] == ["#/recipient", "#/content/text"]
    assert "recipient" in str(refused.value)
    assert len(world.between.keys) == 1


def test_the_key_does_not_follow_a_redirect(world: World) -> None:
    world.between.hurts = [says(307, location="/v1/elsewhere")]
    with pytest.raises(Refused) as refused:
        world.client.send("sms", NUMBER, TEXT)
    assert refused.value.status == 307
    assert len(world.between.keys) == 1


def test_a_web_page_is_no_tidings(world: World) -> None:
    world.between.hurts = [says(200)]
    with pytest.raises(Unexpected):
        world.client.send("sms", NUMBER, TEXT)


def test_a_wrong_key_is_told_and_its_text_is_not(world: World) -> None:
    wrong = world.another(api_key="tdg_wrong")
    with pytest.raises(Refused) as refused:
        wrong.get("x")
    assert refused.value.status == 401
    assert "tdg_wrong" not in f"{refused.value} {wrong._transport!r}"


# --- many -------------------------------------------------------------------------------------------------------------


def test_many_are_answered_one_by_one_and_in_order(world: World) -> None:
    drafts = [Draft(channel="sms", recipient=NUMBER, content={"text": f"{number}"}) for number in range(2500)]
    drafts[1200] = Draft(channel="sms", recipient="nobody", content=TEXT)
    ends = world.client.send_many(drafts)
    assert len(ends) == 2500
    refused = ends.pop(1200)
    assert isinstance(refused, Refused)
    assert refused.status == 422
    assert all(isinstance(end, Accepted) for end in ends)
    assert world.rows() == 2499
    ids = [end.id for end in ends if isinstance(end, Accepted)]
    assert world.client.get(ids[1200]).content == {"text": "1201"}


def test_many_whose_answer_was_lost_do_not_double(world: World) -> None:
    world.between.hurts = [cut_after_the_request]
    drafts = [Draft(channel="sms", recipient=NUMBER, content=TEXT) for _ in range(50)]
    first = world.client.send_many(drafts)
    assert world.rows() == 50
    again = world.client.send_many(drafts)
    assert [end.id for end in again if isinstance(end, Accepted)] == [e.id for e in first if isinstance(e, Accepted)]
    assert world.rows() == 50


def test_where_every_one_is_bad_each_has_its_refusal(world: World) -> None:
    ends = world.client.send_many([Draft(channel="fax", recipient=NUMBER, content=TEXT)] * 2)
    assert [isinstance(end, Refused) and end.status for end in ends] == [422, 422]


def test_none_is_no_request(world: World) -> None:
    assert world.client.send_many([]) == []
    assert world.between.keys == []


# --- looking up -------------------------------------------------------------------------------------------------------


def test_the_list_goes_on_over_its_pages(world: World) -> None:
    world.client.send_many([Draft(channel="sms", recipient=NUMBER, content=TEXT)] * 1)
    world.client.send_many([Draft(channel="sms", recipient=NUMBER, content=TEXT) for _ in range(203)])
    found = list(world.client.list(channel="sms", since=datetime.now(UTC) - timedelta(hours=1)))
    assert len({item.id for item in found}) == 204
    assert list(world.client.list(status="sent")) == []


def test_cancel_twice_is_harmless_and_the_answer_is_typed(world: World) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    accepted = world.client.send("push", {"token": "device-1"}, {"body": "x"}, send_at=later, metadata={"order": "1"})
    assert accepted.send_at == later
    world.between.hurts = [cut_at_once]
    assert world.client.cancel(accepted.id).status is Status.CANCELED
    found = world.client.get(accepted.id)
    assert (found.status, found.metadata) == (Status.CANCELED, {"order": "1"})
    assert [event.status for event in found.events or []] == [Status.PENDING, Status.CANCELED]


@pytest.mark.parametrize("id", ["", "../healthz", "a?b=c", "é", "01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e"])
def test_an_id_that_is_none_is_not_found_and_reaches_nothing_else(world: World, id: str) -> None:
    with pytest.raises(Refused) as refused:
        world.client.get(id)
    assert refused.value.status == 404


# --- how it is made ---------------------------------------------------------------------------------------------------


def _is_kept(world: World) -> bool:
    world.client.send("sms", NUMBER, TEXT)
    before = world.client._transport._idle[-1][1]
    world.client.send("sms", NUMBER, TEXT)
    return world.client._transport._idle[-1][1] is before


def test_connections_are_kept_and_threads_share_one_client(world: World) -> None:
    threads = [threading.Thread(target=world.client.send, args=("sms", NUMBER, TEXT)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.rows() == 20
    assert 1 <= len(world.client._transport._idle) <= 20
    assert any(_is_kept(world) for _ in range(10)), "one that is not used for 2 s is given up, on a busy machine too"


def test_events_are_followed_from_the_last_that_was_seen(world: World) -> None:
    ids = [world.client.cancel(world.client.send("sms", NUMBER, TEXT).id).id for _ in range(3)]
    first, *_ = seen = list(world.client.events(limit=1))
    assert [(event.data["id"], event.type) for event in seen] == [(id, "notification.canceled") for id in ids]
    followed: list[str] = []
    for event in world.another().follow(after=first.seq or 0, every=0.01, stop=lambda: len(followed) >= 3):
        followed.append(event.data["id"])
        if len(followed) == 2:  # one more comes while it follows
            ids.append(world.client.cancel(world.client.send("sms", NUMBER, TEXT).id).id)
    assert followed == ids[1:]


@pytest.mark.parametrize("url", ["ftp://a", "a", "http://", "http://key@a", "http://a/?b", "http://a/#b"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Client(url=url, api_key="key")


@pytest.mark.parametrize("key", ["", "two words", "line\n", "naïve"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="printable") as refused:
        Client(url="http://127.0.0.1:1", api_key=key)
    assert not key or key not in str(refused.value)


def test_importing_it_loads_no_driver_no_framework_and_no_vendor(tmp_path: Path) -> None:
    heavy = ("sqlalchemy", "pika", "alembic", "pymysql", "starlette", "aws_lambda_powertools", "rich", "asyncio")
    script = f"import sys, tidings.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

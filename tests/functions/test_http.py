"""What both APIs have in common: methods, paths, request ids, codes of problems, readiness."""

import asyncio
import base64
import gzip
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tidings.api import health as health_module
from tidings.api.api_keys import ApiKeys
from tidings.api.health import HealthChecks
from tidings.api.problems import CODES
from tidings.domain.errors import BrokerUnavailable
from tidings.runtime.api_gateway import answer_event, to_request
from tidings.runtime.container import Container

from local.services.access import accepts
from tests.functions.served import Caller, Keys, Lines, intake_of, mail, process, replay_of, sms
from tests.wait import eventually

SEND = "/v1/notifications"
HEALTHY = {"status": "ok", "database": "ok", "broker": "ok"}


@pytest.fixture
def callers(container: Container, keys: Keys) -> dict[str, Caller]:
    return {"intake": intake_of(container, keys), "replay": replay_of(container, keys)}


# --- methods and paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [SEND, "/healthz", "/readyz", "/openapi.json", "/docs"])
def test_head_is_answered_where_get_is(callers: dict[str, Caller], path: str) -> None:
    for ask in callers.values():
        get, head = ask("GET", path), ask("HEAD", path)
        assert (head.status, head.headers["content-type"]) == (get.status, get.headers["content-type"])
        assert head.status == 200


def test_head_on_lambda_has_no_body(callers: dict[str, Caller]) -> None:
    def answered(method: str) -> Any:
        event = {"requestContext": {"http": {"method": method, "path": "/healthz"}}}
        return answer_event(event, callers["intake"].api)

    assert (answered("HEAD")["statusCode"], answered("HEAD")["body"]) == (200, "")
    assert answered("GET")["body"] != ""


def test_a_compressed_body_is_taken_on_lambda_too(callers: dict[str, Caller], keys: Keys) -> None:
    def posted(body: bytes) -> int:
        event = {
            "requestContext": {"http": {"method": "POST", "path": SEND}},
            "headers": {"Authorization": f"Bearer {keys.send}", "Content-Encoding": "gzip"},
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        return int(answer_event(event, callers["intake"].api)["statusCode"])

    assert posted(gzip.compress(json.dumps(sms()).encode())) == 202
    assert posted(gzip.compress(bytes(100_000_000))) == 413
    assert posted(b"{}") == 400


def test_head_of_a_post_endpoint_gets_405_with_the_allowed_methods(callers: dict[str, Caller]) -> None:
    answer = callers["replay"]("HEAD", "/v1/dead-letters/replay")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_slash_at_the_end_gets_404_with_the_reason(callers: dict[str, Caller]) -> None:
    """Else an empty id would get the list of all notifications."""
    for ask in callers.values():
        for method, path in (("GET", f"{SEND}/"), ("POST", f"{SEND}/"), ("GET", "/healthz/")):
            answer = ask(method, path)
            assert (answer.status, answer.body["code"]) == (404, "not_found")
            assert "without the slash" in answer.body["detail"]
        assert "without the slash" not in ask("GET", "/nowhere/").body["detail"]


def test_an_id_in_upper_case_is_the_same_id(callers: dict[str, Caller]) -> None:
    ask = callers["intake"]
    id = ask("POST", SEND, sms()).body["id"]
    assert ask("GET", f"{SEND}/{id.upper()}").body["id"] == id
    assert ask("POST", f"{SEND}/{id.upper()}/cancel").body["status"] == "canceled"


def test_the_root_path_links_to_the_documentation(callers: dict[str, Caller]) -> None:
    found = callers["intake"]("GET", "/", key=None)
    assert (found.status, found.body["docs"], found.body["openapi"]) == (200, "docs", "openapi.json")
    for path in ("docs", "openapi.json", "healthz"):
        assert callers["intake"]("GET", f"/{path}", key=None).status == 200
    assert "/openapi.json" in callers["intake"]("GET", "/nowhere").body["detail"]


def test_a_status_may_be_given_several_times(callers: dict[str, Caller]) -> None:
    ask = callers["intake"]
    pending = ask("POST", SEND, sms()).body["id"]
    canceled = ask("POST", SEND, mail()).body["id"]
    ask("POST", f"{SEND}/{canceled}/cancel")

    def listed(**query: Any) -> set[str]:
        return {one["id"] for one in ask("GET", SEND, query=query).body["notifications"]}

    assert listed(status=["pending", "canceled"]) == {pending, canceled}
    assert listed(status="pending") == listed(status=["pending"]) == {pending}
    assert listed(status=["sent", "failed"]) == set()
    answer = ask("GET", SEND, query={"status": ["pending", "gone"]})
    assert (answer.status, [*answer.errors]) == (422, ["#/status"])
    answer = ask("GET", SEND, query={"channel": ["sms", "email"]})
    assert (answer.status, answer.errors) == (422, {"#/channel": "must be a string"})
    dead = callers["replay"]("GET", "/v1/dead-letters", query={"status": ["failed", "unknown"]})
    assert dead.status == 200
    assert callers["replay"]("GET", "/v1/dead-letters", query={"status": ["failed", "sent"]}).status == 422


def test_a_repeated_query_parameter_keeps_all_its_values() -> None:
    event = {"requestContext": {"http": {"method": "GET", "path": SEND}}, "rawQueryString": "status=sent&status=failed"}
    assert to_request(event).query == {"status": ["sent", "failed"]}


# --- problems, and who asked --------------------------------------------------------------------------------------


def test_every_problem_has_a_code_that_is_declared(callers: dict[str, Caller], keys: Keys) -> None:
    ask = callers["intake"]
    found = {
        ask("GET", "/nowhere").body["code"]: "not_found",
        ask("PUT", SEND).body["code"]: "method_not_allowed",
        ask("GET", SEND, key=None).body["code"]: "missing_key",
        ask("GET", SEND, key="tdg_x").body["code"]: "invalid_key",
        ask("GET", SEND, key=keys.operate).body["code"]: "missing_scope",
        ask("POST", SEND, b"{").body["code"]: "invalid_json",
        ask("POST", SEND, {}).body["code"]: "invalid_request",
        ask("POST", SEND, sms(), headers={"idempotency-key": "é"}).body["code"]: "invalid_idempotency_key",
        callers["replay"]("POST", "/v1/dead-letters/replay", b" " * 70_000).body["code"]: "body_too_large",
    }
    assert {code: code for code in found} == found
    schema = ask("GET", "/openapi.json").body["components"]["schemas"]["ProblemDocument"]
    assert "code" in schema["required"]
    assert set(CODES.values()) <= set(schema["properties"]["code"]["examples"])


def test_a_request_id_is_echoed_and_logged(callers: dict[str, Caller], lines: Lines) -> None:
    ask = callers["intake"]
    made = {ask("GET", "/healthz").headers["request-id"] for _ in range(3)}
    assert len(made) == 3
    assert ask("GET", "/healthz", headers={"request-id": "shop-4711.a"}).headers["request-id"] == "shop-4711.a"
    assert ask("GET", "/healthz", headers={"x-request-id": "shop-4712"}).headers["request-id"] == "shop-4712"
    for insane in ("", "a b", "x" * 101, "a\r\nb: c", "é", "\0"):
        assert ask("GET", "/healthz", headers={"request-id": insane}).headers["request-id"] != insane
    ask("GET", SEND, key=None, headers={"request-id": "who-1"})
    (line,) = lines.named("request_refused")
    assert (line["request_id"], line["status"], line["code"]) == ("who-1", 401, "missing_key")


def test_refused_requests_are_logged_at_most_ten_times_a_second(
    callers: dict[str, Caller], keys: Keys, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("tidings.api.app.time.monotonic", lambda: now[0])
    ask = callers["replay"]
    for _ in range(25):
        ask("GET", "/v1/me", key=keys.send)
    assert [line["status"] for line in lines.named("request_refused")] == [403] * 10
    now[0] += 1
    ask("GET", "/v1/me", key="tdg_x")
    assert lines.named("request_refused")[-1]["left_out"] == 15


def test_a_key_with_half_a_surrogate_pair_is_only_invalid(keys: Keys) -> None:
    """JSON, and so an event of Lambda, can contain one."""
    assert ApiKeys(keys=keys.kept).find("tdg_\ud800") is None


# --- readiness --------------------------------------------------------------------------------------------------------


class Hung:
    """A part that does not answer until it is released. It counts its calls."""

    def __init__(self) -> None:
        self.asked, self.at_once, self.most = 0, 0, 0
        self.leave = threading.Event()

    def check(self) -> None:
        self.asked += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.leave.wait(30)
        self.at_once -= 1


class Counted:
    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    def check(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def hung() -> Iterator[Hung]:
    part = Hung()
    yield part
    part.leave.set()


def ready(health: HealthChecks, times: int = 1) -> list[Any]:
    async def ask() -> list[Any]:
        none: Any = None
        return await asyncio.gather(*[health.ready(none) for _ in range(times)])

    return asyncio.run(ask())


def test_a_part_that_hangs_is_asked_once_for_all_requests(hung: Hung, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "PATIENCE", 0.2)
    database: Any = Counted()
    broker: Any = hung
    health = HealthChecks(store=database, broker=broker)
    begun = time.monotonic()
    for answer in ready(health, 60):
        assert answer.status == 200
        assert b'"broker":"unavailable"' in answer.body
    assert ready(health, 60)[0].status == 200
    assert time.monotonic() - begun < 5
    assert (hung.asked, hung.most) == (1, 1)
    assert database.asked <= 2


def test_readiness_is_kept_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    database: Any = Counted()
    broker: Any = Counted()
    health = HealthChecks(store=database, broker=broker)
    now = [1000.0]
    monkeypatch.setattr("tidings.api.health.time.monotonic", lambda: now[0])
    for _ in range(5):
        assert ready(health, 10)[0].status == 200
    assert database.asked == 1
    broker.error = BrokerUnavailable("gone")
    now[0] += health_module.KEPT
    assert b'"broker":"unavailable"' in ready(health)[0].body
    assert database.asked == 2


def test_a_hung_broker_delays_no_submit(
    container: Container, keys: Keys, hung: Hung, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty clients ask for readiness while the broker hangs; a POST has its own threads."""
    monkeypatch.setattr(type(container.broker), "check", lambda _self: hung.check())
    caller = intake_of(container, keys)

    async def crowd() -> float:
        asking = [asyncio.create_task(caller.ask("GET", "/readyz", key=None)) for _ in range(60)]
        await asyncio.sleep(0.1)
        begun = time.monotonic()
        assert (await caller.ask("POST", SEND, sms())).status == 202
        elapsed = time.monotonic() - begun
        hung.leave.set()
        assert {answer.body["status"] for answer in await asyncio.gather(*asking)} <= {"ok", "degraded"}
        return elapsed

    assert asyncio.run(crowd()) < 2.5


# --- the end of a process ---------------------------------------------------------------------------------------------


def test_a_function_finishes_its_requests_after_the_stop_signal(
    settings: dict[str, str], keys: Keys, tmp_path: Path
) -> None:
    body = json.dumps(sms()).encode()
    with process("intake", settings, tmp_path) as running:
        port = urlsplit(running.url).port or 0
        with socket.create_connection(("127.0.0.1", port)) as caller:
            head = (
                f"POST {SEND} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keys.send}\r\nContent-Length: {len(body)}"
            )
            caller.sendall(head.encode() + b"\r\n\r\n" + body[:10])
            assert running("GET", "/healthz").status == 200  # so what was sent before has been read too
            os.kill(running.pid, signal.SIGTERM)
            eventually("it takes no more connections", lambda: not accepts(port), within=60)
            caller.sendall(body[10:])
            caller.settimeout(60)
            assert caller.recv(100).startswith(b"HTTP/1.1 202 ")

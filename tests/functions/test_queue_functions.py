"""The HTTP side of email, sms and push: who may call, what is no event, and what an answer means to the trigger."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tidings.domain.errors import BrokerUnavailable, ConfigurationError, StoreUnavailable
from tidings.domain.notification import Notification, Status
from tidings.messaging.envelope import to_event
from tidings.pipeline.delivery import Delivery
from tidings.pipeline.outgoing import message_for
from tidings.runtime.container import Container
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from tests.functions.conftest import Imported
from tests.functions.scripted import ScriptedSmtp
from tests.functions.served import DEADLINE, ROOT, TRIGGER_TOKEN, Answer, Lines, process
from tests.functions.test_lambda import ENDING
from tests.make import notification
from tests.wait import eventually

CHANNELS = ["email", "sms", "push"]
EMPTY: dict[str, Any] = {"eventSource": "aws:rmq", "eventSourceArn": "", "rmqMessagesByQueue": {}}
BEARER = {"Authorization": f"Bearer {TRIGGER_TOKEN}"}


def ask(
    main: Any, channel: str, method: str = "POST", path: str = "/", *, body: Any = EMPTY, headers: Any = BEARER
) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(EnvironBuilder(method=method, path=path, data=data, headers=headers).get_environ())
    raw, status, answered = getattr(main, channel)(request)
    return Answer(status, answered, json.loads(raw))


@pytest.mark.parametrize("channel", CHANNELS)
def test_health_needs_no_token(imported: Imported, channel: str) -> None:
    answer = ask(imported(channel), channel, "GET", "/healthz", body=b"", headers={})
    assert (answer.status, answer.body) == (200, {"status": "ok", "channel": channel})


@pytest.mark.parametrize("channel", CHANNELS)
def test_only_the_trigger_may_call(imported: Imported, channel: str) -> None:
    main = imported(channel)
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TRIGGER_TOKEN}x"},
        {"Authorization": f"Bearer {TRIGGER_TOKEN[:-1]}"},
        {"Authorization": f"Basic {TRIGGER_TOKEN}"},
        {"Authorization": "Bearer \xe9\xe9"},
    ]
    for headers in wrong:
        answer = ask(main, channel, headers=headers)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
    assert ask(main, channel).status == 200
    assert ask(main, channel, "GET").status == 405
    assert ask(main, channel, "PUT").headers["allow"] == "POST"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        {},
        {"eventSource": "aws:sqs", "Records": []},
        {"eventSource": "aws:rmq"},
        {"eventSource": "aws:rmq", "rmqMessagesByQueue": []},
        {"eventSource": "aws:rmq", "rmqMessagesByQueue": {"q::/": 7}},
    ],
    ids=lambda body: str(body)[:40],
)
def test_an_invalid_event_is_a_bad_request(imported: Imported, body: Any) -> None:
    answer = ask(imported("sms"), "sms", body=body)
    assert (answer.status, answer.body["title"]) == (400, "Not an aws:rmq event")


def test_the_body_is_not_read_before_the_token_is_checked(imported: Imported) -> None:
    assert ask(imported("sms"), "sms", body=b"{", headers={}).status == 401


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StoreUnavailable("the database does not answer"), (503, "batch_aborted")),
        (BrokerUnavailable("not confirmed"), (503, "batch_aborted")),
        (ConfigurationError("TIDINGS_LEASE: too short"), (500, "configuration_invalid")),
        (ValueError("ada@example.com"), (500, "unexpected_error")),
        (RuntimeError("ada@example.com"), (500, "unexpected_error")),
    ],
)
def test_a_failure_redelivers_the_batch_and_reveals_no_recipient(
    imported: Imported, monkeypatch: pytest.MonkeyPatch, lines: Lines, error: Exception, told: tuple[int, str]
) -> None:
    def fails(*_: object, **__: object) -> bool:
        raise error

    main = imported("email")
    for name in ("deliver", "defer"):
        monkeypatch.setattr(Delivery, name, fails)
    answer = ask(main, "email")
    assert answer.status == told[0]
    assert len(lines.named(told[1])) == 1
    assert "ada@example.com" not in lines.text() + json.dumps(answer.body)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - as Lambda would log it
        main.handler(EMPTY, ENDING)
    assert "ada@example.com" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_batch_of_stale_messages_is_settled(imported: Imported, container: Container) -> None:
    row = notification(datetime.now(UTC))
    container.store.insert([row])
    container.store.cancel(row.tenant, row.id)
    message = message_for(row)
    event = to_event([("tidings.email", message.body, {"headers": message.headers}, False)])
    assert ask(imported("email"), "email", body=event).status == 200


def test_a_real_process_settles_a_batch_and_logs_it_without_its_recipient(
    settings: dict[str, str], container: Container, tmp_path: Path
) -> None:
    row = notification(datetime.now(UTC), recipient="ada@example.com")
    container.store.insert([row])
    message = message_for(row)
    good = to_event([("tidings.email", message.body, {"headers": message.headers}, False)])
    bad = to_event([("tidings.email", b"ada@example.com", {}, False)])
    with ScriptedSmtp() as server, process("email", {**settings, "TIDINGS_SMTP_URL": server.url}, tmp_path) as post:
        assert post("GET", "/healthz").body == {"status": "ok", "channel": "email"}
        assert post("POST", "/", json.dumps(good).encode()).status == 401
        assert post("POST", "/", b"{", BEARER).status == 400
        for event in (good, bad, good):
            assert post("POST", "/", json.dumps(event).encode(), BEARER).body == {"status": "settled"}
        assert len(server.mails) == 1
    end = container.store.get(row.tenant, row.id)
    assert end is not None
    assert end.status == "sent"
    log = post.log.read_text()
    logged = {line["message"]: line for line in map(json.loads, filter(None, log.splitlines()))}
    assert set(logged) == {"claimed", "sent", "parked", "stale_message_dropped"}
    sent = logged["sent"]
    assert sent["duration_seconds"] > 0
    assert sent["end_to_end_seconds"] >= logged["claimed"]["waited_seconds"] >= 0
    assert (sent["notification_id"], sent["channel"], sent["attempt"]) == (row.id, "email", 1)
    assert (sent["service"], sent["provider"], sent["level"]) == ("email", "smtp", "INFO")
    for secret in ("ada@example.com", "Shipped", TRIGGER_TOKEN):
        assert secret not in log


# --- a caller that need not wait for the slowest call -----------------------------------------------------------------

ASYNC = {**BEARER, "Prefer": "respond-async"}


@dataclass
class HeldSmtp(ScriptedSmtp):
    """Takes a mail, and answers its final dot when the gate opens."""

    gate: threading.Event = field(default_factory=threading.Event)
    taken: threading.Event = field(default_factory=threading.Event)

    def answer(self, verb: str) -> str:
        if verb == "DOT":
            self.taken.set()
            self.gate.wait(DEADLINE)
        return super().answer(verb)


def mail_event(container: Container) -> tuple[Notification, bytes]:
    """A row, and the event that wakes it."""
    row = notification(datetime.now(UTC))
    container.store.insert([row])
    message = message_for(row)
    return row, json.dumps(to_event([("tidings.email", message.body, {"headers": message.headers}, False)])).encode()


def is_sent(container: Container, row: Notification) -> bool:
    found = container.store.get(row.tenant, row.id)
    return found is not None and found.status is Status.SENT


def test_prefer_respond_async_is_answered_when_all_calls_are_under_way(
    settings: dict[str, str], container: Container, tmp_path: Path
) -> None:
    (slow, first), (quick, second) = mail_event(container), mail_event(container)
    with HeldSmtp() as server, process("email", {**settings, "TIDINGS_SMTP_URL": server.url}, tmp_path) as post:
        answer = post("POST", "/", first, ASYNC)
        assert (answer.status, answer.body) == (202, {"status": "under way"})
        assert server.taken.wait(DEADLINE)
        assert not is_sent(container, slow)
        server.gate.set()
        eventually("the slow one", lambda: is_sent(container, slow), within=DEADLINE)
        eventually("a settled batch", lambda: post("POST", "/", second, ASYNC).status == 200, within=DEADLINE)
        assert is_sent(container, quick)


def test_a_stop_lets_calls_under_way_end_and_settles_them(
    settings: dict[str, str], container: Container, tmp_path: Path
) -> None:
    row, event = mail_event(container)
    with HeldSmtp() as server:
        with process("email", {**settings, "TIDINGS_SMTP_URL": server.url}, tmp_path) as post:
            assert post("POST", "/", event, ASYNC).status == 202
            assert server.taken.wait(DEADLINE)

            def stopping() -> bool:
                try:
                    return post("GET", "/healthz").status != 200
                except OSError:
                    return True

            def answer_late() -> None:
                eventually("a function that takes no more", stopping, within=DEADLINE)
                server.gate.set()

            late = threading.Thread(target=answer_late)
            late.start()
        late.join(DEADLINE)
    assert is_sent(container, row)
    assert len(server.mails) == 1


# --- what an import brings --------------------------------------------------------------------------------------------

TELEMETRY = {"prometheus_client", "opentelemetry"}
SDKS = {
    "email": {"smtplib"},
    "sms": {"twilio"},
    "push": {"firebase_admin"},
    "intake": set(),
    "replay": set(),
    "receipts": set(),
}
BOUNCES = {"aiosmtpd", "flufl", "imapclient"}
HEAVY = {"twilio", "firebase_admin", "boto3", "moto", "alembic", "requests", "starlette", *TELEMETRY, *BOUNCES}
MAY = {
    "email": set(),
    "sms": {"twilio", "requests"},
    "push": {"firebase_admin", "requests"},
    "intake": {"starlette"},
    "replay": {"starlette"},
    "receipts": {"starlette"},
}

LOOK = """
import json, socket, sys, threading
opened = []
sys.addaudithook(lambda event, args: opened.append([event, str(args)[:200]]) if event in
    ("socket.connect", "socket.bind", "sqlite3.connect", "socket.getaddrinfo", "subprocess.Popen") else None)
import functions.{name}.main
print(json.dumps({{"modules": sorted({{module.partition(".")[0] for module in sys.modules}}),
    "opened": opened, "threads": threading.active_count(), "main": "main" in sys.modules}}))
"""


@pytest.mark.parametrize("name", SDKS)
def test_an_import_loads_only_its_own_sdk_and_opens_nothing(settings: dict[str, str], name: str) -> None:
    address = {"TIDINGS_RECEIPTS_URL": "https://receipts.example.com", "TIDINGS_RECEIPTS_SECRET": "s" * 32}
    given = {**settings, **address, "TIDINGS_DATABASE_URL": "sqlite:////nowhere/at/all/tidings.db"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(name=name)],
        cwd=ROOT,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    modules = set(found["modules"])
    assert SDKS[name] <= modules
    assert modules & HEAVY <= MAY[name], "a cold start loads what it does not need"
    # urllib3 asks in this way, at its import, whether the machine has IPv6.
    assert [what for event, what in found["opened"] if (event, "('::1', 0)" in what) != ("socket.bind", True)] == []
    assert found["threads"] == 1

"""What clients without a key, of other tenants, slow or flooding ones cannot do; and what no log and no queue contains.

The rules of one part are tested with that part (test_intake, test_replay, test_queue_functions, test_smtp,
test_api_keys).
Here are the promises that hold for every endpoint.
"""

import gc
import hashlib
import inspect
import json
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tidings.api import api_keys as keys_module
from tidings.api import intake as intake_api
from tidings.api.api_keys import ApiKeys, KeySettings, Scope
from tidings.api.body_limits import MAX_BODY
from tidings.api.endpoint import Endpoint
from tidings.api.operator import endpoints as operator_api
from tidings.config.settings import load
from tidings.domain.errors import PermanentError
from tidings.runtime import invocation
from tidings.runtime.container import Container

from tests.functions.served import (
    TRIGGER_TOKEN,
    Answer,
    Caller,
    Keys,
    intake_of,
    mail,
    process,
    push,
    replay_of,
    sms,
)

SEND = "/v1/notifications"
MISSING = "0193c0de-0000-7000-8000-000000000000"
MIB = 1024 * 1024


# --- every endpoint ---------------------------------------------------------------------------------------------------


ENDPOINTS = [
    (function, endpoint)
    for function, endpoints in (("intake", intake_api.ENDPOINTS), ("replay", operator_api.ENDPOINTS))
    for endpoint in endpoints
]
GUARDED = [(function, endpoint) for function, endpoint in ENDPOINTS if endpoint.scope is not None]
OPEN = {"/", "/openapi.json", "/docs", "/docs/{asset}", "/healthz", "/readyz", "/health", "/ready"}


def named(value: object) -> str:
    return f"{value.method} {value.path}" if isinstance(value, Endpoint) else str(value)


@pytest.fixture
def callers(container: Container, keys: Keys) -> dict[str, Caller]:
    return {"intake": intake_of(container, keys), "replay": replay_of(container, keys)}


def test_only_the_listed_endpoints_need_no_key() -> None:
    assert {endpoint.path for _, endpoint in ENDPOINTS if endpoint.scope is None} == OPEN


@pytest.mark.parametrize(("function", "endpoint"), GUARDED, ids=named)
def test_every_other_endpoint_needs_a_valid_key_with_its_scope(
    callers: dict[str, Caller], keys: Keys, function: str, endpoint: Endpoint
) -> None:
    ask, path = callers[function], endpoint.path.replace("{id}", MISSING)
    without = {Scope.SEND: keys.operate, Scope.OPERATE: keys.send, Scope.ADMIN: keys.operate}
    for key in (None, "tdg_wrong", keys.send[:-1], f"{keys.both}x", hashlib.sha256(keys.both.encode()).hexdigest()):
        answer = ask(endpoint.method, path, b"{", key=key)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert endpoint.scope is not None
    assert ask(endpoint.method, path, b"{", key=without[endpoint.scope]).status == 403
    assert ask(endpoint.method, path, {}, key=keys.both).status not in (401, 403)


@pytest.mark.parametrize(("function", "endpoint"), [pair for pair in GUARDED if "{id}" in pair[1].path], ids=named)
def test_another_tenants_notification_is_answered_like_a_missing_one(
    callers: dict[str, Caller], keys: Keys, function: str, endpoint: Endpoint
) -> None:
    id = callers["intake"]("POST", SEND, sms(), key=keys.both).body["id"]
    bodies = [{}, {"outcome": "sent"}, {"outcome": "replay"}]
    for body in bodies:
        foreign, missing = (
            callers[function](endpoint.method, endpoint.path.replace("{id}", one), body, key=keys.other)
            for one in (id, MISSING)
        )
        assert foreign.body == missing.body
        assert foreign.headers.keys() == missing.headers.keys()
        assert foreign.status in (404, 422)
    assert callers["intake"]("GET", f"{SEND}/{id}", key=keys.both).body["status"] == "pending"


def test_an_idempotency_key_reveals_nothing_of_another_tenant(callers: dict[str, Caller], keys: Keys) -> None:
    ask, header = callers["intake"], {"idempotency-key": "order-1"}
    ours = ask("POST", SEND, sms(), headers=header)
    theirs = ask("POST", SEND, mail(), headers=header, key=keys.other)
    assert (ours.status, theirs.status) == (202, 202)
    assert ours.body["id"] != theirs.body["id"]
    assert "idempotency-replayed" not in theirs.headers


# --- keys -------------------------------------------------------------------------------------------------------------


def test_no_stored_data_of_a_process_contains_a_key(keys: Keys) -> None:
    given = load(KeySettings, {"TIDINGS_API_KEYS": keys.setting})
    ring = ApiKeys(keys=given.api_keys)
    assert ring.find(keys.send) is not None
    for kept in (given, ring, *ring.keys):
        dumped = f"{kept!r} {kept} {[repr(one) for one in gc.get_referents(kept)]}"
        for key in (keys.send, keys.operate, keys.both, keys.other):
            assert key not in dumped
            assert key.removeprefix("tdg_") not in dumped


def test_secrets_are_compared_in_constant_time() -> None:
    """Found in the syntax tree: digests and the token are never compared with `==`."""
    for code in (
        inspect.getsource(keys_module.ApiKeys.find),
        inspect.getsource(invocation.TriggerSettings.admits),
    ):
        assert "hmac.compare_digest(" in code
        assert not re.search(r"(digest|presented|token)\s*[!=]=|[!=]=\s*(digest|presented|token)", code)


# --- header injection -------------------------------------------------------------------------------------------------

BREAKS = ["\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]
FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "recipient": lambda bad: {"recipient": f"ada@example.com{bad}"},
    "subject": lambda bad: {"content": {"subject": f"s{bad}", "text": "t"}},
    "from": lambda bad: {"content": {"subject": "s", "text": "t", "from": f"a@example.com{bad}"}},
    "from's name": lambda bad: {"content": {"subject": "s", "text": "t", "from": f"Ada{bad} <a@example.com>"}},
    "reply_to": lambda bad: {"content": {"subject": "s", "text": "t", "reply_to": f"a@example.com{bad}"}},
    "cc": lambda bad: {"content": {"subject": "s", "text": "t", "cc": [f"a@example.com{bad}"]}},
    "bcc": lambda bad: {"content": {"subject": "s", "text": "t", "bcc": [f"a@example.com{bad}"]}},
    "a header's value": lambda bad: {"content": {"subject": "s", "text": "t", "headers": {"X-Note": f"n{bad}"}}},
    "a header's name": lambda bad: {"content": {"subject": "s", "text": "t", "headers": {f"X-Note{bad}": "n"}}},
    "a file's name": lambda bad: {
        "content": {"subject": "s", "text": "t", "attachments": [{"filename": f"f{bad}", "content": "AAAA"}]}
    },
    "a file's type": lambda bad: {
        "content": {
            "subject": "s",
            "text": "t",
            "attachments": [{"filename": "f", "content": "AAAA", "content_type": f"text/plain{bad}"}],
        }
    },
}


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_mail_adds_a_header(field: str, callers: dict[str, Caller], container: Container) -> None:
    """It is refused, or it is sent and the injected header is part of the field's value."""
    from tidings.domain.channels import EmailContent
    from tidings.providers.smtp.mime import build_mail

    from tests.functions.test_smtp import NOW, outbound

    for line_break in BREAKS:
        answer = callers["intake"]("POST", SEND, mail(**FIELDS[field](f"{line_break}Bcc: eve@example.com")))
        if answer.status == 422:
            # A field is named by its caller's word for it, in a JSON string; no value is said back.
            assert "eve" not in "".join(error["detail"] for error in answer.body["errors"])
            continue
        assert answer.status == 202
        row = container.store.get("acme", answer.body["id"])
        assert row is not None
        content = EmailContent.model_validate_json(row.content)
        try:
            made = build_mail(outbound(content, recipient=row.recipient), sender="a@b.org", domain="b.org", date=NOW)
        except PermanentError:
            continue
        head = bytes(made.data).split(b"\r\n\r\n")[0]
        assert not re.search(rb"(?im)(^|[\r\n\x0b\x0c\x1c\x85])bcc:", head), head


# --- real processes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bearer(keys: Keys) -> dict[str, str]:
    return {"authorization": f"Bearer {keys.send}", "content-type": "application/json"}


def resident(pid: int, which: str = "VmHWM") -> int:
    """In bytes. VmHWM: the peak; VmRSS: now."""
    (line,) = re.findall(rf"{which}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) * 1024


@contextmanager
def connected(url: str) -> Iterator[HTTPConnection]:
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        yield connection


def pushed(url: str, headers: Mapping[str, str], *, size: int, chunked: bool) -> tuple[int, int]:
    """Send a body until the other side stops reading. Return the status and the bytes that were read."""
    part, sent = b" " * 65536, 0
    with connected(url) as connection:
        connection.putrequest("POST", SEND)
        for name, value in {**headers, **({"transfer-encoding": "chunked"} if chunked else {})}.items():
            connection.putheader(name, value)
        if not chunked:
            connection.putheader("content-length", str(size))
        connection.endheaders()
        sock = connection.sock
        assert sock is not None
        sock.setblocking(False)
        rest, deadline = b"", time.monotonic() + 60
        while sent < size and time.monotonic() < deadline:
            try:
                if sock.recv(1, socket.MSG_PEEK):
                    break  # it has answered
            except BlockingIOError:
                pass
            try:
                rest = rest or (b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                taken = sock.send(rest)
                rest, sent = rest[taken:], sent + taken
            except BlockingIOError:
                time.sleep(0.001)
            except ConnectionError:
                break
        sock.setblocking(True)
        sock.settimeout(60)
        response = HTTPResponse(sock)
        response.begin()
        return response.status, sent


def test_a_body_above_the_limit_is_refused_and_never_buffered(
    settings: dict[str, str], bearer: dict[str, str], tmp_path: Path
) -> None:
    with process("intake", settings, tmp_path) as ask:
        ask("POST", SEND, json.dumps(mail()).encode(), bearer)
        pid, huge = ask.worker, 400 * MIB
        before = resident(pid)
        with ThreadPoolExecutor(8) as threads:
            refused = list(threads.map(lambda _: pushed(ask.url, bearer, size=huge, chunked=False), range(8)))
        assert {status for status, _ in refused} == {413}
        assert resident(pid) - before < 24 * MIB
        # Without a length it is known at the limit, and one body of that size is the most that is held of it.
        status, taken = pushed(ask.url, bearer, size=huge, chunked=True)
        assert status == 413
        assert taken < MAX_BODY + 16 * MIB
        assert resident(pid) - before < 3 * MAX_BODY
        # Who has no key is not read at all.
        before = resident(pid)
        for chunked in (False, True):
            status, taken = pushed(ask.url, {}, size=huge, chunked=chunked)
            assert status == 401
            assert taken < 16 * MIB
        assert resident(pid) - before < 8 * MIB
        assert ask("POST", SEND, json.dumps(mail()).encode(), bearer).status == 202


@pytest.mark.parametrize("shape", [b"[" * 200_000, b'{"a":' * 200_000, b"[" * 90_000 + b"]" * 90_000])
def test_a_deeply_nested_body_never_causes_a_500(callers: dict[str, Caller], keys: Keys, shape: bytes) -> None:
    for function, route in GUARDED:
        if route.method == "POST":
            path = route.path.replace("{id}", MISSING)
            assert callers[function]("POST", path, shape, key=keys.both).status in (200, 400, 404, 413, 422)
    item = json.dumps(mail()).encode()
    for body in (
        b'{"content":' + shape + b"}",
        item[:-1] + b', "metadata": ' + shape + b"}",
        b"[" + item + b"," + shape,
    ):
        assert callers["intake"]("POST", SEND, body).status in (400, 422)


def test_clients_that_send_a_byte_at_a_time_delay_no_other(
    settings: dict[str, str], bearer: dict[str, str], tmp_path: Path
) -> None:
    body = json.dumps(mail()).encode()
    with process("intake", settings, tmp_path) as ask:
        address = urlsplit(ask.url)
        head = f"POST {SEND} HTTP/1.1\r\nhost: x\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in bearer.items()
        )
        whole = f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
        slow = [socket.create_connection((address.hostname or "", address.port or 0), timeout=60) for _ in range(50)]
        for index in range(len(whole)):
            for one in slow:
                one.sendall(whole[index : index + 1])
            if index % 50 == 0:
                # They send no more until it is answered: whoever waits for them waits for ever.
                assert ask("POST", SEND, body, bearer).status == 202
        for one in slow:
            with one, one.makefile("rb") as answer:
                assert answer.readline().split()[1] == b"202"


def test_a_flood_while_the_database_is_blocked_is_refused_in_bounded_memory(
    settings: dict[str, str], bearer: dict[str, str], tmp_path: Path, database_file: Path
) -> None:
    """20,000 units of 4 KiB may wait. The rest gets 503 with Retry-After, and what was accepted is stored."""
    text = "x" * 400_000
    body = json.dumps(mail(content={"subject": "s", "text": text})).encode()
    given = {**settings, "TIDINGS_DATABASE_TIMEOUT": "120"}  # longer than it is blocked, on a busy machine, too
    with process("intake", given, tmp_path) as ask, ThreadPoolExecutor(32) as threads:
        assert ask("POST", SEND, body, bearer).status == 202
        pid = ask.worker
        with closing(sqlite3.connect(database_file, isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            waiting: list[socket.socket] = []
            address = urlsplit(ask.url)
            head = f"POST {SEND} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + "".join(
                f"{name}: {value}\r\n" for name, value in bearer.items()
            )
            for _ in range(300):
                one = socket.create_connection((address.hostname or "", address.port or 0), timeout=60)
                one.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                waiting.append(one)
            deadline = time.monotonic() + 60
            refused: Answer | None = None
            while refused is None and time.monotonic() < deadline:
                # It answers this only once it has read it, so what came before it has been read, too.
                attempt = threads.submit(ask, "POST", SEND, body, bearer)
                try:
                    refused = attempt.result(2)
                except TimeoutError:
                    continue
            assert refused is not None
            assert refused.status == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert ask("GET", "/healthz").status == 200
            assert resident(pid, "VmRSS") < 500 * MIB
            blocker.execute("ROLLBACK")
        statuses = []
        for one in waiting:
            with one, one.makefile("rb") as answer:
                statuses.append(int(answer.readline().split()[1]))
        assert set(statuses) <= {202, 503}
        assert statuses.count(202) >= 100
    with closing(sqlite3.connect(database_file)) as connection:
        (stored,) = connection.execute("SELECT COUNT(*) FROM notifications").fetchone()
    assert stored >= 1 + statuses.count(202)


# --- what may be seen -------------------------------------------------------------------------------------------------

PERSONAL = (
    "grace.hopper@example.com",
    "+15005550123",
    "device-of-grace",
    "Hopper-subject",
    "Hopper-text",
    "hopper-meta",
)


def test_no_log_and_no_queue_holds_a_recipient_a_text_or_a_secret(
    settings: dict[str, str], keys: Keys, bearer: dict[str, str], tmp_path: Path, database_file: Path
) -> None:
    content = {"subject": "Hopper-subject", "text": "Hopper-text"}
    sent = [
        mail(recipient=PERSONAL[0], content=content, metadata={"who": "hopper-meta"}, idempotency_key="hopper-key"),
        mail(recipient=PERSONAL[0], content=content, max_attempts=1),
        sms(recipient=PERSONAL[1], content={"text": "Hopper-text"}),
        push(recipient={"token": PERSONAL[2]}, content={"title": "Hopper-subject", "body": "Hopper-text"}),
    ]
    debug = {**settings, "TIDINGS_LOG_LEVEL": "DEBUG", "TIDINGS_SMTP_URL": "smtp://grace:hopper-password@127.0.0.1:9"}
    operator = {"authorization": f"Bearer {keys.operate}"}
    logs = []
    with process("intake", debug, tmp_path) as ask:
        assert ask("POST", SEND, json.dumps(sent).encode(), bearer).status == 202
        bad = mail(recipient=PERSONAL[0] + " x", content={**content, "Hopper-subject": 1}, channel="Hopper-text")
        for body in (bad, [bad], {**sent[0], "Hopper-subject": 1, "recipient": 7}, sms(recipient=PERSONAL[1] + "x")):
            answer = ask("POST", SEND, json.dumps(body).encode(), bearer)
            assert answer.status == 422
        assert ask("GET", f"{SEND}?recipient={PERSONAL[0]}", None, bearer).status == 200
        assert (
            ask("GET", f"{SEND}?recipient={PERSONAL[0]}", None, {"authorization": f"Bearer {keys.send}x"}).status == 401
        )
    logs.append(ask.log.read_text())  # once it has ended, for the last line may come after the answer
    with closing(sqlite3.connect(database_file)) as connection:
        queued = connection.execute("SELECT message_id, headers, body FROM messages").fetchall()
    assert len(queued) == 4
    from tests.functions.test_queue_functions import BEARER

    for channel in ("email", "sms", "push"):
        event = _event(channel, queued)
        with process(channel, debug, tmp_path) as post:
            assert post("POST", "/", event, {"Authorization": f"Bearer {TRIGGER_TOKEN}x"}).status == 401
            assert post("POST", "/", event).status == 401
            assert post("POST", "/", event, BEARER).status == 200
        logs.append(post.log.read_text())
    with process("replay", debug, tmp_path) as operate:
        assert operate("GET", "/v1/dead-letters", None, operator).status == 200
        assert operate("POST", "/v1/dead-letters/replay", b"{}", operator).status == 200
        assert operate("POST", "/v1/sweep", b"", operator).status == 200
    logs.append(operate.log.read_text())
    with closing(sqlite3.connect(database_file)) as connection:
        everything = [*queued, *connection.execute("SELECT message_id, headers, body FROM messages").fetchall()]
    assert all('"message"' in log for log in logs[:4]), "a log that says nothing proves nothing"
    seen = "\n".join([*logs, *(f"{a} {b} {c!r}" for a, b, c in everything)])
    secrets = (keys.send, keys.operate, TRIGGER_TOKEN, "hopper-password", "hopper-key", "emulated")
    for personal in (*PERSONAL, *secrets):
        assert personal not in seen, personal


def _event(channel: str, queued: list[tuple[str, str, bytes]]) -> bytes:
    from tidings.messaging.envelope import to_event

    mine = [(headers, body) for _, headers, body in queued if json.loads(body)["channel"] == channel]
    return json.dumps(
        to_event((f"tidings.{channel}", body, {"headers": json.loads(headers)}, False) for headers, body in mine)
    ).encode()


ECHOES: list[Any] = [
    b"hopper-text",
    b'"hopper-text',
    {"channel": "hopper-text"},
    mail(recipient="hopper-text"),
    mail(content="hopper-text"),
    mail(content={"subject": ["hopper-text"], "text": {"hopper-text": 1}}),
    mail(send_at="hopper-text", priority="hopper-text", on_ambiguous="hopper-text", max_attempts="hopper-text"),
    mail(metadata={"a": ["hopper-text"]}),
    mail(idempotency_key="hopper-text\n"),
    sms(recipient="hopper-text", content={"text": ["hopper-text"]}),
    push(recipient={"token": ["hopper-text"]}, content={"title": ["hopper-text"]}),
    mail(
        content={"subject": "s", "text": "t", "from": "hopper-text", "cc": ["hopper-text"], "reply_to": "hopper-text"}
    ),
    mail(content={"subject": "s", "text": "t", "attachments": [{"filename": "f", "content": "hopper-text!"}]}),
]


@pytest.mark.parametrize("body", ECHOES, ids=lambda body: str(body)[:50])
def test_an_error_never_repeats_what_was_sent(callers: dict[str, Caller], body: Any) -> None:
    for sent in (body,) if isinstance(body, bytes) else (body, [body]):
        answer = callers["intake"]("POST", SEND, sent)
        assert answer.status in (400, 422)
        assert "hopper-text" not in json.dumps(answer.body)


def test_an_error_about_a_query_a_path_or_a_header_never_repeats_it(callers: dict[str, Caller], keys: Keys) -> None:
    intake, replay = callers["intake"], callers["replay"]
    secret = "hopper text"
    for name in ("status", "channel", "since", "until", "cursor", "limit"):
        for answer in (
            intake("GET", SEND, query={name: secret}),
            replay("GET", "/v1/dead-letters", query={name: secret}),
            replay("POST", "/v1/dead-letters/replay", {name: secret}),
        ):
            assert answer.status == 422
            assert secret not in json.dumps(answer.body)
    for answer in (
        intake("GET", f"{SEND}/{secret}"),
        intake("GET", f"/{secret}"),
        intake("PUT", SEND, secret.encode()),
        intake("GET", SEND, key=secret),
        intake("POST", SEND, mail(), headers={"idempotency-key": f"{secret}é"}),
    ):
        assert 400 <= answer.status < 500
        assert secret not in json.dumps(answer.body) + json.dumps(dict(answer.headers))


def test_an_answer_is_never_much_larger_than_its_request(callers: dict[str, Caller]) -> None:
    """Neither with a field name as long as a body, nor with an array of entirely invalid items."""
    name, fields = "é" * 1_000_000, {f"{n:x}": 1 for n in range(900)}
    for body in (sms(**{name: 1}), [sms(metadata={name: 1})], [sms(**fields)] * 100):
        response = callers["intake"]("POST", SEND, body)
        assert response.status == 422
        assert len(json.dumps(response.body)) < 1.5 * MIB

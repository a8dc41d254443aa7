"""FCM: what each code means, what is sent, the access token, and what is never done twice."""

import base64
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import firebase_admin
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import _helpers, _regional_access_boundary_utils
from requests.exceptions import InvalidJSONError
from tidings.config.settings import load
from tidings.domain.channels import PushContent, SmsContent
from tidings.domain.errors import (
    AccountError,
    AmbiguousError,
    ConfigurationError,
    DeliveryError,
    PermanentError,
    TransientError,
)
from tidings.domain.notification import Priority
from tidings.ports import SendRequest
from tidings.providers import http
from tidings.providers.fcm import client as fcm_client
from tidings.providers.fcm import provider as fcm
from tidings.providers.fcm.provider import FcmProvider, FcmSettings

from tests.functions.scripted import CLOSE, HANG, RESET, Answer, Request, ScriptedHttp, refusing_port, server_context
from tests.scenarios.caller import wait_for
from tests.test_failures import answers_of_fcm

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = str(uuid.UUID(int=0x01A205121BE37173BD598741BF3D2A20))
TOPIC = "01a205121be37173bd598741bf3d2a20"
SENT = Answer(200, {"name": "projects/p/messages/42"})
TOKEN = Answer(200, {"access_token": "ya29.secret", "expires_in": 3600, "token_type": "Bearer"})
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


def outbound(**changed: Any) -> SendRequest:
    given = {"id": "1", "attempt": 1, "recipient": "token:device", "content": PushContent(title="Hello"), **changed}
    return SendRequest(**given)


class Google:
    """FCM and the token endpoint, each with its answer."""

    def __init__(self, fcm: Answer | str = SENT, token: Answer | str = TOKEN) -> None:
        self.fcm = fcm
        self.token = token
        self.token_delay = 0.0
        self.http = ScriptedHttp(self._answer)

    def _answer(self, request: Request) -> Answer | str:
        if request.path == "/token":
            self.http.over.wait(self.token_delay)
            return self.token
        return self.fcm

    @property
    def posts(self) -> list[Request]:
        return [request for request in self.http.requests if request.path != "/token"]

    @property
    def exchanges(self) -> list[Request]:
        return [request for request in self.http.requests if request.path == "/token"]


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


Serve = Callable[..., Google]
Make = Callable[..., FcmProvider]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def google(*args: Any, **kwargs: Any) -> Google:
            made = Google(*args, **kwargs)
            stack.enter_context(made.http.running())
            return made

        yield google


@pytest.fixture
def make(private_key: str) -> Iterator[Make]:
    made: list[FcmProvider] = []

    def provider(url: str, token_uri: str | None = None, **changed: Any) -> FcmProvider:
        account = {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "k",
            "private_key": private_key,
            "client_email": "tidings@p.iam.gserviceaccount.com",
            "token_uri": token_uri or f"{url}/token",
        }
        given = {"timeout": 80.0, "service_account": json.dumps(account), **changed}
        made.append(FcmProvider(FcmSettings(url=url, **given), now=lambda: NOW))
        return made[-1]

    yield provider
    for one in made:
        one.close()


def refused(
    status: int,
    code: str | None,
    name: str = "X",
    message: str = "no",
    *,
    field: str | None = None,
    more: Sequence[dict[str, Any]] = (),
) -> Answer:
    details: list[dict[str, Any]] = []
    if code is not None:
        details.append({"@type": FCM_ERROR, "errorCode": code})
    if field is not None:
        details.append({"@type": BAD_REQUEST, "fieldViolations": [{"field": field, "description": message}]})
    details.extend(more)
    return Answer(status, {"error": {"code": status, "message": message, "status": name, "details": details}})


def failed(google: Google, make: Make, *, posts: int = 1, **changed: Any) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        make(google.http.url, **changed).send(outbound())
    if posts:
        wait_for(lambda: google.posts)  # whose time ran out may be gone before the server has read it
    assert len(google.posts) == posts
    return raised.value


def tried(one: FcmProvider) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        one.send(outbound())
    return raised.value


HTML = b"<html><body>Bad gateway</body></html>"


def test_each_answer_has_the_class_that_the_catalogue_says(serve: Serve, make: Make) -> None:
    """Every row of docs/failures.md through the real SDK: FCM's own codes, those of the RPC, and no code at all."""
    google = serve()
    one = make(google.http.url)
    wrong = []
    for code, status, kind in answers_of_fcm():
        for google.fcm in (
            [Answer(status, HTML)] if code.isdigit() else [refused(status, code), refused(status, None, code)]
        ):
            error = tried(one)
            if (error.kind, error.code) != (kind, code):
                wrong.append((status, code, error))
    assert not wrong
    assert len(google.posts) > 60  # one a row, and two where there is a code


def test_a_code_of_fcm_that_says_nothing_leaves_it_to_the_status_of_the_rpc(serve: Serve, make: Make) -> None:
    error = failed(serve(refused(409, "UNSPECIFIED_ERROR", "ALREADY_EXISTS")), make)
    assert (type(error), error.code) == (AmbiguousError, "UNSPECIFIED_ERROR")


def test_only_a_token_that_is_gone_is_suppressed(serve: Serve, make: Make) -> None:
    """A token of another project is not: with a wrong service account, every token would be."""

    def suppressed(status: int, code: str) -> str | None:
        error = failed(serve(refused(status, code)), make)
        assert isinstance(error, PermanentError)
        return error.suppress

    assert suppressed(404, "UNREGISTERED") == "token_dead"
    assert suppressed(403, "SENDER_ID_MISMATCH") is None
    assert suppressed(400, "INVALID_ARGUMENT") is None


def test_a_refusal_by_apple_may_be_the_account(serve: Serve, make: Make) -> None:
    """FCM says it with the words for a missing access token: https://github.com/firebase/firebase-admin-node/issues/3215"""
    said = "Request is missing required authentication credential. Expected OAuth 2 access token"
    google = serve(refused(401, "THIRD_PARTY_AUTH_ERROR", "UNAUTHENTICATED", said))
    one = make(google.http.url)
    for _ in range(2):
        with pytest.raises(TransientError) as raised:
            one.send(outbound())
        assert raised.value.may_be_account
    assert len(google.exchanges) == 1  # it says nothing of our access token


def test_what_may_mean_the_account_says_so(serve: Serve, make: Make) -> None:
    google = serve()
    one = make(google.http.url)

    def may_be_account(answer: Answer) -> bool:
        google.fcm = answer
        error = tried(one)
        assert isinstance(error, TransientError)
        return error.may_be_account

    assert may_be_account(refused(400, None, "FAILED_PRECONDITION"))
    assert may_be_account(Answer(400, HTML))
    assert not may_be_account(Answer(408, HTML))
    assert not may_be_account(refused(429, "QUOTA_EXCEEDED"))
    assert not may_be_account(refused(409, None, "ABORTED"))


def test_an_invalid_argument_that_names_the_project_is_the_account(serve: Serve, make: Make) -> None:
    error = failed(serve(refused(400, "INVALID_ARGUMENT", field="parent")), make)
    assert (type(error), error.code) == (AccountError, "INVALID_ARGUMENT")


def test_an_invalid_argument_is_a_dead_token_only_if_it_says_so(serve: Serve, make: Make) -> None:
    def suppressed(**said: Any) -> str | None:
        error = failed(serve(refused(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", **said)), make)
        assert isinstance(error, PermanentError)
        return error.suppress

    assert suppressed(field="message.token") == "token_dead"
    assert suppressed(message="The registration token is not a valid FCM registration token") == "token_dead"
    assert suppressed(field="message.data[0].value") is None
    assert suppressed(message="Message is too big") is None


def in_body(delay: object) -> list[dict[str, Any]]:
    return [{"@type": RETRY_INFO, "retryDelay": delay}]


NO_DELAYS: list[object] = [None, "", "s", "30", "-5s", "1e3s", "nans", "٣s", "9" * 400 + "s", 30, {}, []]
WAITS: list[tuple[str | None, object, float]] = [
    # Retry-After, retryDelay, seconds
    ("7", "30s", 7),
    ("600", None, 600),
    (None, "30s", 30),
    (None, "3.5s", 3.5),
    (None, "0s", 0),
    ("soon", "90s", 90),
    (None, "315576000000s", 86_400),
    *[(None, odd, 60) for odd in NO_DELAYS],
    ("soon", None, 60),
]


def test_a_quota_waits_as_fcm_says_or_a_minute(serve: Serve, make: Make) -> None:
    google = serve()
    one = make(google.http.url)
    for header, delay, seconds in WAITS:
        google.fcm = refused(429, "QUOTA_EXCEEDED", more=in_body(delay))
        google.fcm.headers |= {"Retry-After": header} if header is not None else {}
        assert tried(one).retry_after == timedelta(seconds=seconds), (header, delay)


def test_what_is_ambiguous_passes_the_vendors_wish_on(serve: Serve, make: Make) -> None:
    answer = refused(503, "UNAVAILABLE")
    answer.headers["Retry-After"] = "30"
    assert failed(serve(answer), make).retry_after == timedelta(seconds=30)
    assert failed(serve(refused(503, "UNAVAILABLE")), make).retry_after is None
    told = failed(serve(refused(503, "UNAVAILABLE", more=in_body("12s"))), make).retry_after
    assert told == timedelta(seconds=12)


def test_an_error_other_than_quota_is_retried_on_the_schedule(serve: Serve, make: Make) -> None:
    assert failed(serve(refused(409, None, "ABORTED")), make).retry_after is None
    assert failed(serve(Answer(408, HTML)), make).retry_after is None


ODD = (b"", HTML, b"null", b"[]", b"[1]", b"7", b'"text"', b"true", b"{}", b"\xff\xfe", b"[" * 100_000)


def test_an_error_page_that_is_not_googles_is_judged_by_its_status(serve: Serve, make: Make) -> None:
    google = serve()
    one = make(google.http.url)
    for body in (
        *ODD,
        *[b'{"error": "bad gateway"}', b'{"error": {"details": 7}}', b'{"error": {"status": [], "message": {}}}'],
        b'{"error": {"details": [7, {"fieldViolations": 7}, {"fieldViolations": [7]}]}}',
        b'{"error": {"details": [{"@type": "%s", "errorCode": {}}]}}' % FCM_ERROR.encode(),
    ):
        for status, kind in ((502, AmbiguousError), (429, TransientError)):
            google.fcm = Answer(status, body)
            error = tried(one)
            assert (type(error), error.code) == (kind, str(status)), body[:80]


def test_an_acceptance_that_cannot_be_read_is_ambiguous(serve: Serve, make: Make) -> None:
    google = serve()
    one = make(google.http.url)
    names = [b'{"name": ""}', b'{"name": null}', b'{"name": 42}', b'{"name": {}}', b'["name"]']
    for body in (*ODD, *names):
        google.fcm = Answer(200, body)
        error = tried(one)
        assert (type(error), error.code) == (AmbiguousError, "unreadable"), body[:80]


@pytest.mark.parametrize("how", [CLOSE, RESET])
def test_a_connection_that_breaks_after_the_request_is_ambiguous(serve: Serve, make: Make, how: str) -> None:
    error = failed(serve(how), make)
    assert (type(error), error.code) == (AmbiguousError, "connection_lost")


def test_a_connection_from_before_a_long_pause_is_not_used_again(
    serve: Serve, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have died unnoticed, and the request that finds it out may have been taken."""
    google = serve()
    one = make(google.http.url)
    for _ in range(2):
        one.send(outbound())
    known = google.http.connections
    one.send(outbound())
    assert google.http.connections == known
    monkeypatch.setattr(http, "time", SimpleNamespace(time=lambda: time.time() + http.IDLE + 1))
    for _ in range(2):
        one.send(outbound())
    assert google.http.connections == known + 1


def test_a_netrc_does_not_replace_the_access_token(
    serve: Serve, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    google = serve()
    make(google.http.url).send(outbound())
    assert [post.headers["authorization"] for post in google.posts] == ["Bearer ya29.secret"]
    assert [exchange.headers.get("authorization") for exchange in google.exchanges] == [None]


def test_an_answer_that_does_not_come_is_ambiguous(serve: Serve, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    # Short where the time runs out, and nowhere else: the access token comes first.
    limits = fcm_client.Limits(wait=20, token=20, post=1)
    monkeypatch.setattr(fcm, "Limits", SimpleNamespace(within=lambda _: limits))
    error = failed(serve(HANG), make)
    assert (type(error), error.code) == (AmbiguousError, "timeout")


def test_a_failure_to_connect_is_transient(serve: Serve, make: Make) -> None:
    google = serve()
    one = make(f"http://127.0.0.1:{refusing_port()}", token_uri=f"{google.http.url}/token")
    with pytest.raises(TransientError, match="connect"):
        one.send(outbound())


@pytest.mark.parametrize("how", ["not trusted", "closed in the handshake"])
def test_tls_that_fails_before_the_post_is_transient(
    serve: Serve, make: Make, certificate: tuple[Path, Path], how: str
) -> None:
    google = serve()
    server = ScriptedHttp(lambda _: SENT, tls=server_context(certificate) if how == "not trusted" else None)
    with server.running():
        error = tried(make(server.url.replace("http:", "https:"), token_uri=f"{google.http.url}/token"))
    assert (type(error), error.code) == (TransientError, "connect")
    assert not server.requests


def test_a_proxy_that_refuses_the_way_to_fcm_is_transient(
    serve: Serve, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    google = serve()
    monkeypatch.setenv("https_proxy", google.http.url)  # it knows no CONNECT: 501
    error = tried(make("https://fcm.example", token_uri=f"{google.http.url}/token"))
    assert (type(error), error.code) == (TransientError, "connect")
    assert google.posts == []


def test_a_redirect_is_not_followed(serve: Serve, make: Make) -> None:
    target = serve()
    google = serve(Answer(307, {}, {"Location": f"{target.http.url}/elsewhere"}))
    assert type(failed(google, make)) is AmbiguousError
    assert target.posts == []


def test_no_token_appears_in_an_error(serve: Serve, make: Make) -> None:
    error = failed(serve(refused(400, "INVALID_ARGUMENT", message="device is no good, ya29 neither")), make)
    assert "device" not in str(error)
    assert "secret" not in str(error)


# --- the access token -------------------------------------------------------------------------------------------------


def test_a_service_account_that_is_refused_is_our_accounts_fault(serve: Serve, make: Make) -> None:
    denied = Answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
    error = failed(serve(token=denied), make, posts=0)
    assert (type(error), error.code) == (AccountError, "invalid_grant")


@pytest.mark.parametrize("token", [Answer(500, {}), Answer(503, {}), Answer(429, {}), CLOSE, RESET, HANG])
def test_a_token_endpoint_that_fails_is_transient_and_asked_once(serve: Serve, make: Make, token: Answer | str) -> None:
    google = serve(token=token)
    error = failed(google, make, posts=0, timeout=4.0 if token == HANG else 80.0)
    assert (type(error), error.code) == (TransientError, "token_exchange")
    wait_for(lambda: google.exchanges)  # whose time ran out may be gone before the server has read it
    assert len(google.exchanges) == 1


def test_a_token_endpoint_that_is_not_there_is_transient(serve: Serve, make: Make) -> None:
    error = failed(serve(), make, posts=0, token_uri=f"http://127.0.0.1:{refusing_port()}/token")
    assert type(error) is TransientError


def granted(**changed: Any) -> Answer:
    return Answer(200, {**TOKEN.body, **changed})


def test_whatever_the_token_endpoint_answers_nothing_was_sent(serve: Serve, make: Make) -> None:
    google = serve()
    one = make(google.http.url)
    errors = [b'{"error": %s}' % word for word in (b"null", b"5", b'{"code": 403}', b'["x"]', b'"no word"')]
    for status in (200, 302, 400, 403, 404):
        for body in (*ODD, *errors):
            google.token = Answer(status, body)
            before = len(google.exchanges)
            error = tried(one)
            assert (type(error), error.code) == (TransientError, "token_exchange"), (status, body[:80])
            assert len(google.exchanges) == before + 1
    assert google.posts == []


NO_TOKENS: list[object] = [None, 5, "", [], {}, "two\nlines", "ümlaut"]
NO_TIMES: list[object] = [-1, 0, "-60", "soon", "", [], {}, 1e300, 10**400, float("nan")]


def test_a_token_that_is_none_or_does_not_last_is_not_used(serve: Serve, make: Make) -> None:
    google = serve()
    one = make(google.http.url)
    tokens = [granted(access_token=odd) for odd in NO_TOKENS] + [granted(expires_in=odd) for odd in NO_TIMES]
    for google.token in tokens:
        error = tried(one)
        assert (type(error), error.code) == (TransientError, "token_exchange"), google.token
    assert google.posts == []
    google.token = TOKEN
    one.send(outbound())


@pytest.mark.parametrize("expires_in", [None, "3600", 3600.0, 10**9])
def test_a_token_that_says_otherwise_than_google_when_it_expires_lasts_an_hour(
    serve: Serve, make: Make, monkeypatch: pytest.MonkeyPatch, expires_in: object
) -> None:
    google = serve(token=granted(expires_in=expires_in))
    one = make(google.http.url)
    for _ in range(2):
        one.send(outbound())
    assert len(google.exchanges) == 1
    later = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
    monkeypatch.setattr(_helpers, "utcnow", lambda: later)
    one.send(outbound())
    assert len(google.exchanges) == 2


def test_a_token_endpoint_that_asks_for_patience_is_asked_once(serve: Serve, make: Make) -> None:
    google = serve(token=Answer(400, {"error": "temporarily_unavailable"}))
    error = failed(google, make, posts=0)
    assert (type(error), error.code) == (TransientError, "token_exchange")
    assert len(google.exchanges) == 1


@pytest.mark.parametrize("how", ["not trusted", "closed in the handshake"])
def test_tls_that_fails_before_the_token_is_transient(
    serve: Serve, make: Make, certificate: tuple[Path, Path], how: str
) -> None:
    google = serve()
    server = ScriptedHttp(lambda _: TOKEN, tls=server_context(certificate) if how == "not trusted" else None)
    with server.running():
        url = server.url.replace("http:", "https:")
        error = failed(google, make, posts=0, token_uri=f"{url}/token")
    assert (type(error), error.code) == (TransientError, "token_exchange")
    assert not server.requests


def test_a_proxy_that_refuses_the_way_to_the_token_is_transient(
    serve: Serve, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    google = serve()
    monkeypatch.setenv("https_proxy", google.http.url)  # it knows no CONNECT: 501
    error = failed(google, make, posts=0, token_uri="https://oauth2.example/token")
    assert (type(error), error.code) == (TransientError, "token_exchange")


@pytest.mark.parametrize("where", ["build", "Post"])
def test_an_unexpected_error_before_the_post_is_not_ambiguous(
    serve: Serve, make: Make, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The text has its type alone: what the exception says could hold a recipient."""

    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("device")

    if where == "build":
        monkeypatch.setattr(fcm, "build", broken)
    else:
        monkeypatch.setattr(fcm_client._AuthorizedSession, "request", broken)
    error = failed(serve(), make, posts=0)
    assert (type(error), error.code) == (TransientError, "internal")
    assert "RuntimeError" in error.message
    assert "device" not in error.message


def test_an_error_in_the_post_is_ambiguous_unless_no_request_could_be_built(
    serve: Serve, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    google = serve()
    one = make(google.http.url)
    one.send(outbound())  # the access token is there

    def judged(raised: Exception) -> tuple[type[DeliveryError], str]:
        def broken(*_: object, **__: object) -> object:
            raise raised

        monkeypatch.setattr(http.SingleAttemptSession, "request", broken)
        error = tried(one)
        assert "device" not in error.message
        return type(error), error.code

    for unmade in (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, InvalidJSONError):
        assert judged(unmade("device")) == (TransientError, "internal")
    for ours in (RuntimeError, ValueError):
        assert judged(ours("device")) == (AmbiguousError, "internal")
    assert judged(requests.exceptions.ChunkedEncodingError("device")) == (AmbiguousError, "connection_lost")


def test_many_threads_fetch_one_token(serve: Serve, make: Make) -> None:
    google = serve()
    one = make(google.http.url)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: one.send(outbound(id=str(n))), range(64)))
    assert (len(google.exchanges), len(google.posts)) == (1, 64)


def test_no_thread_waits_for_a_token_longer_than_the_timeout(serve: Serve, make: Make) -> None:
    google = serve()
    google.token_delay = 20
    one = make(google.http.url, timeout=4.0)

    def elapsed() -> float:
        began = time.monotonic()
        with pytest.raises(TransientError):
            one.send(outbound())
        return time.monotonic() - began

    with ThreadPoolExecutor(16) as pool:
        times = list(pool.map(lambda _: elapsed(), range(16)))
    assert max(times) < 10  # each gives the token a second: one after the other they would take 16


def test_a_token_that_is_refused_is_fetched_anew_for_the_next_message(serve: Serve, make: Make) -> None:
    google = serve(refused(401, None, "UNAUTHENTICATED"))
    one = make(google.http.url)
    with pytest.raises(AccountError):
        one.send(outbound())
    assert (len(google.exchanges), len(google.posts)) == (1, 1)
    google.fcm = SENT
    one.send(outbound())
    assert (len(google.exchanges), len(google.posts)) == (2, 2)


def test_nothing_is_asked_of_google_but_the_token_and_the_message(
    serve: Serve, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """google-auth would look up, in a thread of its own, from where the account may be used."""
    looked_up: list[object] = []
    manager = _regional_access_boundary_utils._RegionalAccessBoundaryRefreshManager
    monkeypatch.setattr(manager, "start_refresh", lambda *_: looked_up.append(_))
    google = serve()
    make(google.http.url).send(outbound())
    assert len(google.http.requests) == 2
    assert not looked_up


def test_a_key_that_cannot_be_read_is_our_accounts_fault(make: Make) -> None:
    account = {"type": "service_account", "project_id": "p", "private_key": "x", "client_email": "x", "token_uri": "x"}
    with pytest.raises(AccountError, match="private key"):
        make("http://127.0.0.1:1", service_account=json.dumps(account)).send(outbound())


# --- what is sent -----------------------------------------------------------------------------------------------------


def posted(google: Google, make: Make, **changed: Any) -> dict[str, Any]:
    make(google.http.url).send(outbound(**changed))
    message: dict[str, Any] = json.loads(google.posts[-1].body)["message"]
    return message


def test_the_request_says_what_was_meant(serve: Serve, make: Make) -> None:
    google = serve()
    content = PushContent(title="t", body="b", data={"k": "v"}, image="https://example.org/i.png")
    receipt = make(google.http.url).send(outbound(id=ID, content=content))
    assert receipt.provider_message_id == "projects/p/messages/42"
    [post] = google.posts
    assert post.path == "/v1/projects/p/messages:send"
    assert post.headers["authorization"] == "Bearer ya29.secret"
    assert json.loads(post.body) == {
        "message": {
            "token": "device",
            "notification": {"title": "t", "body": "b", "image": "https://example.org/i.png"},
            "data": {"k": "v"},
            "android": {"priority": "normal", "notification": {"tag": ID}},
            "apns": {"headers": {"apns-push-type": "alert", "apns-priority": "5", "apns-collapse-id": ID}},
            "webpush": {"headers": {"Urgency": "normal", "Topic": TOPIC}, "notification": {"tag": ID}},
        }
    }


def test_a_topic_is_a_recipient_too(serve: Serve, make: Make) -> None:
    assert posted(serve(), make, recipient="topic:news")["topic"] == "news"


def test_a_token_may_hold_colons(serve: Serve, make: Make) -> None:
    assert posted(serve(), make, recipient="token:a:b:c")["token"] == "a:b:c"


@pytest.mark.parametrize("priority", list(Priority))
def test_data_alone_shows_nothing_and_wakes_the_app(serve: Serve, make: Make, priority: Priority) -> None:
    """FCM refuses apns-priority 10 where nothing is shown."""
    assert posted(serve(), make, id=ID, content=PushContent(data={"k": "v"}), priority=priority) == {
        "token": "device",
        "data": {"k": "v"},
        "android": {"priority": priority.value},
        "apns": {
            "headers": {"apns-push-type": "background", "apns-priority": "5", "apns-collapse-id": ID},
            "payload": {"aps": {"content-available": 1}},
        },
        "webpush": {"headers": {"Urgency": priority.value, "Topic": TOPIC}},
    }


def test_a_high_priority_reaches_the_device(serve: Serve, make: Make) -> None:
    message = posted(serve(), make, priority=Priority.HIGH)
    assert message["android"]["priority"] == "high"
    assert message["apns"]["headers"]["apns-priority"] == "10"
    assert message["webpush"]["headers"]["Urgency"] == "high"


def test_a_second_copy_replaces_the_first(serve: Serve, make: Make) -> None:
    google = serve(refused(503, "UNAVAILABLE"))
    one = make(google.http.url)
    for attempt in (1, 2):
        with pytest.raises(AmbiguousError):
            one.send(outbound(id=ID, attempt=attempt))
    first, second = (json.loads(post.body)["message"] for post in google.posts)
    assert first == second
    assert "collapse_key" not in first["android"]  # FCM keeps four for a device, and would lose others


def test_a_topic_of_web_push_is_of_the_length_and_letters_that_it_may_have() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,32}", TOPIC)
    assert base64.urlsafe_b64decode(TOPIC)


@pytest.mark.parametrize(
    ("time_to_live", "told"),
    [
        (timedelta(minutes=5), ("300s", str(int(NOW.timestamp()) + 300), "300")),
        (timedelta(0), ("0s", "0", "0")),
        (timedelta(seconds=-9), ("0s", "0", "0")),
        (timedelta(days=90), ("2419200s", str(int(NOW.timestamp()) + 2_419_200), "2419200")),
    ],
)
def test_the_expiry_is_told_to_all_three_transports(
    serve: Serve, make: Make, time_to_live: timedelta, told: tuple[str, str, str]
) -> None:
    message = posted(serve(), make, time_to_live=time_to_live)
    android, apns, webpush = told
    assert message["android"]["ttl"] == android
    assert message["apns"]["headers"]["apns-expiration"] == apns
    assert message["webpush"]["headers"]["TTL"] == webpush


def test_without_an_expiry_google_decides(serve: Serve, make: Make) -> None:
    message = posted(serve(), make)
    assert "ttl" not in message["android"]
    assert "apns-expiration" not in message["apns"]["headers"]
    assert "TTL" not in message["webpush"]["headers"]


@pytest.mark.parametrize("recipient", ["device", "data:x", "token:", "fid:x"])
def test_a_recipient_of_no_known_kind_is_refused(make: Make, recipient: str) -> None:
    with pytest.raises(PermanentError):
        make("http://127.0.0.1:1").send(outbound(recipient=recipient))


def test_content_of_another_channel_is_a_type_error(make: Make) -> None:
    with pytest.raises(TransientError, match="TypeError"):
        make("http://127.0.0.1:1").send(outbound(content=SmsContent(text="t")))


def test_close_leaves_nothing_behind(serve: Serve, make: Make) -> None:
    before, threads = len(firebase_admin._apps), threading.active_count()
    google = serve()
    one = make(google.http.url)
    one.send(outbound())
    assert len(firebase_admin._apps) == before + 1
    one.close()
    assert len(firebase_admin._apps) == before
    assert threading.active_count() <= threads + 3  # the test's own server


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_account_may_be_a_file(tmp_path: Path, private_key: str) -> None:
    account = {"type": "service_account", "project_id": "p", "private_key": private_key}
    file = tmp_path / "account.json"
    file.write_text(json.dumps({**account, "client_email": "a@b", "token_uri": "https://t"}))
    loaded = load(FcmSettings, {"TIDINGS_FCM_SERVICE_ACCOUNT": str(file)})
    assert loaded.account["project_id"] == "p"
    assert loaded.url == "https://fcm.googleapis.com"


@pytest.mark.parametrize(
    "value",
    ["/no/such/file", '{"type": "secret"', '{"type": "user"}', '{"type": "service_account", "private_key": "secret"}'],
)
def test_a_wrong_account_stops_the_start_with_one_line_that_names_it(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^TIDINGS_FCM_SERVICE_ACCOUNT: .+") as raised:
        load(FcmSettings, {"TIDINGS_FCM_SERVICE_ACCOUNT": value})
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)

"""The HTTP that providers share: one attempt, connections that age one by one, and the environment asked once."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from tidings.providers import http
from tidings.providers.http import IDLE, SingleAttemptSession

from local.emulators.certificate import self_signed
from tests.functions.scripted import CLOSE, HANG, RESET, Answer, Request, ScriptedHttp, blunt_server, refusing_port

Serve = Callable[[ScriptedHttp], ScriptedHttp]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(server.running())


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def tls_file(tls_files: tuple[Path, Path]) -> Path:
    return tls_files[0]


@pytest.fixture(scope="module")
def tls(tls_files: tuple[Path, Path]) -> ssl.SSLContext:
    """A server's, for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls_files)
    return context


@pytest.fixture
def session() -> Iterator[Callable[[str], SingleAttemptSession]]:
    made: list[SingleAttemptSession] = []

    def make(url: str) -> SingleAttemptSession:
        made.append(SingleAttemptSession(url, timeout=20, connections=8))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[[str], SingleAttemptSession]


def ok(_: Request) -> Answer:
    return Answer(200, {})


class Later:
    """The clock on the wall, put forward as one likes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by = 0.0
        monkeypatch.setattr(http, "time", SimpleNamespace(time=lambda: time.time() + self.by))


def test_a_connection_that_was_idle_too_long_is_replaced_though_another_is_used(
    serve: Serve, session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2)

    def answer(request: Request) -> Answer:
        if request.path == "/together":
            together.wait(20)
        return Answer(200, {})

    server, later = serve(ScriptedHttp(answer)), Later(monkeypatch)
    one = session(server.url)

    def two_at_once() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: one.request("POST", f"{server.url}/together"), range(2)))

    two_at_once()
    for _ in range(3):  # one of the two is used again and again; the other waits for longer than may be
        later.by += IDLE / 2
        one.request("POST", f"{server.url}/alone")
    assert server.connections == 2
    two_at_once()
    assert server.connections == 3


def test_a_connection_behind_a_proxy_ages_as_well(serve: Serve, session: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, later = serve(ScriptedHttp(ok)), Later(monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    one = session("http://vendor.invalid")
    one.request("POST", "http://vendor.invalid/messages")
    later.by += IDLE + 1
    one.request("POST", "http://vendor.invalid/messages")
    assert proxy.connections == 2


def test_a_session_that_was_closed_connects_again(serve: Serve, session: Make) -> None:
    server = serve(ScriptedHttp(ok))
    one = session(server.url)
    one.request("POST", f"{server.url}/messages")
    one.close()
    one.request("POST", f"{server.url}/messages")
    assert (server.connections, len(server.requests)) == (2, 2)


def test_a_request_to_another_host_is_refused(serve: Serve, session: Make) -> None:
    """Its pool was looked for once: the request, and its credentials, would go to the first host."""
    server = serve(ScriptedHttp(ok))
    one = session(server.url)
    one.request("POST", f"{server.url}/messages")
    with pytest.raises(requests.exceptions.InvalidURL, match=r"vendor\.invalid"):
        one.request("POST", "http://vendor.invalid/messages")
    assert len(server.requests) == 1


def test_a_proxy_that_the_environment_names_is_used(
    serve: Serve, session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = serve(ScriptedHttp(ok)), serve(ScriptedHttp(ok))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    session("http://vendor.invalid").request("POST", "http://vendor.invalid/messages")
    session(server.url).request("POST", f"{server.url}/messages")
    assert [request.path for request in proxy.requests] == ["http://vendor.invalid/messages"]
    assert [request.path for request in server.requests] == ["/messages"]


def test_the_certificates_that_the_environment_names_are_trusted(
    session: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with ScriptedHttp(ok, tls=tls).running() as server:
        with pytest.raises(requests.exceptions.SSLError):
            session(server.url).request("POST", f"{server.url}/messages")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert session(server.url).request("POST", f"{server.url}/messages").status_code == 200


def test_a_netrc_gives_no_credentials(
    serve: Serve, session: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(ScriptedHttp(ok))
    one = session(server.url)
    one.request("POST", f"{server.url}/messages")
    one.request("POST", f"{server.url}/messages", headers={"Authorization": "Bearer token"})
    assert [request.headers.get("authorization") for request in server.requests] == [None, "Bearer token"]


@pytest.mark.parametrize("answer", [Answer(503, {}), Answer(307, {}, {"Location": "/elsewhere"})])
def test_an_answer_of_any_kind_is_the_answer(serve: Serve, session: Make, answer: Answer) -> None:
    server = serve(ScriptedHttp(lambda _: answer))
    assert session(server.url).request("POST", f"{server.url}/messages").status_code == answer.status
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_request_whose_connection_breaks_is_not_repeated(serve: Serve, session: Make, method: str) -> None:
    server = serve(ScriptedHttp(lambda _: CLOSE))
    with pytest.raises(requests.ConnectionError) as raised:
        session(server.url).request(method, f"{server.url}/messages")
    assert len(server.requests) == 1
    assert not http.never_connected(raised.value)


# --- whether anything was written -------------------------------------------------------------------------------------


def raised_by(one: SingleAttemptSession, url: str, **content: Any) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # which one is the library's business
        one.request("POST", f"{url}/messages", **content)
    return raised.value


@pytest.mark.parametrize(
    "url", [f"http://127.0.0.1:{refusing_port()}", "http://no-such-host.invalid"], ids=["refusing", "no host"]
)
@pytest.mark.parametrize("tls", ["", "s"])
def test_no_connection_is_known_to_have_carried_nothing(session: Make, url: str, tls: str) -> None:
    url = url.replace("http", f"http{tls}")
    assert http.never_connected(raised_by(session(url), url))


@pytest.mark.parametrize("answer", [b"", b"no TLS here\r\n", None], ids=["closed", "not TLS", "silent"])
def test_a_handshake_that_fails_has_carried_nothing(answer: bytes | None) -> None:
    with blunt_server(answer) as host:
        one = SingleAttemptSession(f"https://{host}", timeout=1, connections=1)
        assert http.never_connected(raised_by(one, f"https://{host}"))


def test_a_certificate_that_is_not_trusted_has_carried_nothing(session: Make, tls: ssl.SSLContext) -> None:
    with ScriptedHttp(ok, tls=tls).running() as server:
        error = raised_by(session(server.url), server.url)
        assert isinstance(error, requests.exceptions.SSLError)
        assert http.never_connected(error)
        assert server.requests == []


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 503 Busy\r\n\r\n", b"what?\r\n", b"", None],
    ids=["login", "busy", "not HTTP", "closed", "silent"],
)
def test_a_proxy_that_lets_nobody_through_has_carried_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    with blunt_server(answer) as host:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{host}")
        one = SingleAttemptSession("https://vendor.invalid", timeout=1, connections=1)
        assert http.never_connected(raised_by(one, "https://vendor.invalid"))


@pytest.mark.parametrize(
    "content", [{"headers": {"X": "a\nb"}}, {"headers": {"X": "\u20ac"}}, {"json": {"a": object()}}]
)
def test_a_request_that_cannot_be_written_has_carried_nothing(
    serve: Serve, session: Make, content: dict[str, Any]
) -> None:
    server = serve(ScriptedHttp(ok))
    assert http.never_connected(raised_by(session(server.url), server.url, **content))
    assert server.requests == []


@pytest.mark.parametrize("how", [CLOSE, RESET, HANG])
@pytest.mark.parametrize("secure", [False, True])
def test_a_request_that_was_written_may_have_arrived(
    tls: ssl.SSLContext, tls_file: Path, monkeypatch: pytest.MonkeyPatch, how: str, secure: bool
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls_file))
    with ScriptedHttp(lambda _: how, tls=tls if secure else None).running() as server:
        one = SingleAttemptSession(server.url, timeout=1, connections=1)
        assert not http.never_connected(raised_by(one, server.url))
        one.close()


def test_a_kept_connection_that_breaks_may_have_carried_the_request(serve: Serve, session: Make) -> None:
    server = serve(ScriptedHttp(lambda request: CLOSE if request.path == "/messages" else Answer(200, {})))
    one = session(server.url)
    one.request("POST", f"{server.url}/first")
    assert not http.never_connected(raised_by(one, server.url))
    assert server.connections == 1


def test_of_an_error_from_elsewhere_nothing_is_known() -> None:
    assert not http.never_connected(ConnectionRefusedError())
    assert not http.never_connected(None)


# --- Retry-After ------------------------------------------------------------------------------------------------------

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("0", timedelta()),
        (" 7 ", timedelta(seconds=7)),
        ("007", timedelta(seconds=7)),
        ("9" * 5000, DAY),
        ("Wed, 21 Oct 2015 07:28:00 GMT", timedelta()),
        ("Wed, 21 Oct 2015 07:28:00", timedelta()),
        ("Wed, 21 Oct 2015 07:28:00 -0000", timedelta()),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
        ("Fri, 31 Dec 9999 23:59:59 -2359", DAY),
        *((odd, None) for odd in ("", "²", "\u0667", "-5", "1.5", "1e3", "NaN", "soon", "7s", "0x7", "1 2", "\x00")),
        *((odd, None) for odd in ("Wed, 99 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT", "," * 5000)),
    ],
)
def test_a_retry_after_is_bounded_and_never_an_exception(value: str | None, wait: timedelta | None) -> None:
    assert http.retry_after(value) == wait

"""The HTTP that providers share: one attempt, connections that age one by one, and the environment asked once."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from tidings.providers import http
from tidings.providers.http import IDLE, SingleAttemptSession

from local.providers.certificate import self_signed
from tests.functions.scripted import CLOSE, Answer, Request, ScriptedHttp, refusing_port

Serve = Callable[[ScriptedHttp], ScriptedHttp]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(server.running())


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


def test_a_refused_connection_is_known_to_have_carried_nothing(session: Make) -> None:
    url = f"http://127.0.0.1:{refusing_port()}"
    with pytest.raises(requests.ConnectionError) as raised:
        session(url).request("POST", f"{url}/messages")
    assert http.never_connected(raised.value)

"""The example application, killed between its steps: each order is confirmed by exactly one mail."""

import contextlib
import http.client
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from local.emulators.client import Emulator
from local.stack import no_proxy
from local.stack.ports import Ports
from local.stack.stack import Options, Stack, running
from tests import forks

ROOT = Path(__file__).parents[2]
WITHIN = 60.0  # seconds; generous, for a busy machine


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="tidings-"))
    try:
        with running(Options(state=folder, first_port=0, start=forks.start)) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@contextlib.contextmanager
def shop(stack: Stack, database: Path, *, tidings: str | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A running shop: its URL and its process. `tidings`: the intake's URL for the shop."""
    port = Ports.plan(0, []).intake
    environment = {**os.environ, "TIDINGS_URL": tidings or stack.url, "TIDINGS_API_KEY": stack.secrets.api_key}
    command = [sys.executable, "examples/shop/shop.py", "--port", str(port), "--database", str(database)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        wait("the shop", lambda: _answers(url))
        yield url, process
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), no_proxy.open_url(url, timeout=5):
        return True
    return False


def wait(what: str, condition: Callable[[], object]) -> Any:
    deadline = time.monotonic() + WITHIN
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} in time"
        time.sleep(0.05)
    return found


def order(url: str, email: str) -> str:
    """The order's page, after the redirect."""
    request = urllib.request.Request(f"{url}/orders", urlencode({"email": email, "item": "A <b>teapot"}).encode())
    with no_proxy.open_url(request, timeout=WITHIN) as answer:
        return str(answer.read().decode())


def owed(database: Path) -> list[bool]:
    """For each order, whether its notification's id is missing."""
    with contextlib.closing(sqlite3.connect(database)) as opened:
        return [bool(row[0]) for row in opened.execute("SELECT notification_id IS NULL FROM orders")]


def mails(stack: Stack, email: str) -> int:
    return len(Emulator(url=stack.inbox_url).inbox("email", recipient=email))


def page(url: str, database: Path) -> str:
    with contextlib.closing(sqlite3.connect(database)) as opened:
        (id,) = opened.execute("SELECT id FROM orders").fetchone()
    with no_proxy.open_url(f"{url}/orders/{id}", timeout=WITHIN) as answer:
        return str(answer.read().decode())


@contextlib.contextmanager
def silent(forward_to: str | None = None) -> Iterator[tuple[str, threading.Event]]:
    """An intake that never answers, and an event: it was asked. `forward_to`: what it was asked reaches this one."""
    asked, ended = threading.Event(), threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if forward_to is not None:
                names = ("authorization", "content-type", "idempotency-key")
                headers = {name: self.headers[name] for name in names if self.headers[name] is not None}
                request = urllib.request.Request(forward_to + self.path, body, headers)
                with no_proxy.open_url(request, timeout=WITHIN) as answer:
                    assert answer.status == 202
            asked.set()
            ended.wait(WITHIN)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_order_is_confirmed_and_its_page_tells_the_status(stack: Stack, database: Path) -> None:
    with shop(stack, database) as (url, _):
        shown = order(url, "calm@example.com")
        assert "A &lt;b&gt;teapot" in shown
        wait("sent mail", lambda: "Confirmation: sent" in page(url, database))
    assert owed(database) == [False]
    assert mails(stack, "calm@example.com") == 1


@pytest.mark.parametrize("arrived", [False, True], ids=["before Tidings has it", "after Tidings has it"])
def test_a_shop_that_dies_between_order_and_notification_sends_exactly_one_mail(
    stack: Stack, database: Path, arrived: bool
) -> None:
    email = f"killed-{arrived}@example.com"
    with (
        silent(stack.url if arrived else None) as (tidings, asked),
        shop(stack, database, tidings=tidings) as (url, process),
    ):
        customer = threading.Thread(target=_order_in_vain, args=[url, email])
        customer.start()
        assert asked.wait(WITHIN)
        assert owed(database) == [True], "the order was not committed before Tidings was called"
        process.send_signal(signal.SIGKILL)
        process.wait()
        customer.join()
    with shop(stack, database) as (url, _):
        wait("confirmation", lambda: owed(database) == [False])
        wait("sent mail", lambda: "Confirmation: sent" in page(url, database))
    assert mails(stack, email) == 1


def _order_in_vain(url: str, email: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):  # the shop dies before it answers
        order(url, email)


def test_a_refused_address_is_shown_and_not_retried(stack: Stack, database: Path) -> None:
    with shop(stack, database) as (url, _):
        order(url, "not an address")  # on a busy machine it may be told a moment later
        wait("refusal", lambda: "cannot be sent" in page(url, database))
        assert "will be sent soon" not in page(url, database)

"""Whoever uses the client or the command alone installs pydantic, and nothing of the functions."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.installed import BASE, ROOT, only, packages

NOTIFICATION = {
    "id": "01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e", "status": "sent", "channel": "email", "recipient": "ada@example.com",
    "content": {"subject": "Paid", "text": "Thank you."}, "priority": "normal", "on_ambiguous": "resend",
    "max_attempts": 10, "created_at": "2026-05-01T12:00:00Z", "updated_at": "2026-05-01T12:00:01Z", "generation": 1,
    "attempts": 1, "events": [],
}  # fmt: skip
SENDS = """
import sys
from tidings.client import Client
with Client(url=sys.argv[1], api_key="key") as tidings:
    accepted = tidings.send("email", "ada@example.com", {"subject": "Paid", "text": "Thank you."})
    print(tidings.get(accepted.id).status)
"""


class _Answers(http.server.BaseHTTPRequestHandler):
    def _any(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps(NOTIFICATION).encode()
        self.send_response(202 if self.command == "POST" else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _any  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    environment = only(packages(BASE))
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_base_is_pydantic() -> None:
    assert packages(BASE) == packages(BASE) & {
        "pydantic", "pydantic-core", "annotated-types", "typing-extensions", "typing-inspection"
    }  # fmt: skip


def test_the_client_needs_no_more(url: str) -> None:
    done = run("-c", SENDS, url)
    assert (done.stdout, done.stderr) == ("sent\n", "")


def test_the_command_needs_no_more(url: str) -> None:
    to = ("--url", url, "--api-key", "key")
    done = run("-m", "tidings.cli", "send", "email", "ada@example.com", "--subject", "Paid", "--text", "Hi", *to)
    assert done.returncode == 0, done.stderr
    assert str(NOTIFICATION["id"]) in done.stdout


def test_the_doctor_says_which_extra_it_needs() -> None:
    done = run("-m", "tidings.cli", "doctor")
    assert done.returncode == 2
    assert done.stderr.startswith("tidings: doctor must run where the functions run: ")
    assert done.stderr.endswith("install tidings[server]\n")

"""The schedule with a time limit, as a job runs it: it sweeps repeatedly, ends by itself, and reports the result."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEY = "a-key-of-the-test"


@contextmanager
def replay(answers: list[int]) -> Iterator[tuple[str, list[str | None]]]:
    """A server with these answers in order; the last repeats. Its URL, and the authorization of each sweep."""
    asked: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.headers["authorization"])
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(answers[min(len(asked), len(answers)) - 1])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/sweep", asked
        server.shutdown()


def ran(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tidings.runtime.scheduler", url, "--every", "0.05", "--for", "5"],
        cwd=ROOT,
        env={**os.environ, "TIDINGS_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("answers", "code"), [([200], 0), ([503], 1), ([503, 200], 0)])
def test_with_a_limit_it_sweeps_repeatedly_and_reports_the_last_result(answers: list[int], code: int) -> None:
    with replay(answers) as (url, asked):
        done = ran(url)
    assert done.returncode == code, done.stderr
    assert len(asked) > 1
    assert set(asked) == {f"Bearer {KEY}"}
    assert ("the sweep fails" in done.stderr) == (answers[0] != 200)
    assert KEY not in done.stderr + done.stdout

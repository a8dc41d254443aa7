"""What a process that takes bounces answers over HTTP: `GET /healthz`, and `GET /metrics` with the trigger's token."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tidings.api.http import METRICS_TYPE

TIMEOUT = 10.0  # seconds for a request


@dataclass(frozen=True, kw_only=True)
class Status:
    """`metrics`: in Prometheus' format; None: off. `admits`: whether this `Authorization` may read them."""

    metrics: Callable[[], bytes] | None
    admits: Callable[[str], bool]

    def answer(self, path: str, authorization: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if path == "/healthz":
            return 200, "text/plain", b"ok\n"
        if path != "/metrics" or self.metrics is None:
            return 404, "text/plain", b"Not found\n"
        if not self.admits(authorization):
            return 401, "text/plain", b"Unauthorized\n"
        return 200, METRICS_TYPE, self.metrics()


@contextmanager
def answering(status: Status, host: str, port: int) -> Iterator[int]:
    """Answer while the block runs, from threads. Give the port. Raise OSError if it is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT

        def do_GET(self) -> None:
            code, type, body = status.answer(self.path.partition("?")[0], self.headers.get("authorization", ""))
            self.send_response(code)
            self.send_header("content-type", type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes fill no log."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="tidings-status", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()

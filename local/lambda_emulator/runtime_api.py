"""Lambda's Runtime API for one execution environment.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "/2018-06-01/runtime"


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """An event for the runtime."""

    id: str
    event: bytes
    deadline: float  # seconds since the epoch


@dataclass(frozen=True, kw_only=True)
class Report:
    """An answer or an error from the runtime."""

    invocation_id: str | None  # None: of the init
    payload: bytes  # the answer; or an error, with errorType and errorMessage
    failed: bool


class RuntimeApi:
    """Serves on a free port of 127.0.0.1 until `close`.

    `freeze` is called when the runtime asks for the next event, `thaw` before it gets one, both in the thread of that
    request. In between the runtime must not run.
    """

    def __init__(self, *, arn: str, freeze: Callable[[], None], thaw: Callable[[], None]) -> None:
        self.arn = arn
        self.freeze, self.thaw = freeze, thaw
        self.invocations: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.ready = threading.Event()  # it has asked for its first event: init is complete
        api = self

        class Handler(_Handler):
            runtime = api

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.invocations.put(None)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    runtime: RuntimeApi

    def do_GET(self) -> None:
        if self.path != f"{VERSION}/invocation/next":
            self._answer(404, b"{}")
            return
        self.runtime.ready.set()
        self.runtime.freeze()
        invocation = self.runtime.invocations.get()
        if invocation is None:
            return  # closed
        self.runtime.thaw()
        self._answer(
            200,
            invocation.event,
            {
                "Lambda-Runtime-Aws-Request-Id": invocation.id,
                "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": self.runtime.arn,
                "Lambda-Runtime-Trace-Id": f"Root=1-{invocation.id[:8]}-{invocation.id[-12:]}00000000;Sampled=0",
            },
        )

    def do_POST(self) -> None:
        payload = self.rfile.read(int(self.headers.get("content-length") or 0))
        match self.path.removeprefix(f"{VERSION}/").split("/"):
            case ["invocation", id, ("response" | "error") as end]:
                self.runtime.reports.put(Report(invocation_id=id, payload=payload, failed=end == "error"))
            case ["init", "error"]:
                self.runtime.reports.put(Report(invocation_id=None, payload=payload, failed=True))
            case _:
                self._answer(404, b"{}")
                return
        self._answer(202, b'{"status":"OK"}')

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return

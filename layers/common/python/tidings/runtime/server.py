"""Start one function as a functions-framework process: `python -m tidings.runtime.server NAME --port N`.

What the command `functions-framework --source functions/NAME/main.py --target NAME` does, with settings of gunicorn
that it does not hand on: no control socket (two processes of one user would fight for it), time to finish, connections
that are kept, room for ten thousand callers who come at once, and for an HTTP function, which is an ASGI application, a
worker that writes less.
"""

import argparse
import gc
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from functions_framework import create_app
from functions_framework._http import create_server

DRAIN = 30  # seconds that requests under way get after SIGTERM
KEEP_ALIVE = 75  # seconds that an idle connection is kept: longer than by the proxy in front, which else meets its end
SILENT = (
    20  # seconds without a byte, after which a queue function's caller is cut off; an HTTP function: runtime.worker
)
REQUEST_LINE = 8190  # bytes; gunicorn's own default, which the framework lifts
BACKLOG = 16_384  # connections that wait to be taken; the system's net.core.somaxconn may allow fewer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a folder below functions/")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    source = Path("functions") / options.name / "main.py"
    if not source.is_file():
        parser.error(f"there is no {source}; run from the project's root")
    app = create_app(options.name, str(source))  # type: ignore[no-untyped-call]
    settings: dict[str, Any] = {
        "control_socket_disable": True,
        "graceful_timeout": DRAIN,
        "keepalive": KEEP_ALIVE,
        "backlog": BACKLOG,
        "limit_request_line": REQUEST_LINE,
        "when_ready": _cut_off_the_silent,
    }
    if hasattr(sys.modules["main"], "asgi"):  # without the framework's router in front it costs a fifth less
        app = sys.modules["main"].asgi
        settings["worker_class"] = "tidings.runtime.worker.Worker"
    # What is there before the first request stays: the collector need not look through it again and again, in which a
    # tenth of a second goes by, and no page that the processes share is copied for its sake.
    gc.collect()
    gc.freeze()
    # Hardly anything of a request refers to itself: what a thousand hold at once is seldom to be looked through either.
    gc.set_threshold(100_000, 20, 100)
    # A thread that reads a large body lets the event loop run after one millisecond, and not after five.
    sys.setswitchinterval(0.001)
    server = create_server(app, False, **settings)  # type: ignore[no-untyped-call]
    server.run(options.host, options.port)


def _cut_off_the_silent(arbiter: Any) -> None:
    """gunicorn's threads wait for the rest of a request for ever. What is accepted has the options of what listens."""
    for listener in arbiter.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENT, 0))


if __name__ == "__main__":
    main()

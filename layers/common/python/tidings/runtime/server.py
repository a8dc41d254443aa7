"""Start one function as a functions-framework process: `python -m tidings.runtime.server NAME --port N`.

Like `functions-framework --source functions/NAME/main.py --target NAME`, with settings of gunicorn that the framework
does not pass on: no control socket (two processes of one user would share it), a graceful shutdown, kept connections, a
backlog for ten thousand callers at once, and our own worker for an HTTP function, which is an ASGI application.
"""

import argparse
import contextlib
import ctypes
import gc
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from functions_framework import create_app
from functions_framework._http import create_server

DRAIN = 30  # seconds for requests under way after SIGTERM
KEEP_ALIVE = 75  # seconds for an idle connection: longer than a proxy in front keeps it, so that the proxy closes first
SILENT = 20
"""Seconds without a byte until the caller of a queue function is cut off. For an HTTP function see `runtime.worker`."""
REQUEST_LINE = 8190  # bytes; gunicorn's own default, which the framework lifts
BACKLOG = 16_384  # connections that wait to be accepted; the system's net.core.somaxconn may allow fewer

LARGE_MEMORY = 1024 * 1024  # bytes allocated in one piece
_MMAP_THRESHOLD = -3  # glibc's name for it is M_MMAP_THRESHOLD


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
        "when_ready": _set_receive_timeout,
    }
    if hasattr(sys.modules["main"], "asgi"):  # a fifth cheaper than behind the framework's router
        app = sys.modules["main"].asgi
        settings["worker_class"] = "tidings.runtime.worker.Worker"
        # A thread that reads a large body lets the event loop run after one millisecond, and not after five.
        sys.setswitchinterval(0.001)
        give_large_memory_back()
    # Objects from before the first request stay. Frozen, the garbage collector does not scan them, which takes a tenth
    # of a second each time and copies memory pages that the processes share.
    gc.collect()
    gc.freeze()
    # Requests leave hardly any reference cycles, so that the objects of a thousand requests are scanned rarely, too.
    gc.set_threshold(100_000, 20, 100)
    server = create_server(app, False, **settings)  # type: ignore[no-untyped-call]
    server.run(options.host, options.port)


def give_large_memory_back() -> None:
    """Return the memory of a large body to the system when it is freed. glibc would keep up to 32 MB of it for each
    thread: a body of 9 MB then costs five times its size, and with this three times."""
    with contextlib.suppress(OSError, AttributeError):  # another system's C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, LARGE_MEMORY)


def _set_receive_timeout(arbiter: Any) -> None:
    """gunicorn's threads would wait for the rest of a request for ever. An accepted socket inherits the option."""
    for listener in arbiter.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENT, 0))


if __name__ == "__main__":
    main()

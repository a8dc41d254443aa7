"""The emulator process: mail server, HTTP providers and control API on one event loop."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server

from local.emulators import smtp
from local.emulators.bounces import Bounces
from local.emulators.connection import Protocol
from local.emulators.control import Control, Invalid, bad_request
from local.emulators.failures import Failures
from local.emulators.fcm import Fcm
from local.emulators.http_provider import SendHandler
from local.emulators.ledger import Ledger
from local.emulators.oauth import TokenExchange, service_account
from local.emulators.same_origin import SameOriginOnly
from local.emulators.twilio import Twilio
from local.emulators.webhooks import Webhooks

MAX_REQUEST = 1024 * 1024  # bytes


@dataclass(frozen=True, kw_only=True)
class Options:
    """The emulator's options. A login of None accepts any login."""

    public_url: str  # URL of the HTTP port for clients
    inbox_file: Path | None = None
    inbox_limit: int = 10_000
    calls_limit: int = 100_000
    service_account: Path | None = None
    twilio_login: tuple[str, str] | None = None
    smtp_login: tuple[str, str] | None = None
    smtp_tls: ssl.SSLContext | None = None
    smtp_size: int = smtp.SIZE_LIMIT  # bytes of a mail
    smtp_idle: float = smtp.IDLE  # seconds
    bounces_to: tuple[str, int] | None = None  # who takes bounces, by LMTP; None: there are none


class QuietServer(Server):
    """uvicorn raises the signal again after it has stopped; this server does not, so that the exit code is 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Emulator:
    """Create it on the running loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stopping = asyncio.Event()
        self._ledger = Ledger(inbox_limit=options.inbox_limit, calls_limit=options.calls_limit, path=options.inbox_file)
        self._failures = Failures(stopping=self._stopping)

    def stop(self) -> None:
        self._stopping.set()

    async def run(self, smtp_socket: socket.socket, http_socket: socket.socket) -> None:
        """Serve on these listening sockets until `stop`."""
        loop = asyncio.get_running_loop()
        handler = smtp.Handler(
            ledger=self._ledger,
            failures=self._failures,
            login=self._options.smtp_login,
            bounces=Bounces(self._options.bounces_to),
        )
        mail = await loop.create_server(
            lambda: smtp.connection(
                handler,
                hostname="localhost",
                tls=self._options.smtp_tls,
                size_limit=self._options.smtp_size,
                idle=self._options.smtp_idle,
            ),
            sock=smtp_socket,
        )
        http = QuietServer(
            Config(
                self._app(),
                http=Protocol,
                lifespan="off",
                log_config=None,
                access_log=False,
                backlog=2048,
                timeout_keep_alive=75,  # longer than a client's pool keeps a connection
                timeout_graceful_shutdown=1,
            )
        )
        serving = asyncio.create_task(http.serve(sockets=[http_socket]))
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        http.should_exit = True
        await serving
        mail.close()
        self._ledger.close()

    def _app(self) -> ASGIApp:
        options = self._options
        account = None
        if options.service_account is not None:
            account = service_account(options.service_account, token_uri=f"{options.public_url}/token")
        tokens = TokenExchange(account, self._failures)
        names = frozenset({urlsplit(options.public_url).hostname or "localhost"})
        handler = SendHandler(ledger=self._ledger, failures=self._failures)
        routes = [
            *Twilio(handler=handler, login=options.twilio_login).routes(),
            *Fcm(handler=handler, tokens=tokens).routes(),
            *tokens.routes(),
            *Control(ledger=self._ledger, failures=self._failures, names=names).routes(),
            *Webhooks(handler=handler).routes(),
        ]
        served = Starlette(routes=routes, exception_handlers={Invalid: bad_request})
        return BoundedBody(SameOriginOnly(served, names=None))


class BoundedBody:
    """Refuses requests without Content-Length, or with more than MAX_REQUEST."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not length.isdigit() or int(length) > MAX_REQUEST:
            response = JSONResponse({"error": f"a body needs a Content-Length of at most {MAX_REQUEST}"}, 413)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

"""Servers that do exactly what a test says, for what the emulated providers cannot: break in the middle of a word."""

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

CLOSE, RESET, HANG, DRIP = "close", "reset", "hang", "drip"
"""Instead of an answer: end the connection, break it, say nothing, say one letter now and then. In place of the body's:
stop reading it, or read it a little at a time."""

SILENT = "220 and then nothing more"
"""An answer after which nothing is said, nor read as a command."""

SIP, SIP_EVERY = 65536, 0.03  # bytes read at once, and the seconds that they take where it is a little at a time

ANSWERS = {
    "CONNECT": "220 scripted ESMTP",
    "MAIL": "250 2.1.0 OK",
    "RCPT": "250 2.1.5 OK",
    "DATA": "354 Go on",
    "DOT": "250 2.0.0 queued as 42",
    "RSET": "250 2.0.0 OK",
    "QUIT": "221 Bye",
    "AUTH": "235 2.7.0 Accepted",
    "STARTTLS": "220 Go on",
}


@dataclass
class ScriptedSmtp:
    """An SMTP server. `answers` gives, for each verb, one answer for all times or a list to use up."""

    answers: dict[str, str | list[str]] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)  # seconds before each answer to this verb
    idle: float = 20  # seconds without a command; then it says the answer to "IDLE", if there is one, and hangs up
    features: tuple[str, ...] = ("PIPELINING", "SIZE 10000000", "ENHANCEDSTATUSCODES")
    tls: ssl.SSLContext | None = None  # for STARTTLS
    connections: int = 0
    most: int = 0  # connections at one time
    verbs: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    bursts: list[bytes] = field(default_factory=list)  # what arrived together
    mails: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        if "BODY" in self.answers:  # the less of it lies in buffers, the sooner the client notices
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIP)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._over.set()
        self.hang_up()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def hang_up(self) -> None:
        """Close every connection, as a server does that restarts, or that finds them idle for too long."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def pause(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._open.add(connection)
            self.most = max(self.most, len(self._open))
        try:
            _SmtpTalk(self, connection).run()
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(connection)

    def answer(self, verb: str) -> str:
        with self._lock:
            self.verbs.append(verb)
            scripted = self.answers.get(verb)
            if isinstance(scripted, list):
                scripted = scripted.pop(0) if scripted else None
        if verb == "EHLO" and scripted is None:
            features = (*self.features, "STARTTLS") if self.tls is not None else self.features
            return "\r\n".join(["250-scripted", *(f"250-{feature}" for feature in features), "250 HELP"])
        return scripted or ANSWERS.get(verb, "250 OK")


class _SmtpTalk:
    def __init__(self, server: ScriptedSmtp, connection: socket.socket) -> None:
        self.server = server
        self.connection = connection
        self.connection.settimeout(server.idle)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def run(self) -> None:
        with contextlib.closing(self):
            if not self.say("CONNECT"):
                return
            while (line := self.line()) is not None:
                self.server.lines.append(line)
                verb = line.split(" ")[0].upper()
                if not self.say(verb) or verb == "QUIT":
                    return
                if verb == "STARTTLS" and self.server.tls is not None:
                    self.connection.getpeername()  # of a caller that has gone, wrap_socket would leave its socket open
                    self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)  # and its timeout
                if verb == "DATA" and self.said.startswith("354") and not self.mail():
                    return

    def close(self) -> None:
        self.connection.close()

    def mail(self) -> bool:
        how = self.server.answers.get("BODY")
        while b"\r\n.\r\n" not in self.buffer[-SIP - 5 :]:
            if how == RESET:
                time.sleep(0.05)
                return self.end(RESET)
            if how == HANG:
                self.server.pause(20)
                return False
            if how is not None and how[0].isdigit() and self.buffer:
                return self.say("BODY") and False  # with what the client goes on to send unread
            if how == DRIP:
                self.server.pause(SIP_EVERY * len(self.server.bursts[-1]) / SIP)
            if not self.read():
                return False
        mail, self.buffer = self.buffer.split(b"\r\n.\r\n", 1)
        self.server.mails.append(mail + b"\r\n")
        return self.say("DOT")

    def line(self) -> str | None:
        while b"\r\n" not in self.buffer:
            try:
                if not self.read():
                    return None
            except TimeoutError:
                if "IDLE" in self.server.answers:
                    self.say("IDLE")
                return None
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode(errors="replace")  # a client that speaks TLS says anything

    def read(self) -> bool:
        data = self.connection.recv(SIP)
        self.server.bursts.append(data)
        self.buffer += data
        return bool(data)

    def say(self, verb: str) -> bool:
        self.said = self.server.answer(verb)
        self.server.pause(self.server.delays.get(verb, 0))
        if self.said in (CLOSE, RESET, HANG, DRIP):
            return self.end(self.said)
        self.connection.sendall(f"{self.said}\r\n".encode())
        if self.said == SILENT:
            return self.end(HANG)
        return not self.said.startswith("421")

    def end(self, how: str) -> bool:
        if how == RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        while how == DRIP:
            self.connection.sendall(b"2")
            time.sleep(0.05)
        while how == HANG and self.read():
            pass
        return False


def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """Of a server that shows this certificate and has its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


# --- HTTP -------------------------------------------------------------------------------------------------------------


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    status: int
    body: Any = None  # bytes as they are, else JSON
    headers: dict[str, str] = field(default_factory=dict)


Script = Callable[[Request], Answer | str]


@dataclass
class ScriptedHttp:
    """`script` answers each request, or names how to break off. Connections are kept alive."""

    script: Script
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(
                    self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body
                )
                outer.requests.append(request)
                answer = outer.script(request)
                if isinstance(answer, str):
                    self.close_connection = True
                    if answer == HANG:
                        outer.over.wait(20)
                    if answer == RESET:
                        linger = struct.pack("ii", 1, 0)
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                    return
                payload = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None:
                pass

        self.over = threading.Event()
        server = Server(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            server.socket = self.tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.url = f"http{'s' if self.tls is not None else ''}://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            self.over.set()
            server.shutdown()
            server.server_close()
            thread.join(5)


@contextlib.contextmanager
def blunt_server(answer: bytes | None) -> Iterator[str]:
    """A host and port that answers whatever is said first with these bytes and hangs up; None: it says nothing.

    For what is no HTTP yet: a TLS handshake that breaks, a proxy's answer to CONNECT.
    """
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                if answer is None:
                    over.wait(20)
                else:
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def refusing_port() -> int:
    """A port of this machine on which nobody listens, nor will while this process runs."""
    return int(_unheard().getsockname()[1])


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port where no connection comes about, and none is refused: its queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        while True:
            try:
                waiting.enter_context(socket.create_connection(listener.getsockname(), timeout=0.5))
            except TimeoutError:
                break
        yield int(listener.getsockname()[1])


@cache
def _unheard() -> socket.socket:
    """Bound and not listening: it refuses, and nobody else is given its port."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound

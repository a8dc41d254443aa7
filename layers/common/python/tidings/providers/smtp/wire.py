"""smtplib's connection to an SMTP server, with our time-outs."""

import io
import smtplib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tidings.providers.smtp.stages import Stage
from tidings.providers.smtp.timeouts import Countdown

BLOCK = 16384
"""Bytes in one write: a TLS record, which is written as a whole or not at all."""

LAST_REPLY = 1.0  # seconds to read a reply that has begun to arrive

KEEP_ALIVE = 60
"""Seconds of silence before TCP sends a keep-alive. NAT gateways drop a connection after 4 minutes (Azure) or 350 s
(AWS) of silence, while a reply may take 10 minutes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """Where to connect and how."""

    host: str
    port: int
    tls: bool = False  # from the first byte
    starttls: bool = False  # after EHLO; without it no mail is sent
    user: str | None = None
    password: str = field(default="", repr=False)
    ehlo_name: str | None = None  # None: our address as a literal


class Wire(smtplib.SMTP):
    """smtplib, with a time-out for each step, and without its two hidden waits: Nagle's algorithm, and a DNS lookup of
    our own name (without `ehlo_name`, EHLO has our address: RFC 5321, 4.1.3). Every wait ends with `countdown`."""

    def __init__(self, server: Server, context: ssl.SSLContext | None, countdown: Countdown) -> None:
        super().__init__(local_hostname="localhost")  # no host: does not connect yet
        self._server = server
        self._context = context
        self._polling = False
        self.countdown = countdown

    def open(self) -> None:
        connection = _connected(self._server.host, self._server.port, self.countdown.left)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(connection)
        address = connection.getsockname()[0]
        literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        self.local_hostname = self._server.ehlo_name or literal
        self.sock = connection

    def secure(self) -> None:
        """The TLS handshake. Forget what was said before TLS (RFC 3207, 4.2)."""
        if self.sock is None or self._context is None:
            raise smtplib.SMTPServerDisconnected
        self.sock.getpeername()  # fails if the server has hung up: wrap_socket would too, and leave it open
        self.sock.settimeout(self.countdown.left())  # for the whole handshake, not for each read
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._server.host)
        self.file = None
        self.ehlo_resp = self.helo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def await_greeting(self) -> None:
        code, text = self.getreply()
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)

    def introduce(self) -> None:
        """EHLO, or HELO if the server does not know EHLO. A server that disconnects at HELO has refused EHLO.
        (smtplib's own method sends HELO after any refusal, and so loses the text of a 421.)"""
        code, text = self.ehlo()
        if 200 <= code < 300:
            return
        refused = smtplib.SMTPHeloError(code, text)
        if not 500 <= code < 600:
            raise refused
        try:
            code, text = self.helo()
        except smtplib.SMTPServerDisconnected:
            raise refused from None
        if not 200 <= code < 300:
            raise smtplib.SMTPHeloError(code, text)

    @property
    def size_limit(self) -> int | None:
        """Bytes of a mail that the server accepts. None: not announced, or no limit (RFC 1870, 4)."""
        said = str(self.esmtp_features.get("size", ""))
        return int(said) or None if said.isascii() and said.isdigit() else None

    def request_tls(self) -> None:
        """smtplib's own `starttls` would use the time-out of the last read for the handshake."""
        if not self.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError
        code, text = self.docmd("STARTTLS")
        if code != 220:
            raise smtplib.SMTPResponseException(code, text)

    def send(self, s: Any) -> None:
        """smtplib's own method closes the connection on an error, and loses what the server has sent."""
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected
        self.sock.settimeout(self.countdown.left())
        self.sock.sendall(s.encode("ascii") if isinstance(s, str) else s)

    def send_body(self, data: bytes) -> None:
        """Block by block. The time-out starts again with each block."""
        rest = memoryview(data)
        while rest:
            if self.sock is None:
                raise smtplib.SMTPServerDisconnected
            self.sock.settimeout(self.countdown.left())
            rest = rest[self.sock.send(rest[:BLOCK]) :]
            self.countdown.start(Stage.BODY)

    def getreply(self) -> tuple[int, bytes]:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected
        if self.file is None:
            self.file = io.BufferedReader(_Reader(self.sock, self._left))
        try:
            return super().getreply()
        except (
            smtplib.SMTPResponseException
        ):  # smtplib turns a line that is too long into a 500 that the server did not send
            return -1, b"a line that is too long"

    def has_spoken(self) -> bool:
        """Whether an unexpected reply, or the end of the connection, waits to be read. Does not wait. (TLS has messages
        of its own, so that the socket alone cannot tell.)"""
        if self.sock is None or self.file is None:
            return self.sock is None
        self._polling = True
        try:
            self.file.peek(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            pass
        finally:
            self._polling = False
        return True

    def last_refusal(self) -> tuple[int, bytes] | None:
        """The refusal that the server sent before it disconnected, if any. Closes the connection."""
        try:
            if not self.has_spoken():
                return None
            self.countdown.shorten(LAST_REPLY)
            code, text = self.getreply()
            return (code, text) if 400 <= code < 600 else None
        except (OSError, smtplib.SMTPException):
            return None
        finally:
            self.close()

    def _left(self) -> float:
        return 0.0 if self._polling else self.countdown.left()  # read anew: each mail has its own countdown


class _Reader(io.RawIOBase):
    """A socket whose reads get only the time left, so that a slow server cannot hold us."""

    def __init__(self, connection: socket.socket, remaining: Callable[[], float]) -> None:
        self._connection = connection
        self._remaining = remaining

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._remaining())
        return self._connection.recv_into(buffer)


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, option):  # not on every platform
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), KEEP_ALIVE)


def _connected(host: str, port: int, remaining: Callable[[], float]) -> socket.socket:
    """Try the host's addresses in turn, each with its share of the time left."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for number, (_, _, _, _, address) in enumerate(addresses, start=1):
        try:
            return socket.create_connection(address[:2], timeout=remaining() / (len(addresses) - number + 1))  # type: ignore[arg-type]
        except OSError:
            if number == len(addresses):
                raise
    raise OSError("the name has no address")

"""A connection to an SMTP server, as smtplib makes it, with a deadline."""

import io
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """Where to connect and how."""

    host: str
    port: int
    tls: bool = False  # from the first byte on
    starttls: bool = False  # after EHLO, or not at all
    user: str | None = None
    password: str = field(default="", repr=False)


class Wire(smtplib.SMTP):
    """smtplib with one deadline over all it does, and without the two waits it hides: Nagle's, and a DNS look-up of our
    own name (it says EHLO with its address instead: RFC 5321, 4.1.3)."""

    def __init__(self, server: Server, context: ssl.SSLContext | None, deadline: float) -> None:
        super().__init__(local_hostname="localhost")  # no host: does not connect yet
        self._server = server
        self._context = context
        self._host = server.host  # the name that STARTTLS verifies
        self.deadline = deadline

    def greet(self) -> None:
        code, text = self.connect(self._server.host, self._server.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)
        self.ehlo_or_helo_if_needed()
        if self._server.starttls:
            self.starttls(context=self._context)  # raises unless the server agrees
            self.ehlo_or_helo_if_needed()

    def _remaining(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _get_socket(self, host: str, port: int, timeout: object) -> socket.socket:
        connection = _connected(host, port, self._remaining)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = connection.getsockname()[0]
        self.local_hostname = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        if self._server.tls and self._context is not None:
            return self._context.wrap_socket(connection, server_hostname=host)
        return connection

    def send(self, s: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self._remaining())
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = io.BufferedReader(_Reader(self.sock, self._remaining))
        return super().getreply()


class _Reader(io.RawIOBase):
    """A socket whose every read ends at the deadline, so that a server that drips cannot hold us."""

    def __init__(self, connection: socket.socket, remaining: Callable[[], float]) -> None:
        self._connection = connection
        self._remaining = remaining

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._remaining())
        return self._connection.recv_into(buffer)


def _connected(host: str, port: int, remaining: Callable[[], float]) -> socket.socket:
    """Try the host's addresses in turn, each with its share of the time that is left."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for number, (_, _, _, _, address) in enumerate(addresses, start=1):
        try:
            return socket.create_connection(address[:2], timeout=remaining() / (len(addresses) - number + 1))  # type: ignore[arg-type]
        except OSError:
            if number == len(addresses):
                raise
    raise OSError("the name has no address")

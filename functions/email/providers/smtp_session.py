"""One connection to an SMTP server, and the conversation that hands over one mail.

smtplib says the words. What is added: a deadline over the whole conversation, not over each read; pipelining (RFC 2920)
where the server offers it, so that a mail on a kept connection costs two round trips; and knowing at every moment
whether the server may have taken the mail already.
"""

import io
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tidings.errors import DeliveryError

from .mime import Mail
from .smtp_replies import Reply, Stage, refusal, smtp_errors, timed_out


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """Where to connect and how."""

    host: str
    port: int
    tls: bool = False  # from the first byte on
    starttls: bool = False  # after EHLO, or not at all
    user: str | None = None
    password: str = field(default="", repr=False)


class Stale(Exception):
    """A kept connection turned out to be closed before it had answered anything: the mail may go by another."""


class Session:
    """One connection. For one thread at a time. `deadline` is on the monotonic clock."""

    def __init__(self, server: Server, context: ssl.SSLContext | None, *, deadline: float) -> None:
        """Connect, secure, log in. Raise DeliveryError; nothing stays open then."""
        self._wire = _Wire(server, context, deadline)
        self._kept = False
        self.idle_since = 0.0
        try:
            with smtp_errors(Stage.CONNECT):
                self._wire.greet()
            if server.user is not None:
                with smtp_errors(Stage.AUTH, (server.user,)):
                    self._wire.login(server.user, server.password)
        except BaseException:
            self.abandon()
            raise

    @property
    def is_open(self) -> bool:
        return self._wire.sock is not None

    def keep(self) -> None:
        """It goes back to the pool: from now on it may die unnoticed."""
        self._kept = True
        self.idle_since = time.monotonic()

    def deliver(self, mail: Mail, *, deadline: float) -> None:
        """Return when the server has taken the mail for all its recipients; else raise DeliveryError, or Stale.
        Afterwards the session is either fit for the next mail, or not open."""
        self._wire.deadline = deadline
        try:
            self._announce(mail)
            self._hand_over(mail)
        except DeliveryError as error:
            self._recover(error)
            raise
        except BaseException:
            self.abandon()
            raise

    def _announce(self, mail: Mail) -> None:
        """MAIL, RCPT and DATA, up to "go on". All or nothing: if one recipient is refused, nobody gets the mail,
        because the next attempt would double it for the others. The first refusal is the one raised."""
        size = f" SIZE={len(mail.data)}" if self._wire.has_extn("size") else ""
        recipients = [f"RCPT TO:<{recipient}>" for recipient in mail.recipients]
        pipelining = self._wire.has_extn("pipelining")
        # DATA goes ahead for a single recipient only: with several, a server that took some of them would say "go on".
        data_ahead = pipelining and len(recipients) == 1
        ahead = [*recipients, *(["DATA"] if data_ahead else [])] if pipelining else []
        refused: list[DeliveryError] = []

        reply = self._begin([f"MAIL FROM:<{mail.sender}>{size}", *ahead])
        if not reply.accepted:
            refused.append(refusal(Stage.MAIL, reply, (mail.sender, *mail.recipients)))
        for number, command in enumerate(recipients):
            if refused and not pipelining:
                break  # where all was said already, all the answers must be heard
            reply = self._ask(Stage.RCPT, None if pipelining else command)
            if not reply.accepted:
                refused.append(refusal(Stage.RCPT, reply, mail.recipients, suppress=number == 0))
        if refused and not data_ahead:
            raise refused[0]
        reply = self._ask(Stage.DATA, None if data_ahead else "DATA")
        if refused:
            if reply.code == 354:  # it waits for a mail that nobody shall get, and a lone dot would send an empty one
                self.abandon()
            raise refused[0]
        if reply.code != 354:
            raise refusal(Stage.DATA, reply, mail.recipients)

    def _begin(self, commands: list[str]) -> Reply:
        """One write; the answer to the first command. A kept connection that breaks here had been closed before."""
        with smtp_errors(Stage.MAIL):
            try:
                self._wire.send("".join(f"{command}\r\n" for command in commands))
                reply = Reply(*self._wire.getreply())
            except smtplib.SMTPServerDisconnected as error:
                if self._kept and not timed_out(error):
                    raise Stale from None
                raise
        if self._kept and reply.code == 421:  # "idle too long", "enough mails on this connection"
            raise Stale
        return reply

    def _ask(self, stage: Stage, command: str | None) -> Reply:
        """The answer to this command, or to the next of those said ahead."""
        with smtp_errors(stage):
            if command is not None:
                self._wire.send(f"{command}\r\n")
            return Reply(*self._wire.getreply())

    def _hand_over(self, mail: Mail) -> None:
        with smtp_errors(Stage.BODY):
            self._wire.send(mail.data)
        # On its own, so that a connection lost in the body is known to have carried no complete mail.
        with smtp_errors(Stage.DOT):
            self._wire.send(b".\r\n")
            reply = Reply(*self._wire.getreply())
        if not reply.accepted:
            raise refusal(Stage.DOT, reply, mail.recipients, suppress=len(mail.recipients) == 1)

    def _recover(self, error: DeliveryError) -> None:
        """Back to the state between two mails, or away with the connection."""
        if error.code in ("protocol", "timeout", "connection_lost"):
            self.abandon()
        if self.is_open:
            try:
                if self._wire.rset()[0] != 250:
                    self.abandon()
            except OSError:
                self.abandon()

    def quit(self) -> None:
        """Say goodbye and do not wait for the answer."""
        with suppress(OSError):
            self._wire.deadline = time.monotonic() + 1
            self._wire.send("QUIT\r\n")
        self.abandon()

    def abandon(self) -> None:
        self._wire.close()


class _Wire(smtplib.SMTP):
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

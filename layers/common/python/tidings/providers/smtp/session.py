"""One connection to an SMTP server, and the dialogue that sends one mail.

smtplib speaks the protocol. We add a time-out for each stage and for the whole dialogue instead of for each read;
pipelining (RFC 2920) if the server offers it, so that a mail on a kept connection costs two round trips; and the
knowledge, at every moment, whether the server may have accepted the mail.
"""

import ssl
import time
from contextlib import suppress

from tidings.domain.errors import DeliveryError, PermanentError
from tidings.providers.smtp.mime import Mail
from tidings.providers.smtp.replies import delivery_error, refusal
from tidings.providers.smtp.stages import NOBODY, Parties, Reply, Stage
from tidings.providers.smtp.timeouts import Countdown
from tidings.providers.smtp.wire import Server, Wire

RECOVERY = 5.0
"""Seconds for the dialogue after a refusal, which only saves the connection: the outcome is known already."""

GOODBYE = 1.0  # seconds to write QUIT


class Stale(Exception):
    """A kept connection was closed before it answered: another connection may send the mail."""


class _InStage:
    """A step of the dialogue, with its time-out. Its errors become DeliveryError."""

    __slots__ = ("_countdown", "_parties", "_stage")

    def __init__(self, stage: Stage, countdown: Countdown, parties: Parties) -> None:
        self._stage, self._countdown, self._parties = stage, countdown, parties

    def __enter__(self) -> None:
        self._countdown.start(self._stage)

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            return
        found = delivery_error(error, self._stage, self._countdown.limit, self._parties)
        if found is not None:
            raise found from None


class Session:
    """One connection. For one thread at a time."""

    def __init__(self, server: Server, context: ssl.SSLContext | None, countdown: Countdown) -> None:
        """Connect, start TLS, log in. Raise DeliveryError, and leave nothing open."""
        self._wire = Wire(server, context, countdown)
        self._kept = False
        self.idle_since = 0.0
        self.may_have_taken = False  # the final dot of the last mail was written
        try:
            self._open(server)
            if server.user is not None:
                with self._stage(Stage.AUTH, Parties(recipients=(server.user,))):
                    self._wire.login(server.user, server.password)
        except BaseException:
            self.abandon()
            raise

    def _open(self, server: Server) -> None:
        with self._stage(Stage.CONNECT):
            self._wire.open()
        if server.tls:
            self._secure()
        with self._stage(Stage.GREETING):
            self._wire.await_greeting()
        self._say_ehlo()
        if server.starttls:
            with self._stage(Stage.STARTTLS):
                self._wire.request_tls()
            self._secure()
            self._say_ehlo()

    def _secure(self) -> None:
        with self._stage(Stage.TLS):
            self._wire.secure()

    def _say_ehlo(self) -> None:
        with self._stage(Stage.EHLO):
            self._wire.introduce()

    def _stage(self, stage: Stage, parties: Parties = NOBODY) -> _InStage:
        return _InStage(stage, self._wire.countdown, parties)

    @property
    def is_open(self) -> bool:
        return self._wire.sock is not None

    def keep(self) -> None:
        """Mark it as kept in the pool, where it may be closed unnoticed."""
        self._kept = True
        self.idle_since = time.monotonic()

    def deliver(self, mail: Mail, countdown: Countdown) -> str:
        """Return the server's reply when it has accepted the mail for all recipients. Else raise DeliveryError or
        Stale. Afterwards the session is ready for the next mail, or closed."""
        self._wire.countdown = countdown
        self.may_have_taken = False
        try:
            self._announce(mail)
            return self._send_content(mail)
        except DeliveryError as error:
            self._recover(error)
            raise
        except BaseException:
            self.abandon()
            raise

    def _announce(self, mail: Mail) -> None:
        """MAIL, RCPT and DATA. All or nothing: if one recipient is refused, no recipient gets the mail, because the
        next attempt would double it for the others. Raise the first refusal."""
        refused: list[DeliveryError] = []
        try:
            self._converse(mail, refused)
        except DeliveryError:
            if not refused:
                raise
            self.abandon()  # it refused and then closed the connection: the refusal counts
        if refused:
            raise refused[0]

    def _converse(self, mail: Mail, refused: list[DeliveryError]) -> None:
        """After a refusal the dialogue goes on only where the commands were pipelined."""
        size = f" SIZE={self._size(mail)}" if self._wire.has_extn("size") else ""
        sender, reports = mail.parties.sender, ""
        recipients = [f"RCPT TO:<{recipient}>" for recipient in mail.parties.recipients]
        if mail.back is not None:
            sender = mail.back.address
            if self._wire.has_extn("dsn"):
                reports = mail.back.options
                recipients = [f"RCPT TO:<{one}>{mail.back.options_for(one)}" for one in mail.parties.recipients]
        pipelining = self._wire.has_extn("pipelining")
        # DATA is pipelined for a single recipient only: with several, a server that accepted some would answer 354.
        data_ahead = pipelining and len(recipients) == 1
        ahead = [*recipients, *(["DATA"] if data_ahead else [])] if pipelining else []

        reply = self._begin([f"MAIL FROM:<{sender}>{size}{reports}", *ahead])
        if not reply.accepted:
            self._refused(refused, refusal(Stage.MAIL, reply, mail.parties))
        for number, command in enumerate(recipients):
            if refused and not pipelining:
                return
            reply = self._ask(Stage.RCPT, None if pipelining else command)
            if not reply.accepted:
                self._refused(refused, refusal(Stage.RCPT, reply, mail.parties, suppress=number == 0))
        if refused and not data_ahead:
            return
        reply = self._ask(Stage.DATA, None if data_ahead else "DATA")
        if refused and reply.code == 354:
            self.abandon()  # it waits for a mail that must not be sent, and a dot alone would send an empty one
        elif reply.code != 354:
            self._refused(refused, refusal(Stage.DATA, reply, mail.parties))

    def _size(self, mail: Mail) -> int:
        """Bytes by RFC 1870. Raise PermanentError if they exceed the limit that the server announced."""
        limit = self._wire.size_limit
        if limit is not None and mail.size > limit:
            raise PermanentError("too_large", f"the mail has {mail.size} bytes; the server takes {limit}")
        return mail.size

    def _refused(self, refused: list[DeliveryError], error: DeliveryError) -> None:
        refused.append(error)
        self._wire.countdown.shorten(RECOVERY)

    def _begin(self, commands: list[str]) -> Reply:
        """Write the commands at once; return the reply to the first. Raise Stale if a kept connection has ended: a
        reply that is there before we write answers none of our commands."""
        if self._kept and self._wire.has_spoken():
            raise Stale
        try:
            reply = self._ask(Stage.MAIL, "\r\n".join(commands))
        except DeliveryError as error:
            if self._kept and error.code == "connection_lost":
                raise Stale from None
            raise
        if self._kept and (reply.ends_an_idle_connection or not self.is_open):
            raise Stale
        return reply

    def _ask(self, stage: Stage, command: str | None) -> Reply:
        """The reply to this command, or to the next pipelined one. A server that closes the connection while we write
        may have sent the reason."""
        try:
            with self._stage(stage):
                if command is not None:
                    self._wire.send(f"{command}\r\n")
                return Reply(*self._wire.getreply())
        except DeliveryError:
            if command is None or (said := self._wire.last_refusal()) is None:
                raise
            return Reply(*said)

    def _send_content(self, mail: Mail) -> str:
        # A failed write has not sent the last byte, so the mail is not complete.
        try:
            with self._stage(Stage.BODY):
                self._wire.send_body(mail.data + b".\r\n")
        except DeliveryError:
            if (said := self._wire.last_refusal()) is None:
                raise
            raise refusal(Stage.BODY, Reply(*said), mail.parties) from None
        self.may_have_taken = True
        with self._stage(Stage.DOT):
            reply = Reply(*self._wire.getreply())
        if not reply.accepted:
            self.may_have_taken = False
            raise refusal(Stage.DOT, reply, mail.parties, suppress=len(mail.parties.recipients) == 1)
        return reply.words

    def _recover(self, error: DeliveryError) -> None:
        """Reset for the next mail, or close: a connection that does not answer soon is not kept."""
        self._wire.countdown.shorten(RECOVERY)
        if error.code in ("protocol", "timeout", "connection_lost"):
            self.abandon()
        if self.is_open:
            try:
                if self._wire.rset()[0] != 250:
                    self.abandon()
            except OSError:
                self.abandon()

    def quit(self) -> None:
        """Send QUIT and do not wait for the reply."""
        with suppress(OSError):
            self._wire.countdown = Countdown(self._wire.countdown.timeouts, total=GOODBYE)
            self._wire.send("QUIT\r\n")
        self.abandon()

    def abandon(self) -> None:
        self._wire.close()

"""One connection to an SMTP server, and the conversation that hands over one mail.

smtplib says the words. What is added: a deadline over the whole conversation, not over each read; pipelining (RFC 2920)
where the server offers it, so that a mail on a kept connection costs two round trips; and knowing at every moment
whether the server may have taken the mail already.
"""

import smtplib
import ssl
import time
from contextlib import suppress

from tidings.errors import DeliveryError

from .mime import Mail
from .smtp_replies import Reply, Stage, refusal, smtp_errors, timed_out
from .smtp_wire import Server, Wire


class Stale(Exception):
    """A kept connection turned out to be closed before it had answered anything: the mail may go by another."""


class Session:
    """One connection. For one thread at a time. `deadline` is on the monotonic clock."""

    def __init__(self, server: Server, context: ssl.SSLContext | None, *, deadline: float) -> None:
        """Connect, secure, log in. Raise DeliveryError; nothing stays open then."""
        self._wire = Wire(server, context, deadline)
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
        refused: list[DeliveryError] = []
        try:
            self._converse(mail, refused)
        except DeliveryError:
            if not refused:
                raise
            self.abandon()  # it refused and hung up: what it said counts, not that it said no more
        if refused:
            raise refused[0]

    def _converse(self, mail: Mail, refused: list[DeliveryError]) -> None:
        """What goes wrong after a refusal is only ever seen where the commands were said ahead."""
        size = f" SIZE={len(mail.data)}" if self._wire.has_extn("size") else ""
        recipients = [f"RCPT TO:<{recipient}>" for recipient in mail.recipients]
        pipelining = self._wire.has_extn("pipelining")
        # DATA goes ahead for a single recipient only: with several, a server that took some of them would say "go on".
        data_ahead = pipelining and len(recipients) == 1
        ahead = [*recipients, *(["DATA"] if data_ahead else [])] if pipelining else []

        reply = self._begin([f"MAIL FROM:<{mail.sender}>{size}", *ahead])
        if not reply.accepted:
            refused.append(refusal(Stage.MAIL, reply, (mail.sender, *mail.recipients)))
        for number, command in enumerate(recipients):
            if refused and not pipelining:
                return
            reply = self._ask(Stage.RCPT, None if pipelining else command)
            if not reply.accepted:
                refused.append(refusal(Stage.RCPT, reply, mail.recipients, suppress=number == 0))
        if refused and not data_ahead:
            return
        reply = self._ask(Stage.DATA, None if data_ahead else "DATA")
        if refused and reply.code == 354:
            self.abandon()  # it waits for a mail that nobody shall get, and a lone dot would send an empty one
        elif reply.code != 354:
            refused.append(refusal(Stage.DATA, reply, mail.recipients))

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
        # A write that fails has not handed over its last byte, and so no complete mail.
        with smtp_errors(Stage.BODY):
            self._wire.send(mail.data + b".\r\n")
        with smtp_errors(Stage.DOT):
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

"""The emulated mail server: ESMTP with PIPELINING, AUTH and STARTTLS, and mailboxes that refuse mails."""

import asyncio
import re
import secrets
import ssl
from typing import Any, AnyStr, Never

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from local.emulators import mail, smtp_refusals
from local.emulators.bounces import Bounces
from local.emulators.bounces import Envelope as Accepted
from local.emulators.failures import Failures, Rule, Stage
from local.emulators.ledger import Ledger, accepted_outcome
from local.emulators.records import Call, Outcome, Received
from local.emulators.smtp_refusals import Reply

SIZE_LIMIT = 25 * 1024 * 1024  # bytes, Gmail's limit
MAX_RECIPIENTS = 100  # of a mail: the lowest limit that RFC 5321 allows (4.5.3.1.8)
IDLE = 300.0  # seconds without a command


class Handler:
    """aiosmtpd's hooks. Each returns the reply line; MAIL and RCPT also fill the envelope."""

    def __init__(self, *, ledger: Ledger, failures: Failures, login: tuple[str, str] | None, bounces: Bounces) -> None:
        self._ledger = ledger
        self._failures = failures
        self._login = login
        self._bounces = bounces

    async def greet(self, server: SMTP) -> bool:
        """Whether the connection is accepted. False: it was refused and closed."""
        reply = await self._refused(server, "connect", [])
        if reply is None:
            return True
        await server.push(str(reply))
        return False

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        """aiosmtpd's authenticator. Without a configured login, it accepts any name and password."""
        given = (data.login, data.password) if isinstance(data, LoginPassword) else (b"", b"")
        wanted = tuple(part.encode() for part in self._login) if self._login is not None else given
        if given == wanted and all(given):
            return AuthResult(success=True, auth_data=data)
        self._log_call(None, Outcome.REFUSED, status=535, code="5.7.8")
        return AuthResult(success=False, handled=False)

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", "250-DSN", responses[-1]]

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._login is not None and not session.authenticated:
            self._log_call(None, Outcome.REFUSED, status=530, code="5.7.0")
            return "530 5.7.0 Authentication required"
        if (reply := await self._refused(server, "mail", [])) is not None:
            return await self._reply(server, reply)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (reply := await self._refused(server, "rcpt", [address])) is not None:
            return await self._reply(server, reply)
        full = len(envelope.rcpt_tos) >= MAX_RECIPIENTS
        if (reply := smtp_refusals.TOO_MANY if full else smtp_refusals.mailbox(address)) is not None:
            self._log_call(address, Outcome.REFUSED, status=reply.status, code=reply.enhanced)
            return str(reply)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def before_data(self, server: SMTP, envelope: Envelope) -> str | None:
        """The refusal of the DATA command; None: continue."""
        reply = await self._refused(server, "data", envelope.rcpt_tos)
        return await self._reply(server, reply) if reply is not None else None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        server.has_mail = True  # type: ignore[attr-defined]
        with self._ledger.calls.under_way("email"):
            answer = await self._receive(server, envelope)
        server.has_mail = False  # type: ignore[attr-defined]
        return answer

    async def _receive(self, server: SMTP, envelope: Envelope) -> str:
        recipients, content = list(envelope.rcpt_tos), envelope.original_content or b""
        rule = self._failures.take("email", recipients)
        if rule is not None and (rule.status is not None or rule.drop == "before_accept"):
            reply = await self._apply(server, rule, recipients, message_id=mail.message_id(content))
            return await self._reply(server, reply) if reply is not None else ""
        if any(recipient.startswith("spam") for recipient in recipients):
            spam, message_id = smtp_refusals.SPAM, mail.message_id(content)
            self._log_call(
                recipients[0], Outcome.REFUSED, status=spam.status, code=spam.enhanced, message_id=message_id
            )
            return str(spam)
        queue_id = secrets.token_hex(6).upper()
        drop = rule.drop if rule is not None else None
        self._accept(queue_id, envelope.mail_from or "", recipients, content, accepted_outcome(drop))
        self._bounces.report(_accepted(envelope), queue_id, rule.receipts if rule is not None else None)
        await self._failures.pause(rule)
        if drop is not None:
            await hang_up(server)
        return f"250 2.0.0 OK: queued as {queue_id}"

    def _accept(self, queue_id: str, sender: str, recipients: list[str], content: bytes, outcome: Outcome) -> None:
        self._ledger.accept(
            Received(
                channel="email",
                recipient=recipients[0],
                provider_message_id=queue_id,
                fields={"sender": sender, "recipients": recipients},
                raw=content.decode("latin-1"),
            ),
            Call(
                channel="email",
                recipient=recipients[0],
                outcome=outcome,
                status=250,
                message_id=mail.message_id(content),
                fields={"recipients": recipients},
            ),
        )

    async def _refused(self, server: SMTP, stage: Stage, recipients: list[str]) -> Reply | None:
        rule = self._failures.take("email", recipients, stage=stage)
        return await self._apply(server, rule, recipients) if rule is not None else None

    async def _apply(
        self, server: SMTP, rule: Rule, recipients: list[str], *, message_id: str | None = None
    ) -> Reply | None:
        """The rule's refusal; None if it only delays. Does not return if it drops the connection."""
        recipient = recipients[0] if recipients else None
        reply = smtp_refusals.from_rule(rule) if rule.status is not None else None
        if rule.drop is not None:
            self._log_call(recipient, Outcome.DROPPED_BEFORE_ACCEPT, status=0, message_id=message_id)
        elif reply is not None:
            self._log_call(recipient, Outcome.REFUSED, status=reply.status, code=reply.enhanced, message_id=message_id)
        await self._failures.pause(rule)
        if rule.drop is not None:
            await hang_up(server)
        return reply

    async def _reply(self, server: SMTP, reply: Reply) -> str:
        if reply.status == 421:  # RFC 5321, 3.8: the server then closes the connection
            await server.push(str(reply))
            await hang_up(server)
        return str(reply)

    def _log_call(
        self,
        recipient: str | None,
        outcome: Outcome,
        *,
        status: int,
        code: str | None = None,
        message_id: str | None = None,
    ) -> None:
        self._ledger.add_call(
            Call(channel="email", recipient=recipient, outcome=outcome, status=status, code=code, message_id=message_id)
        )


_ENVID = re.compile(r" ENVID=(\S+)", re.IGNORECASE)
_NOTIFY = re.compile(r" NOTIFY=(\S+)", re.IGNORECASE)
_DSN = re.compile(r" (?:RET|ENVID|NOTIFY|ORCPT)=\S+", re.IGNORECASE)
"""What RFC 3461 adds to MAIL and RCPT, which aiosmtpd does not know."""


def _accepted(envelope: Envelope) -> Accepted:
    options = " " + " ".join(envelope.mail_options + envelope.rcpt_options)
    envid = _ENVID.search(options)
    return Accepted(
        sender=envelope.mail_from or "",
        recipients=list(envelope.rcpt_tos),
        wants_success=any("SUCCESS" in found.upper() for found in _NOTIFY.findall(options)),
        envid=envid[1] if envid is not None else None,
    )


class Connection(SMTP):
    """aiosmtpd's protocol, extended where it has no hook: greeting, DATA command, DSN, idle time-out, size limit."""

    event_handler: Handler
    has_mail = False  # a complete mail, not answered yet

    async def _handle_client(self) -> None:
        if await self.event_handler.greet(self):
            await super()._handle_client()
        elif self.transport is not None:
            self.transport.close()

    async def push(self, status: AnyStr) -> None:
        line = status if isinstance(status, bytes) else status.encode()
        await super().push(str(smtp_refusals.TOO_LARGE).encode() if line.startswith(b"552 Error: ") else line)

    def _timeout_cb(self) -> None:
        if self.transport is not None and not self.has_mail:  # or the client takes it for the answer to the mail
            self.transport.write(f"{smtp_refusals.TIMEOUT}\r\n".encode())  # type: ignore[attr-defined]
        super()._timeout_cb()  # type: ignore[no-untyped-call]

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        await super().smtp_MAIL(_DSN.sub("", arg) if arg is not None else None)
        if self.envelope is not None and self.envelope.mail_from and arg is not None:
            self.envelope.mail_options += [option.strip() for option in _DSN.findall(arg)]

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        await super().smtp_RCPT(_DSN.sub("", arg) if arg is not None else None)
        if self.envelope is not None and self.envelope.rcpt_tos and arg is not None:
            self.envelope.rcpt_options += [option.strip() for option in _DSN.findall(arg)]

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if self.envelope is not None and self.envelope.rcpt_tos and not arg:
            reply = await self.event_handler.before_data(self, self.envelope)
            if reply is not None:
                await self.push(reply)
                return
        await super().smtp_DATA(arg)


def connection(
    handler: Handler,
    *,
    hostname: str,
    tls: ssl.SSLContext | None,
    size_limit: int = SIZE_LIMIT,
    idle: float = IDLE,
) -> Connection:
    """The protocol of one connection. Create it on the running loop."""
    return Connection(
        handler,
        data_size_limit=size_limit,
        timeout=idle,
        enable_SMTPUTF8=False,
        hostname=hostname,
        ident="ESMTP Tidings emulator",
        tls_context=tls,
        auth_require_tls=tls is not None,
        authenticator=handler.authenticate,
        loop=asyncio.get_running_loop(),
    )


async def hang_up(server: SMTP) -> Never:
    """Close the connection without a reply."""
    if server.transport is not None:
        server.transport.close()
    # Returning would make aiosmtpd reply. It cancels this task when the connection is closed.
    await asyncio.Event().wait()
    raise ConnectionAbortedError

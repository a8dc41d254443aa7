"""What a mail server sends back later: delivery reports (RFC 3464), a complaint (RFC 5965), an automatic reply.

It hands them over by LMTP, as a mail server does with mail for a domain that another program takes.
"""

import asyncio
import re
import smtplib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from local.emulators.twilio_callbacks import LATE, PAUSE, TRIES

REPORTS: Mapping[str, tuple[str, str, str]] = {
    "delivered": ("delivered", "2.0.0", "250 2.0.0 stored"),
    "delayed": ("delayed", "4.4.1", "451 4.4.1 no answer yet"),
    "undelivered": ("failed", "5.2.2", "552 5.2.2 the mailbox is full"),
    "failed": ("failed", "5.1.1", "550 5.1.1 no such mailbox"),
}
"""Action, status and the receiving server's reply."""

SEQUENCES: Mapping[str, Sequence[str]] = {
    **{how: (how,) for how in (*REPORTS, "complained", "auto_reply", "unreadable")},
    "late": ("delayed", "failed"),
    "twice": ("failed", "failed"),
    "forged": ("failed",),
    "never": (),
}


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A mail that was accepted."""

    sender: str
    recipients: Sequence[str]
    wants_success: bool  # NOTIFY=SUCCESS
    envid: str | None = None


class Bounces:
    """Reports in the background. `to`: host and port; None: nothing is reported."""

    def __init__(self, to: tuple[str, int] | None) -> None:
        self._to = to
        self._running = set[asyncio.Task[None]]()

    def report(self, envelope: Envelope, queue_id: str, how: str | None) -> None:
        """`how`: one of SEQUENCES; None: the delivery, if that was asked for."""
        how = how or ("delivered" if envelope.wants_success else "never")
        if self._to is not None and envelope.sender and SEQUENCES[how]:
            task = asyncio.create_task(self._report(self._to, envelope, queue_id, how))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _report(self, to: tuple[str, int], envelope: Envelope, queue_id: str, how: str) -> None:
        path = envelope.sender
        if how == "forged":
            path = _changed(path)
            envelope = replace(envelope, envid=None)
        for number, what in enumerate(SEQUENCES[how]):
            if how == "late" and number:
                await asyncio.sleep(LATE)
            mail = _mail(what, envelope, path, message_id=f"<{queue_id}.{what}@localhost>")
            for _ in range(TRIES):
                if await asyncio.to_thread(_hand_over, to, path, mail):
                    break
                await asyncio.sleep(PAUSE)


def _changed(address: str) -> str:
    """Another mark, which nobody sealed."""
    return re.sub(r"[a-z2-7]{8}@", "aaaaaaaa@", address)


def _hand_over(to: tuple[str, int], path: str, mail: str) -> bool:
    """False: to be tried again."""
    try:
        with smtplib.LMTP(*to, timeout=15) as server:
            server.sendmail("", [path], mail.encode())
    except smtplib.SMTPRecipientsRefused:
        return True
    except (OSError, smtplib.SMTPException):
        return False
    return True


def _mail(what: str, envelope: Envelope, path: str, *, message_id: str) -> str:
    head = f"From: MAILER-DAEMON@localhost\nTo: {path}\nMessage-ID: {message_id}\nMIME-Version: 1.0\n"
    if what == "auto_reply":
        return f"{head}Subject: Out of office\nAuto-Submitted: auto-replied\n\nI am away until Monday.\n"
    if what == "unreadable":
        return f"{head}Subject: Undeliverable\n\nSomething went wrong.\n"
    if what == "complained":
        fields = f"Feedback-Type: abuse\nUser-Agent: Emulator/1\nVersion: 1\nOriginal-Mail-From: <{path}>\n"
        return _report(head, "feedback-report", fields, path)
    action, status, reply = REPORTS[what]
    blocks = [
        f"Original-Recipient: rfc822;{one}\nFinal-Recipient: rfc822; {one}\nAction: {action}\nStatus: {status}\n"
        f"Diagnostic-Code: smtp; {reply}\n"
        for one in envelope.recipients
    ]
    about = [f"Reporting-MTA: dns; localhost\nOriginal-Envelope-Id: {envelope.envid or ''}\n", *blocks]
    return _report(head, "delivery-status", "\n".join(about), path)


def _report(head: str, type: str, fields: str, path: str) -> str:
    kind = "delivery-status" if type == "delivery-status" else "feedback-report"
    return (
        f'{head}Subject: A report\nContent-Type: multipart/report; report-type={kind}; boundary="part"\n\n'
        f"--part\nContent-Type: text/plain\n\nA report about your mail.\n\n"
        f"--part\nContent-Type: message/{type}\n\n{fields}\n"
        f"--part\nContent-Type: text/rfc822-headers\n\nReturn-Path: <{path}>\n\n--part--\n"
    )

"""What an SMTP server's words mean: the only place that knows.

Codes: RFC 5321 (4.2), RFC 3463 (enhanced), RFC 7372 (5.7.20-26), and the registry
https://www.iana.org/assignments/smtp-enhanced-status-codes
"""

import enum
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tidings.errors import AccountError, AmbiguousError, DeliveryError, PermanentError, TransientError

MAILBOX_UNKNOWN = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.2.1"})
"""No such mailbox, host or syntax; moved away; disabled. Nothing will ever arrive there."""

SOFT = frozenset({"5.2.2"})
"""Mailbox full: it may be emptied. So is a bare 552."""

SENDER = frozenset({"5.1.7", "5.1.8"})
"""The sender's address is refused, whoever the recipient is."""

AUTHENTICATION = frozenset({530, 534, 535, 538})
"""RFC 4954: authentication required, mechanism too weak, credentials invalid, encryption required."""

CONTENT_POLICY = frozenset({"5.7.0", "5.7.1"})
"""In answer to the content: "spam", said of this one mail. Other 5.7.x there are about signatures and sending hosts."""

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_ADDRESS = re.compile(r"[^\s<>\"'(),;:]+@[^\s<>\"'(),;:]+")


class Stage(enum.StrEnum):
    """How far the conversation had come."""

    CONNECT = "connecting"  # TCP
    TLS = "TLS"  # the handshake, of a new connection or after STARTTLS
    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "the body"
    DOT = "the end of the mail"  # from the first byte of the final dot on, the server may have taken it


OPENING = frozenset({Stage.CONNECT, Stage.TLS, Stage.GREETING, Stage.EHLO, Stage.STARTTLS})


class Reply(NamedTuple):
    """A reply as smtplib gives it; -1 is a line that is no reply."""

    code: int
    text: bytes

    @property
    def accepted(self) -> bool:
        return 200 <= self.code < 300

    @property
    def enhanced(self) -> str | None:
        match = _ENHANCED.match(self.text.decode("ascii", "replace"))
        return match[0] if match else None


def refusal(stage: Stage, reply: Reply, private: Sequence[str] = (), *, suppress: bool = False) -> DeliveryError:
    """The error for a reply that is not the one we hoped for.

    `private`: addresses that its text may repeat. `suppress`: "no such mailbox" can mean only the notification's own
    recipient, not a cc or bcc.

    4xx is transient, whatever follows. 5xx is

    - AccountError for 5.7.x, 5.1.7, 5.1.8 and 53x, and for anything said before MAIL: that is about us. A relay often
      says 5.7.1 ("relay access denied", "client host blocked") only when it hears RCPT, so RCPT is no exception. After
      the content 5.7.0 and 5.7.1 are about this mail (spam, policy): permanent.
    - TransientError for 552 and 5.2.2 (mailbox full), unless the enhanced code says "too big" (5.3.4, 5.2.3).
    - PermanentError else, with `suppress` where the mailbox does not exist.
    """
    code = reply.enhanced or str(reply.code)
    message = f"{stage} was answered {reply.code} {masked(reply.text.decode('utf-8', 'replace'), private)}"
    if 400 <= reply.code < 500:
        return TransientError(code, message)
    if not 500 <= reply.code < 600:  # not SMTP. Behind the final dot nobody knows what it wanted to say.
        kind = AmbiguousError if stage is Stage.DOT else TransientError
        return kind("protocol", message)
    if _is_ours(stage, reply):
        return AccountError(code, message)
    if code in SOFT or code == "552":
        return TransientError(code, message)
    return PermanentError(code, message, suppress="mailbox_unknown" if suppress and code in MAILBOX_UNKNOWN else None)


def _is_ours(stage: Stage, reply: Reply) -> bool:
    code = reply.enhanced or ""
    if stage in OPENING or stage is Stage.AUTH or reply.code in AUTHENTICATION or code in SENDER:
        return True
    return code.startswith("5.7.") and not (stage is Stage.DOT and code in CONTENT_POLICY)


def lost(stage: Stage, error: Exception, limit: str = "in time") -> DeliveryError:
    """The error for a connection that broke, timed out, or never was. `limit`: the time-out, in words."""
    timeout = timed_out(error)
    code = "timeout" if timeout else "connect" if stage in OPENING else "connection_lost"
    missing = {Stage.CONNECT: "no connection", Stage.BODY: "no progress"}.get(stage, "no answer")
    message = f"{stage}: {f'{missing} {limit}' if timeout else 'no connection'}"
    if stage is Stage.DOT:
        return AmbiguousError(code, message)
    return TransientError(code, message)


def timed_out(error: Exception) -> bool:
    """smtplib makes one "disconnected" of every OSError, and keeps the cause as context only."""
    return isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)


@contextmanager
def smtp_errors(stage: Stage, limit: Callable[[], str], private: Sequence[str] = ()) -> Iterator[None]:
    """Turn what smtplib raises in this stage into a DeliveryError. Everything before the final dot was not accepted.
    `limit` says in words which time-out ends the stage."""
    try:
        yield
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error
        raise refusal(
            stage, Reply(error.smtp_code, text if isinstance(text, bytes) else text.encode()), private
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise AccountError("certificate", f"{stage}: {error.verify_message}") from None
    except smtplib.SMTPNotSupportedError:
        raise AccountError("not_supported", f"{stage}: the server does not offer STARTTLS or AUTH") from None
    except smtplib.SMTPServerDisconnected as error:
        raise lost(stage, error, limit()) from None
    except smtplib.SMTPException as error:  # no mechanism in common, or a server that challenges without end
        raise AccountError("not_supported", f"{stage}: {masked(str(error), private)}") from None
    except OSError as error:
        raise lost(stage, error, limit()) from None


def masked(text: str, private: Sequence[str] = ()) -> str:
    """Without addresses and the local parts of these, in one line: it lands in logs."""
    text = _ADDRESS.sub("<address>", text)
    for local in {address.partition("@")[0] for address in private}:
        text = re.sub(rf"(?<!\w){re.escape(local)}(?!\w)", "<address>", text, flags=re.IGNORECASE)
    return " ".join(text.split())[:200]

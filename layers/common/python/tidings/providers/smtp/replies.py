"""What an SMTP server's replies mean. Only this module decides.

Codes: RFC 5321 (4.2), RFC 3463 (enhanced), RFC 7372 (5.7.20-26), and the registry
https://www.iana.org/assignments/smtp-enhanced-status-codes
"""

import re
import smtplib
import ssl
from collections.abc import Sequence

from tidings.domain.errors import AccountError, AmbiguousError, DeliveryError, PermanentError, TransientError
from tidings.providers.smtp.reasons import Reason, reason_of
from tidings.providers.smtp.stages import AFTER_CONTENT, NOBODY, OPENING, Parties, Reply, Stage

MAILBOX_UNKNOWN = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""No such mailbox or host, invalid syntax, moved, a domain without mail, disabled. No mail will ever arrive there."""

FULL = frozenset({"5.2.2", "5.3.1", "5.2.121", "5.2.122"})
"""The mailbox or its system is full, or accepts no more this hour. Temporary."""

TOO_LARGE = frozenset({"5.3.4", "5.2.3"})

AUTHENTICATION = frozenset({530, 534, 535, 538})
"""RFC 4954: authentication required, mechanism too weak, credentials invalid, encryption required."""

CONTENT_POLICY = frozenset({"5.7.0", "5.7.1"})
"""After the content: this one mail is taken for spam."""

OUT_OF_STEP = 503  # "bad sequence of commands": about the session, not about sender or recipient

_ADDRESS = re.compile(r"[^\s<>\"'(),;:]+@[^\s<>\"'(),;:]+")


def refusal(stage: Stage, reply: Reply, parties: Parties = NOBODY, *, suppress: bool = False) -> DeliveryError:
    """The error for a negative reply.

    `suppress`: the reply is about the notification's own recipient, not a cc or bcc, so "no such mailbox" suppresses
    it.

    4xx is transient, unless its text is about our account (a daily quota).
    """
    code = reply.enhanced or str(reply.code)
    message = f"{stage} was answered {reply.code} {masked(reply.words, parties.addresses)}"
    reason = reason_of(code, reply.words)
    evidence = parties.own_sender and stage not in OPENING and stage is not Stage.AUTH
    if 400 <= reply.code < 500:
        if reason is Reason.ACCOUNT:
            return AccountError(code, message)
        return TransientError(code, message, may_be_account=evidence and reason is Reason.RELAY)
    if not 500 <= reply.code < 600:  # not SMTP. After the final dot it may mean that the mail was accepted.
        kind = AmbiguousError if stage is Stage.DOT else TransientError
        return kind("protocol", message)
    if _is_ours(stage, reply, reason, parties):
        return AccountError(code, message)
    if _may_be_ours(stage, reply, reason, parties):
        return TransientError(code, message, may_be_account=evidence)
    if _passes(stage, reply, reason, parties):
        return TransientError(code, message)
    return PermanentError(code, message, suppress="mailbox_unknown" if suppress and code in MAILBOX_UNKNOWN else None)


def _is_ours(stage: Stage, reply: Reply, reason: Reason | None, parties: Parties) -> bool:
    """Whether every mail would be refused like this: before MAIL, at the login, for our account or our default sender.
    Before RCPT the server knows no recipient, so a refused MAIL is about us, except for the size that it names."""
    if stage in OPENING or stage is Stage.AUTH or reason in (Reason.ACCOUNT, Reason.LOGIN):
        return True
    if reason is Reason.SENDER:
        return parties.own_sender and not _names_recipients_only(reply, parties)
    if reply.code in AUTHENTICATION:
        return True
    if not parties.own_sender:
        return False
    if reason is Reason.DOMAIN and stage in AFTER_CONTENT:
        return True
    return stage is Stage.MAIL and not (_is_size(reply) or _is_full(stage, reply) or reply.code == OUT_OF_STEP)


def _may_be_ours(stage: Stage, reply: Reply, reason: Reason | None, parties: Parties) -> bool:
    """Whether it may be about us or about the recipient, so that only other recipients can tell. Servers answer RCPT
    with 5.7.x, "relay access denied" and "client host rejected" in both cases."""
    if _is_full(stage, reply):
        return False
    if reason is Reason.SENDER:
        return _names_recipients_only(reply, parties)
    if reason is None:
        policy = (reply.enhanced or "").startswith("5.7.")
        return policy and not (stage in AFTER_CONTENT and reply.enhanced in CONTENT_POLICY)
    if reason is Reason.CONTENT:  # before any content was sent: about where it comes from
        return stage not in AFTER_CONTENT and not (reply.enhanced or "").startswith("5.6.")
    return reason in (Reason.RELAY, Reason.CLIENT, Reason.DOMAIN)


def _passes(stage: Stage, reply: Reply, reason: Reason | None, parties: Parties) -> bool:
    """Whether a retry may help, or that is in doubt: a full mailbox, or MAIL refused for a sender that the caller chose
    without a text about the sender."""
    if reply.code == OUT_OF_STEP or _is_full(stage, reply):
        return True
    return stage is Stage.MAIL and not parties.own_sender and reason is not Reason.SENDER and not _is_size(reply)


def _is_full(stage: Stage, reply: Reply) -> bool:
    """A bare 552 is a full mailbox at RCPT only; elsewhere it is the size (RFC 1870, 6)."""
    return reply.enhanced in FULL or (reply.code == 552 and reply.enhanced is None and stage is Stage.RCPT)


def _is_size(reply: Reply) -> bool:
    return reply.enhanced in TOO_LARGE or (reply.code == 552 and reply.enhanced is None)


def _names_recipients_only(reply: Reply, parties: Parties) -> bool:
    """In its sandbox, Amazon SES says "Email address is not verified" about recipients as it does about senders."""
    words = reply.words.lower()
    named = any(recipient.lower() in words for recipient in parties.recipients)
    return named and parties.sender.lower() not in words


def lost(stage: Stage, error: Exception, limit: str = "in time") -> DeliveryError:
    """The error for a connection that broke, timed out or failed to open. `limit`: the time-out, as text."""
    timeout = timed_out(error)
    code = "timeout" if timeout else "connect" if stage in OPENING else "connection_lost"
    missing = {Stage.CONNECT: "no connection", Stage.BODY: "no progress"}.get(stage, "no answer")
    message = f"{stage}: {f'{missing} {limit}' if timeout else 'no connection'}"
    if stage is Stage.DOT:
        return AmbiguousError(code, message)
    return TransientError(code, message)


def timed_out(error: Exception) -> bool:
    """smtplib turns every OSError into "disconnected" and keeps the cause as context only."""
    return isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)


def delivery_error(error: BaseException, stage: Stage, limit: str, parties: Parties = NOBODY) -> DeliveryError | None:
    """What an error of smtplib in this stage means; None: it is no such error. Before the final dot nothing was
    accepted. `limit`: the time-out that ends the stage, as text."""
    match error:
        case smtplib.SMTPResponseException(smtp_error=text):
            return refusal(stage, Reply(error.smtp_code, text if isinstance(text, bytes) else text.encode()), parties)
        case ssl.SSLCertVerificationError():
            return AccountError("certificate", f"{stage}: {error.verify_message}")
        case smtplib.SMTPNotSupportedError():
            return AccountError("not_supported", f"{stage}: the server does not offer STARTTLS or AUTH")
        case smtplib.SMTPServerDisconnected():
            return lost(stage, error, limit)
        case smtplib.SMTPException():  # no common mechanism, or endless challenges
            return AccountError("not_supported", f"{stage}: {masked(str(error), parties.addresses)}")
        case OSError():
            return lost(stage, error, limit)
    return None


def masked(text: str, private: Sequence[str] = ()) -> str:
    """One line for the log, without addresses and the local parts of `private`."""
    text = _ADDRESS.sub("<address>", text)
    for local in {address.partition("@")[0] for address in private}:
        if local.lower() not in text.lower():
            continue  # nearly always: compiling a pattern costs more than sending a mail
        text = re.sub(rf"(?<!\w){re.escape(local)}(?!\w)", "<address>", text, flags=re.IGNORECASE)
    return " ".join(text.split())[:200]

"""What a returned mail says: a delivery report (RFC 3464), a complaint (RFC 5965), a bounce in a server's own words, an
automatic reply, or something else. It is hostile input: nothing here trusts a field to be there, or to be short.

Which notification it is about, and whether it may say so, is not decided here: see receipts.py.
"""

import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes, message_from_string
from email.message import Message

from tidings.domain.receipt import ReceiptKind
from tidings.providers.smtp.bounce_forms import only_address, recognised
from tidings.providers.smtp.bounce_texts import failure, from_text, is_about_failure, is_from_server, said_before

MAX_SIZE = 256 * 1024
"""Bytes of a returned mail that are read. A report comes first; what follows is the mail that it returns."""

MAX_REPORTS = 100  # recipients of a report that are looked at: a mail has at most that many
MAX_TEXT = 32 * 1024  # characters of the text of a bounce that are searched
MAX_PARTS = 50


class Sort(enum.StrEnum):
    """What kind of mail came back."""

    REPORT = "report"  # RFC 3464
    COMPLAINT = "complaint"  # RFC 5965
    BOUNCE = "bounce"  # in a server's own words
    AUTO_REPLY = "auto_reply"  # RFC 3834: an absence, a challenge, a receipt of reading
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Report:
    """About one recipient."""

    kind: ReceiptKind
    code: str | None = None
    text: str = ""  # the server's reply; may have personal data
    addresses: Sequence[str] = ()  # the recipient as we named it, as the server knows it; empty: it names none


@dataclass(frozen=True, kw_only=True)
class Returned:
    """A returned mail, read."""

    sort: Sort
    reports: Sequence[Report] = ()
    traces: Sequence[str] = ()  # texts in which a return path may be, the best first
    id: str = ""  # its own Message-ID


def read(raw: bytes) -> Returned:
    """Never raises for what is in the mail."""
    try:
        return _read(raw, message_from_bytes(raw[:MAX_SIZE]))
    except Exception:
        # The standard library's parser has had such bugs, and recurses: whatever it is, this mail is not readable.
        return Returned(sort=Sort.UNKNOWN)


def _read(raw: bytes, message: Message) -> Returned:
    parts = list(_parts(message))
    text = _text(parts)
    traces = [*_traces(message, parts, text)]
    id = _field(message, "Message-ID")[:250]
    if (complaint := _part(parts, "message/feedback-report")) is not None:
        return Returned(sort=Sort.COMPLAINT, reports=_complaints(complaint), traces=traces, id=id)
    if reports := _delivery_reports(_part(parts, "message/delivery-status", "message/global-delivery-status"), text):
        return Returned(sort=Sort.REPORT, reports=reports, traces=traces, id=id)
    sender = _field(message, "From")
    from_server = is_from_server(sender)
    if _is_automatic(message, parts) and not from_server:
        return Returned(sort=Sort.AUTO_REPLY, traces=traces, id=id)
    report = _in_own_words(raw, sender, text) if from_server or is_about_failure(_field(message, "Subject")) else None
    if report is None:
        return Returned(sort=Sort.UNKNOWN, traces=traces, id=id)
    return Returned(sort=Sort.BOUNCE, reports=[report], traces=traces, id=id)


def _in_own_words(raw: bytes, sender: str, text: str) -> Report | None:
    """Of a bounce that is no report of RFC 3464. None: neither its form nor its words are known."""
    named, said = recognised(raw, sender), from_text(text)
    if said is None and named.failed:
        said = ReceiptKind.FAILED_SOFT, None, ""  # in doubt, another try may help
    if named.delayed and not named.failed:
        said = ReceiptKind.ACCEPTED, None, ""
    if said is None:
        return None
    kind, code, words = said
    addresses = named.failed or named.delayed or only_address(said_before(text))
    return Report(kind=kind, code=code, text=words, addresses=addresses)


# --- delivery reports -------------------------------------------------------------------------------------------------

_ACTIONS = {
    "delivered": ReceiptKind.DELIVERED,
    # These three prove that a server took it; it may still fail.
    "delayed": ReceiptKind.ACCEPTED,
    "relayed": ReceiptKind.ACCEPTED,
    "expanded": ReceiptKind.ACCEPTED,
}


_BLOCK = re.compile(r"^(?:Final|Original)-Recipient:.*(?:\n(?!\s*\n|--).*){0,30}", re.IGNORECASE | re.MULTILINE)
"""A recipient's block in a text: of a report whose MIME is broken."""


def _delivery_reports(status: Message | None, text: str) -> Sequence[Report]:
    """A report for each block about a recipient."""
    blocks = status.get_payload() if status is not None else []
    if not isinstance(blocks, list) or not blocks:
        blocks = [message_from_string(found.replace("\r\n", "\n")) for found in _BLOCK.findall(text)[:MAX_REPORTS]]
    told = [block for block in blocks[: MAX_REPORTS + 1] if isinstance(block, Message) and _tells(block)]
    words = said_before(text)[:2000] if len(told) == 1 else ""  # of several recipients, it does not say of which
    found = (_delivery_report(block, words) for block in told)
    return [report for report in found if report is not None]


def _tells(block: Message) -> bool:
    return block.get("Action") is not None or block.get("Status") is not None


def _delivery_report(block: Message, text: str) -> Report | None:
    """`text`: for people, where the block has no server's words."""
    action = (_field(block, "Action").lower().split() or [""])[0].strip("();:,.")
    status, diagnostic = _field(block, "Status"), _field(block, "Diagnostic-Code")
    if action == "failed" or (not action and status.lstrip("(")[:1] in ("4", "5")):
        kind, code, words = failure(status, diagnostic, text)
        return Report(kind=kind, code=code, text=words, addresses=_addresses(block))
    if action not in _ACTIONS:
        return None
    return Report(kind=_ACTIONS[action], addresses=_addresses(block))


def _addresses(block: Message) -> Sequence[str]:
    """Without their type: `rfc822; ada@example.com`. The original one is as we named it, the final one may be after a
    forward."""
    found = (_field(block, name) for name in ("Original-Recipient", "Final-Recipient"))
    return [_unxtext(text.partition(";")[2] or text).strip().strip("<>") for text in found if text]


def _unxtext(text: str) -> str:
    """RFC 3461, 4: `+2B` is a plus."""
    return re.sub(r"\+([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), text)


# --- complaints -------------------------------------------------------------------------------------------------------

_COMPLAINTS = {
    **dict.fromkeys(("abuse", "fraud", "virus", "other", "miscategorized"), ReceiptKind.COMPLAINED),
    **dict.fromkeys(("opt-out", "opt-out-list"), ReceiptKind.OPTED_OUT),
}
"""Not among them: not-spam takes a complaint back, auth-failure (RFC 6591) and dmarc are about our domain's set-up."""


def _complaints(part: Message) -> Sequence[Report]:
    fields = _nested(part)
    type = _field(fields, "Feedback-Type").lower()
    kind = _COMPLAINTS.get(type)
    if kind is None:
        return []
    addresses = [_field(fields, name) for name in ("Original-Rcpt-To",)]
    return [Report(kind=kind, code=type, addresses=[address.strip("<> ") for address in addresses if address])]


# --- the parts of a mail ----------------------------------------------------------------------------------------------


def _parts(message: Message) -> Iterator[Message]:
    """All but the contents of messages within, which are what is returned."""
    waiting, seen = [message], 0
    while waiting and seen < MAX_PARTS:
        part = waiting.pop(0)
        seen += 1
        yield part
        if part.get_content_maintype() == "multipart" and isinstance(payload := part.get_payload(), list):
            waiting.extend(one for one in payload if isinstance(one, Message))


def _part(parts: Sequence[Message], *types: str) -> Message | None:
    return next((part for part in parts if part.get_content_type() in types), None)


def _nested(part: Message) -> Message:
    """The fields in a part of the type message/*."""
    payload = part.get_payload()
    if isinstance(payload, list) and payload and isinstance(payload[0], Message):
        return payload[0]
    return message_from_bytes(_decoded(part).lstrip().encode())


def _decoded(part: Message) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        return content.decode("latin-1")


def _text(parts: Sequence[Message]) -> str:
    """What a person would read: plain text, else HTML without its tags."""
    for type, pattern in (("text/plain", None), ("text/html", re.compile(r"<[^<>]{0,2000}>"))):
        found = [part for part in parts if part.get_content_type() == type or _is_broken(part)]
        texts = [_decoded(part)[:MAX_TEXT] for part in found]
        text = "\n".join(texts)[:MAX_TEXT]
        if text.strip():
            return pattern.sub(" ", text) if pattern is not None else text
    return ""


def _is_broken(part: Message) -> bool:
    """A multipart without parts: its boundary was lost."""
    return part.get_content_maintype() == "multipart" and isinstance(part.get_payload(), str)


def _field(message: Message, name: str) -> str:
    """A header on one line; empty: there is none."""
    try:
        return " ".join(str(message.get(name, "")).split())[:2000]
    except Exception:
        return ""  # a header that the standard library cannot decode


# --- where a return path may be ---------------------------------------------------------------------------------------

_OUTER = ("Delivered-To", "X-Original-To", "X-Envelope-To", "Envelope-To", "X-RCPT-To", "To")
_REPORTED = ("Original-Envelope-Id", "Original-Mail-From", "X-Postfix-Sender", "X-Original-Mail-From")
_INNER = ("Return-Path", "X-Envelope-From", "Errors-To")


def _traces(message: Message, parts: Sequence[Message], text: str) -> Iterator[str]:
    for name in _OUTER:
        yield from (str(value)[:2000] for value in message.get_all(name, [])[:10])
    for part in parts:
        type = part.get_content_type()
        if type in ("message/delivery-status", "message/global-delivery-status", "message/feedback-report"):
            blocks = part.get_payload()
            for block in [one for one in blocks if isinstance(one, Message)][:2] if isinstance(blocks, list) else []:
                yield from (_field(block, name) for name in _REPORTED)
        elif type in ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"):
            yield from (_field(_nested(part), name) for name in _INNER)
    yield from _RETURN_PATHS.findall(text)[:3]


_RETURN_PATHS = re.compile(r"^[> ]*Return-Path: *([^\n]{1,400})", re.IGNORECASE | re.MULTILINE)
"""Of a bounce that quotes the mail in its text."""


# --- automatic replies ------------------------------------------------------------------------------------------------

_SUBJECTS = re.compile(
    r"^\s*(\[?auto(matic|mated)?[ -:_]?(reply|response|antwort)|auto:|out[ -]of[ -]?(the )?office|ooo:|abwesend|"
    r"abwesenheit|vacation|away from|réponse automatique|risposta automatica|respuesta automática|read:|gelesen:|"
    r"please confirm|confirm your)",
    re.IGNORECASE,
)


def _is_automatic(message: Message, parts: Sequence[Message]) -> bool:
    """A reply that a person's mailbox sent by itself. A bounce may also call itself auto-replied: it is looked for
    first."""
    auto = _field(message, "Auto-Submitted").lower()
    if auto.startswith(("auto-replied", "auto-notified")) or _part(parts, "message/disposition-notification"):
        return True
    if any(message.get(name) is not None for name in ("X-Autoreply", "X-Autorespond", "X-Autoresponder")):
        return True
    if _field(message, "Precedence").lower() in ("auto_reply", "auto-reply"):
        return True
    return _SUBJECTS.search(_field(message, "Subject")) is not None

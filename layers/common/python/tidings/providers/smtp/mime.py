"""A notification as the bytes of a mail (RFC 5322, MIME), ready for SMTP's DATA.

Written by hand, because building a mail costs more than sending it: `EmailMessage` with the SMTP policy takes 1.4 ms of
CPU for a short mail, this 0.05 ms. Rare and difficult parts (encoded words, folding) are left to the standard library.

The bytes are ASCII with CRLF line ends, no line is longer than 998 characters, and lines that begin with a dot are
doubled already (RFC 5321, 4.5.2).
"""

import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from tidings.domain.channels import Attachment, EmailContent
from tidings.domain.errors import PermanentError
from tidings.ports import SendRequest
from tidings.providers.smtp.mime_headers import (
    CRLF,
    FOLD,
    LINE,
    MAX_LINE,
    NOT_IN_HEADER,
    NOT_SEVEN_BIT,
    checked,
    date_of,
    filename,
    header,
    mailbox_header,
    refused,
    split_mailbox,
    unsubscribe_headers,
)
from tidings.providers.smtp.return_path import Back
from tidings.providers.smtp.stages import Parties


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """A mail and its envelope."""

    message_id: str  # <id@domain>
    parties: Parties  # bare addresses: `to` first, then cc, then bcc
    data: bytes  # headers and body, without the terminating dot; ends with CRLF
    back: Back | None = None  # where bounces go; None: to the sender

    @property
    def size(self) -> int:
        """Bytes, without the dots doubled for SMTP (RFC 1870, 6)."""
        return len(self.data) - self.data.count(b"\r\n..")


def build_mail(
    outbound: SendRequest, *, sender: str, domain: str, date: datetime, unsubscribe: str | None = None
) -> Mail:
    """Raise PermanentError for what a mail cannot hold: a line break in a header, an invalid address.

    `sender`: the mailbox for content without `from`. `unsubscribe`: the link to opt out of its category. All attempts
    of a notification have the same Message-ID, so that a receiver can drop a duplicate.
    """
    content = outbound.content
    if not isinstance(content, EmailContent):
        raise TypeError(f"a mail is made of EmailContent, not of {type(content).__name__}")
    from_ = content.from_ or sender
    message_id = f"<{outbound.id}@{domain}>"
    try:
        lines = [
            header("Message-ID", message_id),
            f"Date: {date_of(date.replace(microsecond=0))}",
            mailbox_header("From", from_),
            f"To: {checked(outbound.recipient)}",
            *([f"Cc: {f',{FOLD}'.join(map(checked, content.cc))}"] if content.cc else []),
            *([mailbox_header("Reply-To", content.reply_to)] if content.reply_to is not None else []),
            header("Subject", content.subject),
            *(header(name, value) for name, value in content.headers.items()),
            *unsubscribe_headers(unsubscribe, content.headers),
            "MIME-Version: 1.0",
            *_body(outbound.id, content),
        ]
        text = CRLF.join(lines)
        data = text.replace(f"{CRLF}.", f"{CRLF}..").encode("ascii")
    except UnicodeError:  # a lone surrogate: JSON can write it, UTF-8 cannot
        raise PermanentError("content", "the mail holds characters that cannot be encoded") from None
    from_address = checked(split_mailbox(from_)[1])
    return Mail(
        message_id=message_id,
        parties=Parties(
            sender=from_address,
            recipients=tuple(dict.fromkeys(map(checked, (outbound.recipient, *content.cc, *content.bcc)))),
            own_sender=from_address.lower() == split_mailbox(sender)[1].lower(),
        ),
        data=data if data.endswith(b"\r\n") else data + b"\r\n",
    )


# --- bodies -----------------------------------------------------------------------------------------------------------


def _body(id: str, content: EmailContent) -> Iterator[str]:
    """The lines from the first Content-Type on."""
    texts = [("plain", content.text), ("html", content.html)]
    bodies = [list(_text_part(subtype, text)) for subtype, text in texts if text is not None]
    if len(bodies) > 1:
        bodies = [list(_multipart("alternative", f"=_{id}_a", bodies))]
    if content.attachments:
        files = (list(_file_part(attachment)) for attachment in content.attachments)
        bodies = [list(_multipart("mixed", f"=_{id}_m", [*bodies, *files]))]
    return iter(bodies[0])


def _multipart(subtype: str, boundary: str, parts: Iterable[list[str]]) -> Iterator[str]:
    # No part contains the boundary: `=_` is neither base64 nor quoted-printable, and the caller cannot know the id.
    yield f'Content-Type: multipart/{subtype}; boundary="{boundary}"'
    yield ""
    for part in parts:
        yield f"--{boundary}"
        yield from part
    yield f"--{boundary}--"


def _text_part(subtype: str, text: str) -> Iterator[str]:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    encoding, lines = _encoded(text)
    yield f"Content-Type: text/{subtype}; charset={'us-ascii' if encoding == '7bit' else 'utf-8'}"
    yield f"Content-Transfer-Encoding: {encoding}"
    yield ""
    yield from lines


def _encoded(text: str) -> tuple[str, list[str]]:
    """The shortest of three encodings that every server accepts: 7bit, quoted-printable, base64."""
    lines = text.split("\n")
    if NOT_SEVEN_BIT.search(text) is None and max(map(len, lines)) <= MAX_LINE:
        return "7bit", lines
    data = text.encode()
    if 6 * (len(data) - len(data.translate(None, _ESCAPED))) < len(data):  # 3 bytes each, against 4/3
        return "quoted-printable", list(_quoted_printable(data))
    return "base64", _wrapped(binascii.b2a_base64(data.replace(b"\n", b"\r\n"), newline=False).decode("ascii"))


def _quoted_printable(data: bytes) -> Iterator[str]:
    """binascii writes a trailing space as `=20`, which may make a line of 78 letters; RFC 2045, 6.7 allows 76."""
    for line in binascii.b2a_qp(data, istext=True).decode("ascii").split("\n"):
        if len(line) > LINE:
            yield f"{line[:-3]}="
            yield line[-3:]
        else:
            yield line


_ESCAPED = bytes(
    [61, *range(9), *range(11, 32), *range(127, 256)]
)  # quoted-printable writes each of these as three bytes


def _wrapped(base64: str) -> list[str]:
    return [base64[start : start + LINE] for start in range(0, len(base64), LINE)]


def _file_part(attachment: Attachment) -> Iterator[str]:
    if NOT_IN_HEADER.search(attachment.filename) or NOT_IN_HEADER.search(attachment.content_type):
        raise refused("attachment")
    if attachment.content_type.lower().startswith(("multipart/", "message/")):
        # RFC 2046, 5.1 and 5.2: these may not be base64, so they would reach the reader broken.
        raise PermanentError(
            "content_type", f"{attachment.content_type} cannot be attached; use application/octet-stream"
        )
    yield f"Content-Type: {attachment.content_type}"
    yield "Content-Transfer-Encoding: base64"
    yield f";{FOLD}".join(["Content-Disposition: attachment", *filename(attachment.filename)])
    yield ""
    yield from _wrapped(attachment.content)  # base64 already, checked at submission

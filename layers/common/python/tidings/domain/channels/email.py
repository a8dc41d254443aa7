"""Email: the content of a mail, and its recipient's address."""

import base64
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, FailFast, Field, StringConstraints, field_validator, model_validator
from pydantic_core import from_json

from tidings.domain.addresses import EmailAddress, Line, Mailbox, one_line
from tidings.domain.channels.base import Content, StrictModel
from tidings.domain.channels.long_text import LongText, MaxLength, base64_pieces, length

MAX_ATTACHMENTS = 20
MAX_ATTACHMENT_BYTES = 7 * 1024 * 1024  # decoded, all together; base64 adds a third, and receivers stop at 10-25 MB
MAX_RECIPIENTS = 100  # of a mail; a server must take so many, and may refuse more with 452 (RFC 5321, 4.5.3.1.8)
MAX_UNBROKEN = (
    900  # characters without a space in a structured header: a line has at most 998, and is folded at spaces only
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,76}")
_OWN_HEADERS = frozenset(
    [
        "bcc",
        "cc",
        "content-disposition",
        "content-id",
        "content-transfer-encoding",
        "content-type",
        "date",
        "dkim-signature",
        "from",
        "message-id",
        "mime-version",
        "received",
        "reply-to",
        "return-path",
        "sender",
        "subject",
        "to",
    ]
)


_STRUCTURED_HEADERS = frozenset(
    [
        "archived-at",
        "auto-submitted",
        "content-language",
        "disposition-notification-to",
        "in-reply-to",
        "list-archive",
        "list-help",
        "list-id",
        "list-owner",
        "list-post",
        "list-subscribe",
        "list-unsubscribe",
        "list-unsubscribe-post",
        "original-message-id",
        "references",
        "return-receipt-to",
    ]
)
"""Headers that programs read. Encoded words, which non-ASCII text needs, are not allowed there (RFC 2047, 5)."""


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError("not a header name: letters, digits and hyphens, at most 76")
    if value.lower() in _OWN_HEADERS or value.lower().startswith("resent-"):
        raise ValueError(f"the header {value} is set by Tidings; use the field of that name if there is one")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]


def _check_headers(headers: Mapping[str, str]) -> None:
    seen: set[str] = set()
    for name, value in headers.items():
        if name.lower() in seen:
            raise ValueError(f"the header {name} is given twice, with different capitals; give it once")
        seen.add(name.lower())
        if name.lower() not in _STRUCTURED_HEADERS:
            continue
        if not value.isascii() or "=?" in value:
            raise ValueError(f"the header {name} must be ASCII without =?; percent-encode the URL in it")
        if max(map(len, value.split()), default=0) > MAX_UNBROKEN:
            raise ValueError(f"the header {name} has over {MAX_UNBROKEN} characters without a space; shorten it")


_MAX_BASE64 = MAX_ATTACHMENT_BYTES * 4 // 3 + 4  # characters


class Attachment(StrictModel):
    """A file in a mail. `content` is base64 (RFC 4648)."""

    filename: Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(one_line)]
    content_type: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}$")
    ] = "application/octet-stream"
    content: Annotated[str, MaxLength(_MAX_BASE64)]

    @field_validator("content_type")
    @classmethod
    def _may_be_base64(cls, value: str) -> str:
        if value.lower().startswith(("multipart/", "message/")):  # RFC 2046, 5.1 and 5.2
            raise ValueError(f"{value} cannot be attached; use application/octet-stream")
        return value

    @model_validator(mode="after")
    def _is_base64(self) -> Self:
        is_padded = False
        try:
            # In pieces: a single call for megabytes would block the process.
            for piece in base64_pieces(self.content):
                if b"=" in piece[:-2] or (is_padded and piece):
                    raise ValueError
                base64.b64decode(piece, validate=True)
                is_padded = is_padded or b"=" in piece
        except ValueError:  # also where it is not ASCII
            raise ValueError("content is not base64 (RFC 4648, with padding, in one line)") from None
        return self

    @property
    def data(self) -> bytes:
        return base64.b64decode(self.content)


class EmailContent(Content):
    """A mail: a subject and text, html, or both."""

    channel: ClassVar[str] = "email"
    label: ClassVar[str] = "Email"
    Recipient: ClassVar[Any] = EmailAddress
    example: ClassVar[Mapping[str, Any]] = {
        "recipient": "ada@example.com",  # example.com takes no mail (RFC 2606)
        "content": {"subject": "Shipped", "text": "Your order 4711 is on its way."},
    }

    subject: Line
    text: Annotated[str, MaxLength(1_000_000)] | None = None
    html: Annotated[str, MaxLength(2_000_000)] | None = None
    from_: Annotated[Mailbox | None, Field(alias="from")] = None  # None: the provider's default sender
    reply_to: Mailbox | None = None
    cc: Annotated[tuple[EmailAddress, ...], Field(max_length=50, strict=False), FailFast()] = ()
    bcc: Annotated[tuple[EmailAddress, ...], Field(max_length=50, strict=False), FailFast()] = ()
    headers: dict[HeaderName, Line] = Field(default_factory=dict, max_length=20)
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=MAX_ATTACHMENTS, strict=False), FailFast()] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.text is None and self.html is None:
            raise ValueError("give text, html, or both")
        if sum(length(attachment.content) for attachment in self.attachments) > _MAX_BASE64:
            raise ValueError(f"attachments are over {MAX_ATTACHMENT_BYTES} bytes together")
        return self

    @classmethod
    def matched(cls, stored: str) -> str:
        """In lower case. RFC 5321 (2.4) lets a server tell apart local parts by their case; hardly one does."""
        return stored.lower()

    @classmethod
    def copied_to(cls, content: str | bytes) -> Sequence[str]:
        """The cc and bcc. A content without them, however large, is not parsed."""
        names = ('"cc":', '"bcc":') if isinstance(content, str) else (b'"cc":', b'"bcc":')
        if not any(name in content for name in names):  # type: ignore[operator]
            return ()
        try:
            fields = from_json(content)
            return [*fields.get("cc", ()), *fields.get("bcc", ())]
        except (ValueError, TypeError, AttributeError):
            return ()  # another release's content: it is not sent

    def without(self, recipients: Collection[str]) -> Self:
        if not recipients:
            return self
        kept = {name: tuple(one for one in getattr(self, name) if one not in recipients) for name in ("cc", "bcc")}
        return self.model_copy(update=kept)

    @classmethod
    def masked(cls, stored: str) -> str:
        """As `a***@example.com`."""
        local, at, domain = stored.rpartition("@")
        if not at:
            return super().masked(stored)
        return f"{local[:1] if len(local) > 2 else ''}***@{domain}"

    def check(self, recipient: Any) -> None:
        number = len({recipient, *self.cc, *self.bcc})
        if number > MAX_RECIPIENTS:
            raise ValueError(
                f"a mail has at most {MAX_RECIPIENTS} recipients, to, cc and bcc together, not {number}; send several"
            )
        _check_headers(self.headers)

    def long_texts(self) -> Sequence[LongText]:
        texts = [self.text, self.html, *[attachment.content for attachment in self.attachments]]
        return [text for text in texts if type(text) is LongText]

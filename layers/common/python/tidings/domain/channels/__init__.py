"""What a notification says, one class a channel, and how its recipient is written.

A new channel is one more class here, added to CONTENT. Everything is checked at the door, with a message that says what
to change; nothing is dropped silently.
"""

import base64
import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from tidings.domain.addresses import EmailAddress, Line, Mailbox, PhoneNumber, one_line
from tidings.domain.channels.sms_segments import is_blank, units

MAX_ATTACHMENTS = 20
MAX_ATTACHMENT_BYTES = 7 * 1024 * 1024  # decoded, all together; base64 adds a third, and receivers stop at 10-25 MB


class Part(BaseModel):
    """Strict: no coercion, no unknown field, no change afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)


class Content(Part):
    """The base of every channel's content. `Recipient` is the type of the request's `recipient`."""

    channel: ClassVar[str]
    Recipient: ClassVar[Any]
    reconcilable: ClassVar[bool] = False  # its vendors can tell what they have accepted: `on_ambiguous: reconcile`

    def check(self, recipient: Any) -> None:
        """Raise ValueError for what the vendor is known to refuse. Asked only when a notification is submitted: what an
        earlier release has stored is read without it. `recipient` is of the type `Recipient`."""

    @classmethod
    def stored(cls, recipient: Any) -> str:
        """The recipient as one string, as the database holds it and the list filters by it."""
        return str(recipient)

    @classmethod
    def shown(cls, stored: str) -> Any:
        """The recipient as the API shows it: the reverse of `stored`."""
        return stored

    @classmethod
    def sought(cls, text: str) -> str | None:
        """How a recipient that somebody looks for would be stored; None if it is none of this channel's as it is
        submitted. What is in the stored form already is found anyway."""
        try:
            return cls.stored(_adapter(cls.Recipient).validate_python(text.strip()))
        except ValidationError:
            return None


@cache
def _adapter(recipient: Any) -> TypeAdapter[Any]:
    return TypeAdapter(recipient)


# --- email ------------------------------------------------------------------------------------------------------------

MAX_RECIPIENTS = 100  # of a mail; a server must take so many, and may refuse more with 452 (RFC 5321, 4.5.3.1.8)
MAX_UNBROKEN = 900  # letters in a row in a structured header: a line has 998 with the name, and is cut at spaces only
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
"""Those that programs read. Encoded words, which other letters than ASCII need, are not allowed there (RFC 2047, 5)."""


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError("not a header name: letters, digits and hyphens, at most 76")
    if value.lower() in _OWN_HEADERS or value.lower().startswith("resent-"):
        raise ValueError(f"the header {value} is made by Tidings; use the field of that name where there is one")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]


def _check_headers(headers: Mapping[str, str]) -> None:
    seen: set[str] = set()
    for name, value in headers.items():
        if name.lower() in seen:
            raise ValueError(f"the header {name} is given twice, in other capitals; give it once")
        seen.add(name.lower())
        if name.lower() not in _STRUCTURED_HEADERS:
            continue
        if not value.isascii() or "=?" in value:
            raise ValueError(f"the header {name} must be ASCII without =?; percent-encode the URL in it")
        if max(map(len, value.split()), default=0) > MAX_UNBROKEN:
            raise ValueError(f"the header {name} has over {MAX_UNBROKEN} letters without a space; shorten it")


_BASE64_PIECE = 256 * 1024  # characters; a multiple of four, so that each piece is base64 by itself


class Attachment(Part):
    """A file in a mail. `content` is base64 (RFC 4648)."""

    filename: Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(one_line)]
    content_type: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}$")
    ] = "application/octet-stream"
    content: Annotated[str, StringConstraints(max_length=MAX_ATTACHMENT_BYTES * 4 // 3 + 4)]

    @field_validator("content_type")
    @classmethod
    def _may_be_base64(cls, value: str) -> str:
        if value.lower().startswith(("multipart/", "message/")):  # RFC 2046, 5.1 and 5.2
            raise ValueError(f"{value} cannot be attached; use application/octet-stream")
        return value

    @model_validator(mode="after")
    def _is_base64(self) -> Self:
        content, end = self.content, len(self.content) - 2
        try:
            # In pieces: a single call for megabytes would hold up everybody else.
            if "=" in content[:end]:
                raise ValueError
            for start in range(0, len(content), _BASE64_PIECE):
                base64.b64decode(content[start : start + _BASE64_PIECE], validate=True)
        except ValueError:  # also where it is not ASCII
            raise ValueError("content is not base64 (RFC 4648, with padding, in one line)") from None
        return self

    @property
    def data(self) -> bytes:
        return base64.b64decode(self.content)


class EmailContent(Content):
    """A mail: a subject and text, html, or both."""

    channel: ClassVar[str] = "email"
    Recipient: ClassVar[Any] = EmailAddress

    subject: Line
    text: Annotated[str, StringConstraints(max_length=1_000_000)] | None = None
    html: Annotated[str, StringConstraints(max_length=2_000_000)] | None = None
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
        if sum(len(attachment.content) for attachment in self.attachments) > MAX_ATTACHMENT_BYTES * 4 // 3 + 4:
            raise ValueError(f"attachments are over {MAX_ATTACHMENT_BYTES} bytes together")
        return self

    def check(self, recipient: Any) -> None:
        number = len({recipient, *self.cc, *self.bcc})
        if number > MAX_RECIPIENTS:
            raise ValueError(
                f"a mail has at most {MAX_RECIPIENTS} recipients, to, cc and bcc together, not {number}; send several"
            )
        _check_headers(self.headers)


# --- sms --------------------------------------------------------------------------------------------------------------


MAX_SMS = 1600
"""Units (sms_text): https://www.twilio.com/docs/api/errors/21617"""


class SmsContent(Content):
    """A text message, at most 1,600 characters as Twilio counts: an emoji is two or more, and so are `^{}[]~|\\€`
    where all others are in GSM-7. It is sent and billed in segments."""

    channel: ClassVar[str] = "sms"
    Recipient: ClassVar[Any] = PhoneNumber
    reconcilable: ClassVar[bool] = True

    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SMS)]

    @classmethod
    def sought(cls, text: str) -> str | None:
        """Also as people write it. The plus sign may be missing: in a query, an unescaped one is a blank."""
        digits = re.sub(r"[\s().-]", "", text)
        return super().sought(re.sub(r"^(00|\+)?", "+", digits, count=1))

    def check(self, recipient: Any) -> None:
        if "\0" in self.text:
            raise ValueError("the text holds a NUL character; leave it out")
        if is_blank(self.text):
            raise ValueError("the text is blank; Twilio refuses it as empty")
        if (size := units(self.text)) > MAX_SMS:
            raise ValueError(
                f"the text has {size} characters as Twilio counts, at most {MAX_SMS}: one that is not in GSM-7, like an"
                " emoji, counts in UTF-16 units, and in GSM-7 each of ^{}[]~|\\€ counts two"
            )


# --- push -------------------------------------------------------------------------------------------------------------


class PushRecipient(Part):
    """A device by its registration token, or a topic's subscribers."""

    token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:.-]{1,480}$")] | None = None
    topic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.~%-]{1,480}$")] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.token is None) == (self.topic is None):
            raise ValueError("give either token or topic")
        return self


def _data_key(value: str) -> str:
    # https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages#Message.FIELDS.data
    if value in ("from", "message_type") or value.startswith(("google.", "gcm.")):
        raise ValueError(f"the key {value} is reserved by FCM; choose another")
    return value


_PUSH_LIMITS = {"token": 4096, "topic": 2048}
"""Bytes of keys and values: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode (Message too big)"""
_PUSH_OVERHEAD = 45
"""Bytes of FCM's own: users measured that 4,051 of 4,096 is the most that one data field may have."""
_SHOWN_PREFIX = len("gcm.notification.")
"""FCM counts it for each field of what is shown: https://stackoverflow.com/questions/31264206"""
_TAG = {"tag": "0" * 36}  # what replaces a doubled push: the notification's id


def _bytes(fields: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in fields.items())


class PushContent(Content):
    """A message to a device, of at most 4,051 bytes, or to a topic, of at most 2,003: keys and values together."""

    channel: ClassVar[str] = "push"
    Recipient: ClassVar[Any] = PushRecipient

    title: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    body: Annotated[str, StringConstraints(max_length=4096)] | None = None
    data: dict[Annotated[str, AfterValidator(_data_key)], str] = Field(default_factory=dict)
    image: Annotated[str, StringConstraints(pattern=r"^https://\S+$", max_length=2048)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.title is None and self.body is None and not self.data:
            raise ValueError("give title, body, or data")
        return self

    def check(self, recipient: Any) -> None:
        for key in self.data:
            if key == "notification" or key.startswith(("google", "gcm")):
                raise ValueError(f"the data key {key[:64]} is reserved by FCM; choose another")
        kind = "token" if recipient.token is not None else "topic"
        size, most = self._size_at_fcm(), _PUSH_LIMITS[kind] - _PUSH_OVERHEAD
        if size > most:
            raise ValueError(f"the message has {size} bytes as FCM counts; at most {most} for a {kind}")

    def _size_at_fcm(self) -> int:
        fields = {"title": self.title, "body": self.body, "image": self.image}
        shown = {name: value for name, value in fields.items() if value is not None}
        if shown:
            shown |= _TAG
        return _bytes(self.data) + _bytes(shown) + len(shown) * _SHOWN_PREFIX

    @classmethod
    def stored(cls, recipient: Any) -> str:
        return f"token:{recipient.token}" if recipient.token is not None else f"topic:{recipient.topic}"

    @classmethod
    def shown(cls, stored: str) -> Any:
        kind, _, value = stored.partition(":")
        return {kind: value}


CONTENT: dict[str, type[Content]] = {cls.channel: cls for cls in (EmailContent, SmsContent, PushContent)}

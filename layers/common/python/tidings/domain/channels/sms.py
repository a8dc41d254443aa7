"""SMS: a text message, and the number of its recipient."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import StringConstraints

from tidings.domain.addresses import PhoneNumber
from tidings.domain.channels.base import Content
from tidings.domain.channels.sms_segments import is_blank, units

MAX_SMS = 1600
"""Units (sms_segments): https://www.twilio.com/docs/api/errors/21617"""


class SmsContent(Content):
    """A text message, at most 1,600 characters as Twilio counts: an emoji is two or more, and so is each of
    `^{}[]~|\\€` if all others are in GSM-7. It is sent and billed in segments."""

    channel: ClassVar[str] = "sms"
    label: ClassVar[str] = "SMS"
    Recipient: ClassVar[Any] = PhoneNumber
    example: ClassVar[Mapping[str, Any]] = {
        "recipient": "+15005550010",  # one of Twilio's numbers for tests
        "content": {"text": "Your order 4711 is on its way."},
    }
    reconcilable: ClassVar[bool] = True

    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SMS)]

    @classmethod
    def sought(cls, text: str) -> str | None:
        """Also with spaces or punctuation. The plus sign may be missing: in a query, an unescaped one is a blank."""
        digits = re.sub(r"[\s().-]", "", text)
        return super().sought(re.sub(r"^(00|\+)?", "+", digits, count=1))

    @classmethod
    def masked(cls, stored: str) -> str:
        """As `+1***10`; a short one shows nothing."""
        return f"{stored[:2]}***{stored[-2:]}" if len(stored) > 7 else "+***"

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

"""Twilio's settings."""

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from tidings.config.settings import Settings
from tidings.providers.twilio.codes import NUMBER, SERVICE

_SENDER = re.compile(rf"{NUMBER}|[0-9]{{3,8}}|{SERVICE}")
_NAME = re.compile(r"(?=.*[A-Za-z])(?! )[A-Za-z0-9 &_+-]{1,11}(?<! )")


def _sender(value: str) -> str:
    """https://www.twilio.com/docs/glossary/what-alphanumeric-sender-id"""
    if not _SENDER.fullmatch(value) and not _NAME.fullmatch(value):
        raise ValueError(
            "is neither a number like +15005550006, nor a short code of 3 to 8 digits, nor a messaging service (MG and"
            " 32 hexadecimal digits), nor a name: at most 11 letters, digits, blanks inside, & _ + -, with a letter"
        )
    return value


class TwilioCredentials(Settings):
    """The account, and what it signs its callbacks with. Prefix TIDINGS_TWILIO_."""

    prefix: ClassVar[str] = "TIDINGS_TWILIO_"

    account_sid: Annotated[str, Field(pattern=r"^AC[0-9a-zA-Z]{1,64}$", description="the account, AC...")]
    auth_token: Annotated[str, Field(pattern=r"^[!-~]+$", repr=False, description="the account's secret")]
    previous_auth_token: Annotated[
        str | None,
        Field(
            pattern=r"^[!-~]+$",
            repr=False,
            description="the secret before the last rotation: callbacks signed with it are still accepted",
        ),
    ] = None


class TwilioAccess(TwilioCredentials):
    """The account, and where its API is."""

    url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+/?$", description="http(s)://host[:port]")] = (
        "https://api.twilio.com"
    )


class TwilioSettings(TwilioAccess):
    """TIDINGS_TWILIO_SENDER and its neighbours."""

    sender: Annotated[
        str,
        AfterValidator(_sender),
        Field(description="a number, short code or name to send from, or a messaging service, MG..."),
    ]
    timeout: Annotated[float, Field(gt=0, le=600, description="seconds to wait for an answer, connecting included")] = (
        15
    )
    connections: Annotated[int, Field(ge=1, le=1000, description="connections kept open")] = 50

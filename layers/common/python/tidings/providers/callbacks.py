"""The address at which a vendor reports later, and the mark in it that names the notification and its attempt.

The mark is sealed, so that a receipt finds its row even if the worker died before it wrote the provider's message id.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, Field

from tidings.config.settings import Settings, load
from tidings.domain.errors import ConfigurationError
from tidings.ports import SendRequest

CONNECTION = "main"
"""The name of a vendor's only account, in the address."""

MARK = "n"
"""The query parameter that has the mark."""

MIN_SECRET = 32  # characters

_SHAPE = re.compile(r"([0-9a-f-]{36})\.([0-9]{1,9})\.([0-9]{1,9})\.([A-Za-z0-9_-]{22})", re.ASCII)


def _long_enough(secrets: str) -> str:
    if any(len(one) < MIN_SECRET for one in secrets.split()):
        raise ValueError(f"each must have at least {MIN_SECRET} characters")
    return secrets


class CallbackSettings(Settings):
    """TIDINGS_RECEIPTS_URL and its secret."""

    receipts_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
            description="public base URL of the receipts function, as vendors call it, like https://receipts.example.com;"
            " not set: vendors are not asked to report",
        ),
    ] = None
    receipts_secret: Annotated[
        str | None,
        Field(
            min_length=MIN_SECRET,
            repr=False,
            description="at least 32 random characters, the same for the receipts function, the bounce listener and the"
            " channels' functions; required with TIDINGS_RECEIPTS_URL and with TIDINGS_SMTP_RETURN_PATH",
        ),
    ] = None
    receipts_previous_secrets: Annotated[
        str,
        AfterValidator(_long_enough),
        Field(
            repr=False,
            description="earlier secrets, separated by spaces: addresses, return paths and links to unsubscribe that"
            " were made with them stay valid",
        ),
    ] = ""

    @property
    def base(self) -> str | None:
        return self.receipts_url.rstrip("/") if self.receipts_url is not None else None

    @property
    def secrets(self) -> Sequence[bytes]:
        """The present one first. Raise ConfigurationError if there is none."""
        if self.receipts_secret is None:
            raise ConfigurationError("TIDINGS_RECEIPTS_SECRET: is not set, and TIDINGS_RECEIPTS_URL needs it")
        return [one.encode() for one in (self.receipts_secret, *self.receipts_previous_secrets.split())]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a callback address says about its message."""

    notification_id: str
    generation: int
    attempt: int


@dataclass(frozen=True, kw_only=True)
class CallbackAddresses:
    """Makes and reads addresses like https://receipts.example.com/v1/receipts/twilio/main?n=MARK"""

    base: str
    secrets: Sequence[bytes]  # the present one first; addresses made with the others stay valid

    def for_attempt(self, provider: str, request: SendRequest) -> str:
        named = f"{request.id}.{request.generation}.{request.attempt}"
        return self.url(provider, CONNECTION, f"{named}.{_seal(self.secrets[0], provider, named)}")

    def url(self, provider: str, connection: str, mark: str | None) -> str:
        """Exactly as we gave it to the vendor: a proxy in front of us may have changed the request's own."""
        query = f"?{MARK}={quote(mark, safe='')}" if mark is not None else ""
        return f"{self.base}/v1/receipts/{provider}/{connection}{query}"

    def read(self, provider: str, mark: str | None) -> Mark | None:
        """None: there is no mark, or its secret is none of ours."""
        found = _SHAPE.fullmatch(mark or "")
        if found is None or mark is None:
            return None
        named, _, seal = mark.rpartition(".")
        if not any(hmac.compare_digest(seal, _seal(secret, provider, named)) for secret in self.secrets):
            return None
        return Mark(notification_id=found[1], generation=int(found[2]), attempt=int(found[3]))


def _seal(secret: bytes, provider: str, named: str) -> str:
    """128 bits."""
    sealed = hmac.digest(secret, f"receipt:{provider}:{named}".encode(), "sha256")
    return base64.urlsafe_b64encode(sealed[:16]).decode().rstrip("=")


def callback_addresses() -> CallbackAddresses | None:
    """None: vendors are not asked to report. Raise ConfigurationError."""
    settings = load(CallbackSettings)
    if settings.base is None:
        return None
    return CallbackAddresses(base=settings.base, secrets=settings.secrets)


def required_callback_addresses() -> CallbackAddresses:
    """For the function that receives them. Raise ConfigurationError."""
    if (found := callback_addresses()) is None:
        raise ConfigurationError("TIDINGS_RECEIPTS_URL: is not set (the public base URL of the receipts function)")
    return found

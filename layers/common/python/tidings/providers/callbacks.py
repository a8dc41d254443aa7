"""The address at which a vendor reports later, and the mark in it that names the notification and its attempt.

The mark is sealed, so that a receipt finds its row even if the worker died before it wrote the provider's message id.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from pydantic import Field

from tidings.config.settings import Settings, load
from tidings.domain.errors import ConfigurationError
from tidings.ports import SendRequest

CONNECTION = "main"
"""The name of a vendor's only account, in the address."""

MARK = "n"
"""The query parameter that has the mark."""

_SHAPE = re.compile(r"([0-9a-f-]{36})\.([0-9]{1,9})\.([0-9]{1,9})\.([A-Za-z0-9_-]{22})", re.ASCII)


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
            min_length=32,
            repr=False,
            description="at least 32 random characters, the same for the receipts function, what takes bounces, and the"
            " channels' functions; required with TIDINGS_RECEIPTS_URL and with TIDINGS_SMTP_RETURN_PATH",
        ),
    ] = None


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
    secret: bytes

    def for_attempt(self, provider: str, request: SendRequest) -> str:
        named = f"{request.id}.{request.generation}.{request.attempt}"
        return self.url(provider, CONNECTION, f"{named}.{self._seal(provider, named)}")

    def url(self, provider: str, connection: str, mark: str | None) -> str:
        """Exactly as we gave it to the vendor: a proxy in front of us may have changed the request's own."""
        query = f"?{MARK}={quote(mark, safe='')}" if mark is not None else ""
        return f"{self.base}/v1/receipts/{provider}/{connection}{query}"

    def read(self, provider: str, mark: str | None) -> Mark | None:
        """None: there is no mark, or its secret was another one."""
        found = _SHAPE.fullmatch(mark or "")
        if found is None or mark is None:
            return None
        named, _, seal = mark.rpartition(".")
        if not hmac.compare_digest(seal, self._seal(provider, named)):
            return None
        return Mark(notification_id=found[1], generation=int(found[2]), attempt=int(found[3]))

    def _seal(self, provider: str, named: str) -> str:
        """128 bits."""
        sealed = hmac.new(self.secret, f"receipt:{provider}:{named}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(sealed[:16]).decode().rstrip("=")


def callback_addresses() -> CallbackAddresses | None:
    """None: vendors are not asked to report. Raise ConfigurationError."""
    settings = load(CallbackSettings)
    if settings.receipts_url is None:
        return None
    if settings.receipts_secret is None:
        raise ConfigurationError("TIDINGS_RECEIPTS_SECRET: is not set, and TIDINGS_RECEIPTS_URL needs it")
    return CallbackAddresses(base=settings.receipts_url.rstrip("/"), secret=settings.receipts_secret.encode())


def required_callback_addresses() -> CallbackAddresses:
    """For the function that receives them. Raise ConfigurationError."""
    if (found := callback_addresses()) is None:
        raise ConfigurationError("TIDINGS_RECEIPTS_URL: is not set (the public base URL of the receipts function)")
    return found

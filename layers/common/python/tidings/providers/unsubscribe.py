"""The link in a mail by which its recipient opts out of a category (RFC 2369 and 8058).

The link itself carries what an opt-out needs, because the retention deletes the notification long before somebody
clicks. It is encrypted, because links are written to the logs of proxies and mail filters.

The standard library has no cipher, so one is made of HMAC-SHA256, as RFC 5297 (SIV) makes it of CMAC: the tag of the
text is also the start of the key stream. The same text always gives the same link. That shows no more than that two
links are alike, and a retried mail stays the same mail.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from tidings.config.settings import load
from tidings.domain.errors import ConfigurationError
from tidings.ports import SendRequest
from tidings.providers.callbacks import CallbackSettings

MAX_TOKEN = 1000  # characters; the longest address makes about 600
PATH = "/v1/unsubscribe"
_TAG = 16  # bytes
_VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class OptOut:
    """Who opts out of what."""

    tenant: str
    channel: str
    recipient: str  # as it is stored
    category: str


@dataclass(frozen=True, kw_only=True)
class UnsubscribeLinks:
    """Makes and reads links like https://receipts.example.com/v1/unsubscribe/TOKEN"""

    base: str
    secrets: Sequence[bytes]  # the present one first; links made with the others stay valid

    def for_request(self, channel: str, request: SendRequest) -> str | None:
        """None: the notification has no category."""
        if request.category is None:
            return None
        recipient, tenant = request.recipient, request.tenant
        return self.url(OptOut(tenant=tenant, channel=channel, recipient=recipient, category=request.category))

    def url(self, what: OptOut) -> str:
        text = "\0".join((_VERSION, what.tenant, what.channel, what.category, what.recipient))
        sealed = _sealed(self.secrets[0], text.encode())
        return f"{self.base}{PATH}/{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def read(self, token: str) -> OptOut | None:
        """None: we did not make it, or it was changed or cut."""
        if len(token) > MAX_TOKEN or not token.isascii():
            return None
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            return None
        for secret in self.secrets:
            if (text := _opened(secret, sealed)) is not None:
                return _read(text)
        return None


def unsubscribe_links() -> UnsubscribeLinks | None:
    """None: mails get no link. Raise ConfigurationError."""
    settings = load(CallbackSettings)
    return UnsubscribeLinks(base=settings.base, secrets=settings.secrets) if settings.base is not None else None


def required_unsubscribe_links() -> UnsubscribeLinks:
    """For the function that they lead to. Raise ConfigurationError."""
    if (found := unsubscribe_links()) is None:
        raise ConfigurationError("TIDINGS_RECEIPTS_URL: is not set (the public base URL of the receipts function)")
    return found


def _read(text: bytes) -> OptOut | None:
    """None: a later release made it."""
    version, *parts = text.decode().split("\0")
    if version != _VERSION or len(parts) != 4:
        return None
    tenant, channel, category, recipient = parts
    return OptOut(tenant=tenant, channel=channel, recipient=recipient, category=category)


# --- encryption -------------------------------------------------------------------------------------------------------


def _sealed(secret: bytes, text: bytes) -> bytes:
    tag = _tag(secret, text)
    return tag + _streamed(secret, tag, text)


def _opened(secret: bytes, sealed: bytes) -> bytes | None:
    tag, text = sealed[:_TAG], _streamed(secret, sealed[:_TAG], sealed[_TAG:])
    return text if hmac.compare_digest(tag, _tag(secret, text)) else None


def _tag(secret: bytes, text: bytes) -> bytes:
    return _hmac(_key(secret, "tag"), text)[:_TAG]


def _streamed(secret: bytes, tag: bytes, text: bytes) -> bytes:
    """The text, encrypted or decrypted: both are the same."""
    key = _key(secret, "stream")
    stream = b"".join(_hmac(key, tag + block.to_bytes(4)) for block in range(-(-len(text) // 32)))
    return bytes(one ^ other for one, other in zip(text, stream, strict=False))


def _key(secret: bytes, purpose: str) -> bytes:
    """A key for each purpose, so that none of them says anything about the marks in callback addresses."""
    return _hmac(secret, f"unsubscribe:{purpose}".encode())


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)

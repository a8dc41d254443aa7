"""Webhook: a signed POST to a URL, as Standard Webhooks describes."""

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from tidings.domain.channels.base import Content
from tidings.domain.channels.long_text import with_long_texts

MAX_URL = 500  # characters
MAX_DATA = 256 * 1024
"""Bytes. Standard Webhooks advises to stay below 20 kB."""

_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(?:[/?][!-~]*)?")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\.?", re.IGNORECASE)
_HOST_OF = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(?=[/?]|$)")
_REFUSED_IN_URL = frozenset('#\\"<>^`{|}')


def web_address(value: str) -> str:
    """An absolute URL of http or https, in ASCII, without user, password or fragment. Raise ValueError."""
    if len(value) > MAX_URL:
        raise ValueError(f"is over {MAX_URL} characters")
    if not _URL.fullmatch(value) or _REFUSED_IN_URL & set(value):
        raise ValueError("must be a URL like https://example.com/hooks, in ASCII, without user, password or fragment")
    parts = urlsplit(value)
    host = parts.hostname or ""
    try:
        port_of(parts)
        if ":" in host:
            ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError("its host or port is not valid") from None
    if ":" not in host and not _HOST.fullmatch(host):
        raise ValueError("its host is not valid")
    return value


def port_of(parts: SplitResult) -> int:
    """Raise ValueError."""
    port = parts.port if parts.port is not None else {"https": 443, "http": 80}[parts.scheme]
    if port == 0:
        raise ValueError("port 0")
    return port


def host_of(url: str) -> str:
    """Scheme, host and port, the same for all spellings."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{(parts.hostname or '').rstrip('.')}:{port_of(parts)}"


def _recipient(value: str) -> str:
    return value if _ID.fullmatch(value) else web_address(value)


def _whole(data: dict[str, Any], info: ValidationInfo) -> Any:
    """With its long strings, which are taken out of a request's body before it is parsed."""
    return with_long_texts(data, info.context, MAX_DATA) if info.context else data


class WebhookContent(Content):
    """A signed event for a URL, or for an endpoint of `/v1/webhooks` by its id."""

    channel: ClassVar[str] = "webhook"
    label: ClassVar[str] = "Webhook"
    Recipient: ClassVar[Any] = Annotated[
        str, Field(description="an http(s) URL, or an endpoint's id"), AfterValidator(_recipient)
    ]
    example: ClassVar[Mapping[str, Any]] = {
        "recipient": "https://hooks.example/orders",  # a name that no DNS has: RFC 2606
        "content": {"type": "order.shipped", "data": {"order": "4711"}},
    }

    type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=128)]
    data: Annotated[dict[str, Any], AfterValidator(_whole)] = Field(default_factory=dict)
    timestamp: Annotated[
        str | None,
        StringConstraints(pattern=r"^[0-9T:.Z+-]{10,40}$"),
        Field(description="when the event happened, RFC 3339; if not given, when it was submitted"),
    ] = None
    id: Annotated[
        str | None,
        StringConstraints(pattern=r"^[A-Za-z0-9_:-]{1,64}$"),
        Field(description="the header `webhook-id`; if not given, the notification's id"),
    ] = None

    def check(self, recipient: Any) -> None:
        if len(json.dumps(self.data, ensure_ascii=False).encode(errors="surrogatepass")) > MAX_DATA:
            raise ValueError(f"data is over {MAX_DATA} bytes as JSON")

    @classmethod
    def masked(cls, stored: str) -> str:
        """An endpoint's id, or scheme and host: the path may hold a secret."""
        if _ID.fullmatch(stored):
            return stored
        found = _HOST_OF.match(stored)
        return f"{found[0]}/***" if found is not None else super().masked(stored)

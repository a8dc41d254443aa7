"""Webhooks: one signed POST for each attempt.

Any 2xx answer is an acceptance. 410 says that the endpoint is gone for ever. Everything else is tried again, as
Standard Webhooks asks: a receiver that refuses today may be mended tomorrow.
"""

import json
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from urllib.parse import urlsplit
from uuid import UUID

from tidings.domain.channels import WebhookContent
from tidings.domain.channels.webhook import host_of, port_of
from tidings.domain.errors import (
    AmbiguousError,
    DeliveryError,
    NotCalled,
    OnHold,
    PermanentError,
    StoreUnavailable,
    TransientError,
)
from tidings.domain.webhook import CHANNEL as WEBHOOK
from tidings.domain.webhook import EndpointState, WebhookEndpoint, is_status_webhook, signature
from tidings.ports import Acceptance, SendRequest
from tidings.ports.webhooks import EndpointLookup
from tidings.providers.retry_after import retry_after
from tidings.providers.webhooks.addresses import resolved
from tidings.providers.webhooks.http_post import Answer, post
from tidings.providers.webhooks.settings import WebhookSettings
from tidings.providers.webhooks.slots import Slots

LOOK_EVERY = 1.0
"""Seconds for which an endpoint is remembered."""

REMEMBERED = 1000
"""Endpoints."""


class WebhookProvider:
    name = "webhooks"

    def __init__(self, settings: WebhookSettings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.timeout = timedelta(seconds=settings.timeout)
        self._settings = settings
        self._secrets = settings.secrets()
        self._slots = Slots(settings.concurrency)
        self._now = now
        self._endpoints: EndpointLookup | None = None
        self._known: dict[str, tuple[float, WebhookEndpoint | None]] = {}
        self._lock = threading.Lock()

    def look_up_with(self, endpoints: EndpointLookup) -> None:
        self._endpoints = endpoints

    def send(self, outbound: SendRequest) -> Acceptance:
        """Raise DeliveryError."""
        if not isinstance(outbound.content, WebhookContent):
            raise TypeError(f"a webhook is made of WebhookContent, not of {type(outbound.content).__name__}")
        until = time.monotonic() + self._settings.timeout
        to_endpoint = is_status_webhook(WEBHOOK, outbound.recipient)
        url, secrets = self._endpoint(outbound) if to_endpoint else self._host(outbound)
        if urlsplit(url).scheme != "https" and not self._settings.allow_private and self._settings.via is None:
            raise PermanentError("not_https", "the URL is not https")
        id, body = outbound.content.id or outbound.id, body_of(outbound.content, outbound.id)
        with self._slots.taken(host_of(url)):
            answer = self._post(url, id, body, secrets, until)
        if 200 <= answer.status < 300:
            return Acceptance(provider_message_id=id, response=f"HTTP {answer.status}")
        raise _refusal(answer, to_endpoint=to_endpoint)

    def close(self) -> None:
        """No connection is kept."""

    def _post(self, url: str, id: str, body: bytes, secrets: Sequence[bytes], until: float) -> Answer:
        timestamp = int(self._now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Tidings",
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secrets, id, timestamp, body),
        }
        reached = urlsplit(self._settings.via or url)
        addresses = resolved(
            (reached.hostname or "").rstrip("."),
            port_of(reached),
            within=until - time.monotonic(),
            allow_private=self._settings.allow_private or self._settings.via is not None,
        )
        port = port_of(reached) if self._settings.via is not None else None
        return post(url, addresses, body, headers, tls=self._tls, until=until, port=port)

    def _host(self, outbound: SendRequest) -> tuple[str, Sequence[bytes]]:
        return outbound.recipient, self._secrets.of_host(outbound.tenant, host_of(outbound.recipient))

    def _endpoint(self, outbound: SendRequest) -> tuple[str, Sequence[bytes]]:
        try:
            endpoint = self._looked_up(outbound.recipient)
        except StoreUnavailable:
            raise NotCalled("database", "the endpoint could not be looked up") from None
        if endpoint is None or endpoint.tenant != outbound.tenant:
            raise PermanentError("no_endpoint", "there is no such endpoint")
        if endpoint.state is not EndpointState.ENABLED:
            raise OnHold(f"endpoint_{endpoint.state}", f"the endpoint is {endpoint.state}")
        return endpoint.url, self._secrets.of_endpoint(endpoint, self._now())

    def _looked_up(self, id: str) -> WebhookEndpoint | None:
        now = time.monotonic()
        with self._lock:
            at, endpoint = self._known.get(id, (0.0, None))
        if endpoint is not None and now - at < LOOK_EVERY:
            return endpoint
        if self._endpoints is None:
            raise StoreUnavailable("no database was given")
        endpoint = self._endpoints.endpoint(id)
        with self._lock:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[id] = now, endpoint
        return endpoint

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Reading the certificates takes some milliseconds."""
        return ssl.create_default_context()


def body_of(content: WebhookContent, id: str) -> bytes:
    """The same bytes for every attempt."""
    timestamp = content.timestamp or _submitted_at(id)
    payload = {"type": content.type, "timestamp": timestamp, "data": content.data}
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _submitted_at(id: str) -> str:
    """From the first 48 bits of a UUIDv7."""
    at = datetime.fromtimestamp((UUID(id).int >> 80) / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refusal(answer: Answer, *, to_endpoint: bool) -> DeliveryError:
    """A gateway in front of the receiver may have passed the request on before it answered 5xx."""
    code, text = str(answer.status), f"the receiver answered HTTP {answer.status}"
    if answer.status == 410:
        return OnHold(code, f"{text}: it is disabled") if to_endpoint else PermanentError(code, text)
    wait = retry_after(answer.retry_after)
    if answer.status >= 500 and answer.status != 503:
        return AmbiguousError(code, text, retry_after=wait)
    return TransientError(code, text, retry_after=wait)

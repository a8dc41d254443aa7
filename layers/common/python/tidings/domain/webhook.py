"""Webhooks: an endpoint, its secrets, and the signature of Standard Webhooks (https://www.standardwebhooks.com).

No secret is stored. An endpoint's secret is derived from the deployment's secret, the endpoint's id and a version, so
that a rotation is a new version, and a copy of the database signs nothing.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tidings.domain.notification import Status
from tidings.domain.value import value

CHANNEL = "webhook"

REPORTED = (
    Status.RETRYING,
    Status.SENT,
    Status.DELIVERED,
    Status.UNDELIVERED,
    Status.FAILED,
    Status.UNKNOWN,
    Status.CANCELED,
    Status.EXPIRED,
    Status.SUPPRESSED,
    Status.PENDING,
)
"""The changes that an endpoint can be told. Pending: set back by a replay."""

CREATED = "created"
"""The event that a notification was accepted, in the place of a status. It is written only where an endpoint of the
tenant names its type. It is in no timeline: what a timeline begins with is made from the row."""

PREFIX = "notification."
CREATED_TYPE = f"{PREFIX}{CREATED}"
TYPES = (CREATED_TYPE, *(f"{PREFIX}{status}" for status in REPORTED))
ON_REQUEST = (CREATED_TYPE, f"{PREFIX}{Status.RETRYING}", f"{PREFIX}{Status.PENDING}")
DEFAULT_TYPES = tuple(name for name in TYPES if name not in ON_REQUEST)
"""Of an endpoint that names none: what an attempt or a receipt decided, not the steps on the way."""

OVERLAP = timedelta(hours=24)
"""After a rotation, how long the old secret signs as well."""

FAILING_FOR = timedelta(days=5)
"""After how long without a success an endpoint is disabled."""

ATTEMPTS = 150
"""Of a status webhook. The retry schedule repeats its last hour, so that they last longer than FAILING_FOR: first the
endpoint is disabled, and what waits is held, not failed."""

MAX_TOLD = 10
"""Endpoints of a tenant that are told events: each event is written once for each."""

HELD = datetime.fromisoformat("9999-01-01T00:00:00+00:00")
"""The `next_attempt_at` of a notification that waits until its endpoint is enabled: no sweep and no claim takes it."""


class EndpointState(StrEnum):
    """`deleted`: kept until its notifications are canceled."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    DELETED = "deleted"


@value
class WebhookEndpoint:
    """A URL that gets status webhooks of a tenant, or notifications that the tenant sends to its own customer."""

    id: str  # UUIDv7
    tenant: str
    url: str
    events: tuple[str, ...]  # of TYPES; empty: it is told none, and only the tenant's own notifications go there
    with_recipient: bool = False  # the payload has the recipient
    state: EndpointState = EndpointState.ENABLED
    reason: str | None = None  # why it is disabled: operator, gone, failing
    created_at: datetime
    changed_at: datetime  # of its state
    version: int = 1  # of its secret
    previous_until: datetime | None = None  # until when the version before signs as well
    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None

    def versions(self, now: datetime) -> Sequence[int]:
        """Of the secrets that sign now, the newest first."""
        overlaps = self.previous_until is not None and self.previous_until > now
        return [self.version, *([self.version - 1] if overlaps else [])]


def is_status_webhook(channel: str, recipient: str) -> bool:
    """Whether the recipient is an endpoint's id. Changes of such a notification are not reported by webhooks."""
    return channel == CHANNEL and not recipient.startswith("http")


# --- secrets and signatures -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Derives the secrets. `masters`: the deployment's, the present one first, then the one before."""

    masters: tuple[str, ...]

    def of_endpoint(self, endpoint: WebhookEndpoint, now: datetime) -> Sequence[bytes]:
        """All that sign now."""
        return self._derived([f"endpoint:{endpoint.id}:{version}" for version in endpoint.versions(now)])

    def of_host(self, tenant: str, host: str) -> Sequence[bytes]:
        """For notifications to a URL: each tenant has another at each host."""
        return self._derived([f"host:{tenant}:{host}"])

    def _derived(self, names: Sequence[str]) -> Sequence[bytes]:
        return [
            hmac.new(master.encode(), f"webhook:{name}".encode(), hashlib.sha256).digest()
            for name in names
            for master in self.masters
        ]


def written(secret: bytes) -> str:
    """As it is given to the receiver."""
    return f"whsec_{base64.b64encode(secret).decode()}"


def read_secret(text: str) -> bytes:
    """Raise ValueError."""
    secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    if not secret:
        raise ValueError("the secret is empty")
    return secret


def signature(secrets: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each secret."""
    signed = f"{id}.{timestamp}.".encode() + body
    return " ".join(
        f"v1,{base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()}" for secret in secrets
    )

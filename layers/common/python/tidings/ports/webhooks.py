"""What webhooks need from the database: endpoints, replays, the feed. Implemented in `adapters.sql.webhooks`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from tidings.domain.notification import Notification
from tidings.domain.webhook import EndpointState, WebhookEndpoint


class Only(StrEnum):
    """What a replay of webhooks sends."""

    MISSING = "missing"  # events that have no webhook: of before the endpoint, or written by an older release
    FAILED = "failed"  # webhooks that ended without a success
    ALL = "all"  # every event again


@dataclass(frozen=True, kw_only=True)
class WebhookReplay:
    """Which events of the tenant are told to an endpoint again."""

    tenant: str
    endpoint: str
    since: datetime
    until: datetime
    only: Only
    dry_run: bool
    after: int = 0  # cursor: a `seq`


@dataclass(frozen=True, kw_only=True)
class WebhookReplayed:
    """What one page of a replay did, or would do."""

    written: int = 0  # webhooks that were missing
    replayed: int = 0  # webhooks that are sent again
    next: int | None = None  # `after` of the next page; None: this was the last


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A page of a tenant's events, by `seq`."""

    events: Sequence[dict[str, Any]]  # payloads, as the webhooks have them
    after: int  # of the next page
    more: bool  # the next page may have some already


class EndpointLookup(Protocol):
    """What a sender needs."""

    def endpoint(self, id: str) -> WebhookEndpoint | None:
        """Of any tenant. Raise StoreUnavailable."""


@runtime_checkable
class UsesEndpoints(Protocol):
    """Also implemented by a provider that sends to endpoints."""

    def look_up_with(self, endpoints: EndpointLookup) -> None:
        """Called once, before the first `send`."""


class Webhooks(EndpointLookup, Protocol):
    """Every method is one transaction, and raises StoreUnavailable if the database does not answer."""

    def create(self, endpoint: WebhookEndpoint) -> bool:
        """False: the tenant has MAX_TOLD endpoints that are told events, and this is one more."""

    def endpoints(self, tenant: str) -> Sequence[WebhookEndpoint]:
        """Without those deleted, oldest first."""

    def find(self, tenant: str, id: str) -> WebhookEndpoint | None:
        """None: there is none, or it is deleted."""

    def rotate(self, tenant: str, id: str) -> WebhookEndpoint | None:
        """A new secret. The one before signs as well for OVERLAP; one that still overlaps ends now."""

    def set_state(self, tenant: str, id: str, state: EndpointState, reason: str | None) -> WebhookEndpoint | None:
        """As it is afterwards. Enabling releases what is held; the sweep does it, page by page."""

    def held(self, tenant: str, ids: Sequence[str], limit: int) -> dict[str, int]:
        """How many notifications wait for each endpoint, up to `limit`."""

    def failures(self, tenant: str, id: str, limit: int) -> Sequence[Notification]:
        """The last ones whose last attempt failed, newest first."""

    def count_by_state(self) -> dict[str, int]:
        """Endpoints of all tenants, with a zero: enabled, disabled (by an operator), gone, failing."""

    def release(self, limit: int) -> int:
        """Release or cancel up to `limit` notifications of endpoints that were enabled or deleted. Return how many."""

    def replay(self, wanted: WebhookReplay, limit: int) -> WebhookReplayed:
        """One page: at most `limit` events are looked at."""

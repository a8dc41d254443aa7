"""What the intake and the operator API have in common: endpoints, and where their handlers are."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidings.api.api_keys import Scope
from tidings.api.cancel import CANCEL, Cancel
from tidings.api.docs_page import ASSET, OPENAPI, PAGE, DocsPage
from tidings.api.endpoint import Route
from tidings.api.event_feed import EVENTS, EventFeedHandler
from tidings.api.health import LIVENESS, READINESS, HealthChecks
from tidings.api.http import Handler
from tidings.api.reads import GET, LIST, Reads
from tidings.api.submit import Submit
from tidings.api.submit_endpoint import SUBMIT


@dataclass(frozen=True, kw_only=True)
class SharedHandlers:
    submit: Submit
    reads: Reads
    cancel: Cancel
    feed: EventFeedHandler
    docs: DocsPage
    health: HealthChecks


def shared(scope: Scope) -> Sequence[Route[SharedHandlers]]:
    """`scope`: what it takes to look up and to cancel."""
    return (
        SUBMIT.handled_by(lambda handlers: handlers.submit.post),
        LIST.needs(scope).handled_by(lambda handlers: handlers.reads.list),
        GET.needs(scope).handled_by(lambda handlers: handlers.reads.get),
        CANCEL.needs(scope).handled_by(lambda handlers: handlers.cancel.cancel),
        EVENTS.needs(scope).handled_by(lambda handlers: handlers.feed.events),
        OPENAPI.handled_by(lambda handlers: handlers.docs.openapi),
        PAGE.handled_by(lambda handlers: handlers.docs.page),
        ASSET.handled_by(lambda handlers: handlers.docs.asset),
        *(endpoint.handled_by(_alive) for endpoint in LIVENESS),
        *(endpoint.handled_by(_ready) for endpoint in READINESS),
    )


def _alive(handlers: SharedHandlers) -> Handler:
    return handlers.health.alive


def _ready(handlers: SharedHandlers) -> Handler:
    return handlers.health.ready

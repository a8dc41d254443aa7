"""The intake API: submit, look up, list, cancel."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from tidings.api.api_keys import Scope
from tidings.api.cancel import Cancel
from tidings.api.docs_page import INDEX, DocsPage
from tidings.api.endpoint import BoundEndpoint, Route
from tidings.api.event_feed import EventFeedHandler
from tidings.api.health import HealthChecks
from tidings.api.problems import overloaded
from tidings.api.reads import Reads
from tidings.api.shared import SharedHandlers, shared
from tidings.api.submit import Submit
from tidings.domain.notification import Notification
from tidings.observability.request_ids import request_id, serving
from tidings.pipeline.coalescer import Coalescer, Full
from tidings.pipeline.intake import Intake
from tidings.ports import Broker, Clock, InsertResult, Store

Draft = tuple[Notification, str | None]
"""A notification to be stored, and the Request-Id of its request."""


class IntakeEndpoints:
    """Requests that wait at the same time are stored and queued together."""

    def __init__(self, *, intake: Intake, store: Store, broker: Broker, now: Clock) -> None:
        threads = ThreadPoolExecutor(6, thread_name_prefix="tidings-intake")
        self.shared = SharedHandlers(
            submit=Submit(accept=self._accept, now=now),
            reads=Reads(store=store, threads=threads),
            cancel=Cancel(intake=intake, threads=threads),
            feed=EventFeedHandler(store=store, threads=threads),
            docs=DocsPage(document=document),
            health=HealthChecks(store=store, broker=broker),
        )
        self._intake = intake
        self._coalescer: Coalescer[Draft, InsertResult] = Coalescer(self._accept_together, threads, weigh=_weight)

    def all(self) -> Sequence[BoundEndpoint]:
        return [route.bind(self.shared) for route in ROUTES]

    async def _accept(self, drafts: Sequence[Notification]) -> Sequence[InsertResult]:
        id = request_id()
        try:
            return await self._coalescer.submit([(draft, id) for draft in drafts])
        except Full:
            raise overloaded() from None

    def _accept_together(self, batch: Sequence[Draft]) -> Sequence[InsertResult]:
        """Runs in a thread. Each notification is logged with its own request's id."""
        with serving({draft.id: id for draft, id in batch if id is not None}):
            return self._intake.accept([draft for draft, _ in batch])


def _weight(submitted: Draft) -> int:
    """1 for each 4 KiB of content, so that 500 in a batch are 2 MiB, and 20,000 that wait are 80 MiB."""
    draft, _ = submitted
    return 1 + len(draft.content) // 4096


ROUTES: Sequence[Route[SharedHandlers]] = (*shared(Scope.SEND), INDEX.handled_by(lambda handlers: handlers.docs.index))
ENDPOINTS = [route.endpoint for route in ROUTES]


@cache
def document() -> dict[str, Any]:
    from tidings.api import openapi  # here: no cold start pays for it

    return openapi.document(
        title="Tidings",
        description="Notifications by email, SMS and push that are not lost and not sent twice.",
        endpoints=ENDPOINTS,
    )

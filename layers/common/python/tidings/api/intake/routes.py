"""The intake's routes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tidings.api import docs_page
from tidings.api.api_keys import Scope
from tidings.api.app import RETRY_AFTER, Problem, Route
from tidings.api.cancel import Cancel
from tidings.api.health import Health
from tidings.api.intake.openapi import document
from tidings.api.lookup import Lookup
from tidings.api.submit import SubmitEndpoint
from tidings.domain.notification import Notification
from tidings.observability.request_ids import request_id, serving
from tidings.pipeline.coalescer import Coalescer, Full
from tidings.pipeline.intake import Intake
from tidings.ports import Broker, Clock, Store, Taken

Draft = tuple[Notification, str | None]
"""A notification that is to be stored, and the Request-Id that it came with."""


class IntakeEndpoints:
    """Handlers. Requests that wait together are stored and queued together."""

    def __init__(self, *, intake: Intake, store: Store, broker: Broker, now: Clock) -> None:
        self._threads = ThreadPoolExecutor(6, thread_name_prefix="tidings-intake")
        self._lookup = Lookup(store=store, threads=self._threads)
        self._cancel = Cancel(intake=intake, threads=self._threads)
        self._health = Health(store=store, broker=broker)
        self._hand_in = SubmitEndpoint(accept=self._accept, now=now)
        self._intake = intake
        self._gather: Coalescer[Draft, Taken] = Coalescer(self._accept_together, self._threads, weigh=_weight)

    def all(self) -> Sequence[Route]:
        return (
            self._hand_in.route(),
            *self._lookup.routes(Scope.SEND),
            self._cancel.route(Scope.SEND),
            docs_page.index(),
            *docs_page.routes(document),
            *self._health.routes(),
        )

    async def _accept(self, drafts: Sequence[Notification]) -> Sequence[Taken]:
        try:
            id = request_id()
            return await self._gather.submit([(draft, id) for draft in drafts])
        except Full:
            raise Problem(
                503,
                "Server overloaded",
                "Nothing was stored; try again.",
                code="overloaded",
                headers={"retry-after": RETRY_AFTER},
            ) from None

    def _accept_together(self, batch: Sequence[Draft]) -> Sequence[Taken]:
        """In a thread. Each notification's lines have the id of the request that it came with."""
        with serving({draft.id: id for draft, id in batch if id is not None}):
            return self._intake.accept([draft for draft, _ in batch])


def _weight(submitted: Draft) -> int:
    """1 up to 4 KiB of content, and 1 more for each further: 500 in a batch are 2 MiB, 20,000 that wait are 80."""
    draft, _ = submitted
    return 1 + len(draft.content) // 4096

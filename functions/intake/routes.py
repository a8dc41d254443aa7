"""The intake's routes."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tidings import explorer
from tidings.gather import Full, Gather
from tidings.handin import HandIn
from tidings.health import Health
from tidings.intake import Intake
from tidings.keys import Scope
from tidings.lookup import Lookup, encoded, id_of, not_found
from tidings.notification import CLAIMABLE, Notification, Status
from tidings.ports import Broker, Clock, Store, Taken
from tidings.view import shown
from tidings.web import RETRY_AFTER, Call, Problem, Response, Route

from .openapi import document

T = TypeVar("T")


class IntakeRoutes:
    """Handlers. Requests that wait together are stored and queued together."""

    def __init__(self, *, intake: Intake, store: Store, broker: Broker, now: Clock) -> None:
        self._intake = intake
        self._store = store
        self._threads = ThreadPoolExecutor(6, thread_name_prefix="tidings-intake")
        self._lookup = Lookup(store=store, threads=self._threads)
        self._health = Health(store=store, broker=broker)
        self._hand_in = HandIn(accept=self._accept, now=now)
        self._gather: Gather[Notification, Taken] = Gather(intake.accept, self._threads, weigh=_weight)

    def all(self) -> Sequence[Route]:
        return (
            self._hand_in.route(),
            *self._lookup.routes(Scope.SEND),
            Route(method="POST", path="/v1/notifications/{id}/cancel", scope=Scope.SEND, handle=self.cancel),
            explorer.index(),
            *explorer.routes(document),
            *self._health.routes(),
        )

    async def _accept(self, drafts: Sequence[Notification]) -> Sequence[Taken]:
        try:
            return await self._gather.submit(drafts)
        except Full:
            raise Problem(
                503,
                "Server overloaded",
                "Nothing was stored; try again.",
                code="overloaded",
                headers={"retry-after": RETRY_AFTER},
            ) from None

    # --- look up ------------------------------------------------------------------------------------------------------

    async def cancel(self, call: Call) -> Response:
        notification = await self._run(self._intake.cancel, call.tenant, id_of(call))
        if notification is None:
            raise not_found()
        if notification.status is not Status.CANCELED:
            raise Problem(
                409,
                "Too late to cancel",
                f"Its status is {notification.status}; only {' and '.join(sorted(CLAIMABLE))} can be canceled.",
            )
        return encoded(shown(notification))

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def _weight(draft: Notification) -> int:
    """1 up to 4 KiB of content, and 1 more for each further: 500 in a batch are 2 MiB, 20,000 that wait are 80."""
    return 1 + len(draft.content) // 4096

"""The operator's routes."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pydantic import ValidationError
from tidings import explorer
from tidings.handin import HandIn
from tidings.health import Health
from tidings.insight import Insight
from tidings.intake import Intake
from tidings.keys import Scope
from tidings.lookup import Lookup, encoded, id_of, not_found
from tidings.mistakes import problem_of
from tidings.notification import Notification, Status
from tidings.ports import Broker, Clock, Store, Taken
from tidings.queries import DeadQuery, query_of
from tidings.replay import Replay
from tidings.sweep import Sweep
from tidings.view import page_of, shown
from tidings.web import Call, Problem, Response, Route

from .answers import DryRunView, MeView, ReplayedView, ReplayRequest, ResolveRequest, SweptView
from .channels import ChannelRoutes
from .openapi import document
from .overview import OverviewRoutes

T = TypeVar("T")


class ReplayRoutes:
    """Handlers."""

    def __init__(
        self,
        *,
        replay: Replay,
        sweep: Sweep,
        store: Store,
        broker: Broker,
        insight: Insight,
        intake: Intake,
        now: Clock,
    ) -> None:
        self._replay = replay
        self._sweep = sweep
        self._store = store
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="tidings-replay")
        self._overview = OverviewRoutes(insight=insight, store=store, broker=broker, now=now, threads=self._threads)
        self._channels = ChannelRoutes(store=store, threads=self._threads)
        self._intake = intake
        self._hand_in = HandIn(accept=self._accept, now=now)
        self._lookup = Lookup(store=store, threads=self._threads)
        self._health = Health(store=store, broker=broker)

    def all(self) -> Sequence[Route]:
        return (
            Route(method="GET", path="/v1/dead-letters", scope=Scope.OPERATE, handle=self.find),
            Route(method="POST", path="/v1/dead-letters/replay", scope=Scope.OPERATE, handle=self.replay),
            Route(method="POST", path="/v1/notifications/{id}/resolve", scope=Scope.OPERATE, handle=self.resolve),
            Route(method="POST", path="/v1/sweep", scope=Scope.OPERATE, handle=self.sweep),
            Route(method="GET", path="/v1/me", scope=Scope.OPERATE, handle=self.me),
            *self._overview.all(),
            *self._channels.all(),
            self._hand_in.route(),
            *self._lookup.routes(Scope.OPERATE),
            *explorer.routes(document),
            *self._health.routes(),
        )

    async def find(self, call: Call) -> Response:
        query = query_of(DeadQuery, call.request.query)
        found = await self._run(self._store.find, query.selection(call.tenant), query.limit + 1)
        return encoded(page_of(found, query.limit))

    async def replay(self, call: Call) -> Response:
        try:
            wanted = ReplayRequest.model_validate_json(call.body or b"{}")
        except ValidationError as invalid:
            raise problem_of(invalid, title="The replay is not valid") from None
        selection = wanted.selection(call.tenant)
        if wanted.dry_run:
            dry = await self._run(self._replay.dry_run, selection)
            sample = [shown(item) for item in dry.sample]
            return encoded(DryRunView(count=dry.count, may_double=dry.may_double, sample=sample))
        done = await self._run(lambda: self._replay.replay(selection, limit=wanted.limit, rate=wanted.rate))
        return encoded(ReplayedView(count=len(done.ids), queued=done.queued, ids=list(done.ids)))

    async def resolve(self, call: Call) -> Response:
        try:
            wanted = ResolveRequest.model_validate_json(call.body)
        except ValidationError as invalid:
            raise problem_of(invalid, title="The decision is not valid") from None
        decide, end = (
            (self._replay.mark_sent, Status.SENT) if wanted.outcome == "sent" else (self._replay.again, Status.PENDING)
        )
        row = await self._run(decide, call.tenant, id_of(call))
        if row is None:
            raise not_found()
        if row.status is not end:
            raise Problem(409, "Nothing to decide", f"Its status is {row.status}; only unknown can be resolved.")
        return encoded(shown(row))

    async def sweep(self, _call: Call) -> Response:
        """The rows of all tenants: it finds what is stuck and changes nothing else."""
        swept = await self._run(self._sweep.run)
        return encoded(SweptView(**swept.counts))

    async def me(self, call: Call) -> Response:
        return encoded(MeView(tenant=call.tenant, scopes=sorted(call.key.scopes) if call.key is not None else []))

    async def _accept(self, drafts: Sequence[Notification]) -> Sequence[Taken]:
        """A test that an operator sends. Applications use the intake, which gathers what waits together."""
        return await self._run(self._intake.accept, drafts)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

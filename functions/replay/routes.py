"""The operator's routes."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tidings.envelope import ID
from tidings.health import Health
from tidings.keys import Scope
from tidings.notification import Status
from tidings.ports import Broker, Store
from tidings.queries import DeadFilter, DeadQuery, query_of
from tidings.replay import Replay
from tidings.submission import problem_of
from tidings.sweep import Sweep
from tidings.view import page_of, shown
from tidings.web import Call, Problem, Response, Route, as_json

T = TypeVar("T")


class ReplayRequest(DeadFilter):
    """Which dead letters to replay, and how."""

    dry_run: Annotated[bool, Field(description="count and sample, change nothing")] = False
    limit: Annotated[int, Field(ge=1, le=10_000, description="at most this many, oldest first")] = 1000
    rate: Annotated[
        int | None, Field(ge=1, le=10_000, description="notifications a second; as fast as can be if not given")
    ] = None


class ResolveRequest(BaseModel):
    """What an operator has found out, or decides, about one that is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outcome: Annotated[
        Literal["sent", "replay"], Field(description="sent: it had arrived; replay: send it again, it may double")
    ]


class ReplayRoutes:
    """Handlers."""

    def __init__(self, *, replay: Replay, sweep: Sweep, store: Store, broker: Broker) -> None:
        self._replay = replay
        self._sweep = sweep
        self._store = store
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="tidings-replay")
        self._health = Health(store=store, broker=broker, threads=self._threads)

    def all(self) -> Sequence[Route]:
        return (
            Route(method="GET", path="/v1/dead-letters", scope=Scope.OPERATE, handle=self.find),
            Route(method="POST", path="/v1/dead-letters/replay", scope=Scope.OPERATE, handle=self.replay),
            Route(method="POST", path="/v1/notifications/{id}/resolve", scope=Scope.OPERATE, handle=self.resolve),
            Route(method="POST", path="/v1/sweep", scope=Scope.OPERATE, handle=self.sweep),
            *self._health.routes(),
        )

    async def find(self, call: Call) -> Response:
        query = query_of(DeadQuery, call.request.query)
        found = await self._run(self._store.find, query.selection(call.tenant), query.limit + 1)
        body = page_of(found, query.limit).encoded()
        return Response(status=200, body=body, headers={"content-type": "application/json"})

    async def replay(self, call: Call) -> Response:
        try:
            wanted = ReplayRequest.model_validate_json(call.body or b"{}")
        except ValidationError as invalid:
            raise problem_of(invalid, title="The replay is not valid") from None
        selection = wanted.selection(call.tenant)
        if wanted.dry_run:
            dry = await self._run(self._replay.dry_run, selection)
            sample = [shown(item).model_dump(mode="json", exclude_none=True) for item in dry.sample]
            return as_json({"dry_run": True, "count": dry.count, "may_double": dry.may_double, "sample": sample})
        done = await self._run(lambda: self._replay.replay(selection, limit=wanted.limit, rate=wanted.rate))
        return as_json({"dry_run": False, "count": len(done.ids), "queued": done.queued, "ids": list(done.ids)})

    async def resolve(self, call: Call) -> Response:
        try:
            wanted = ResolveRequest.model_validate_json(call.body)
        except ValidationError as invalid:
            raise problem_of(invalid, title="The decision is not valid") from None
        decide, end = (
            (self._replay.mark_sent, Status.SENT) if wanted.outcome == "sent" else (self._replay.again, Status.PENDING)
        )
        id = call.path["id"]
        row = await self._run(decide, call.tenant, id) if ID.fullmatch(id) else None
        if row is None:
            raise Problem(404, "No such notification", "None with this id belongs to your tenant.")
        if row.status is not end:
            raise Problem(409, "Nothing to decide", f"Its status is {row.status}; only unknown can be resolved.")
        body = shown(row).encoded()
        return Response(status=200, body=body, headers={"content-type": "application/json"})

    async def sweep(self, _call: Call) -> Response:
        """The rows of all tenants: it finds what is stuck and changes nothing else."""
        swept = await self._run(self._sweep.run)
        return as_json(swept.counts)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

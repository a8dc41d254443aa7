"""The operator's routes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from tidings.api import docs_page
from tidings.api.api_keys import Scope
from tidings.api.app import AuthenticatedRequest, Problem, Response, Route
from tidings.api.cancel import Cancel
from tidings.api.health import Health
from tidings.api.lookup import Lookup, encoded, id_of, not_found, page
from tidings.api.notifications import NotificationView, shown, state
from tidings.api.operator.channels import ChannelRoutes
from tidings.api.operator.openapi import document
from tidings.api.operator.overview import OverviewRoutes
from tidings.api.operator.responses import DryRunView, MeView, ReplayedView, ReplayRequest, ResolveRequest, SweptView
from tidings.api.queries import DeadQuery, query_of
from tidings.api.submit import SubmitEndpoint
from tidings.api.validation_problems import has_passed, problem_of
from tidings.domain.notification import Notification, Status
from tidings.observability.request_ids import in_thread
from tidings.pipeline.intake import Intake
from tidings.pipeline.replay import Replay
from tidings.pipeline.sweep import Sweep
from tidings.ports import Broker, Clock, Store, Taken
from tidings.ports.insight import Insight

T = TypeVar("T")

WRONG_REPLAY, WRONG_DECISION = "The replay is not valid", "The decision is not valid"


class OperatorEndpoints:
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
        self._hand_in = SubmitEndpoint(accept=self._accept, now=now)
        self._lookup = Lookup(store=store, threads=self._threads)
        self._cancel = Cancel(intake=intake, threads=self._threads)
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
            self._cancel.route(Scope.OPERATE),
            *docs_page.routes(document),
            *self._health.routes(),
        )

    async def find(self, call: AuthenticatedRequest) -> Response:
        query = query_of(DeadQuery, call.request.query)
        return encoded(await self._run(page, self._store, query, call.tenant, query.order == "oldest"))

    async def replay(self, call: AuthenticatedRequest) -> Response:
        if not call.body.strip():
            raise Problem(422, WRONG_REPLAY, "Say which, at least with {}: that is all that failed.")
        try:
            wanted = ReplayRequest.model_validate_json(call.body)
        except ValidationError as invalid:
            raise problem_of(invalid, title=WRONG_REPLAY) from None
        await self._check_expiry(wanted.expires_at, WRONG_REPLAY)
        return encoded(await self._run(self._dry_run if wanted.dry_run else self._replayed, wanted, call.tenant))

    def _dry_run(self, wanted: ReplayRequest, tenant: str) -> DryRunView:
        dry = self._replay.dry_run(wanted.selection(tenant), limit=wanted.limit, expires_at=wanted.expires_at)
        doubtful = self._store.may_have_been_sent([item.id for item in dry.sample])
        return DryRunView(
            count=dry.count,
            may_double=dry.may_double,
            expired=dry.expired,
            unknown=dry.unknown,
            sample=[shown(item, doubtful=doubtful) for item in dry.sample],
            newest=dry.newest,
        )

    def _replayed(self, wanted: ReplayRequest, tenant: str) -> ReplayedView:
        done = self._replay.replay(
            wanted.selection(tenant), limit=wanted.limit, rate=wanted.rate, expires_at=wanted.expires_at
        )
        return ReplayedView(
            count=len(done.ids), queued=done.queued, expired=done.expired, unknown=done.unknown, ids=list(done.ids)
        )

    async def resolve(self, call: AuthenticatedRequest) -> Response:
        try:
            wanted = ResolveRequest.model_validate_json(call.body)
        except ValidationError as invalid:
            raise problem_of(invalid, title=WRONG_DECISION) from None
        await self._check_expiry(wanted.expires_at, WRONG_DECISION)
        return encoded(await self._run(self._resolved, wanted, call.tenant, id_of(call)))

    def _resolved(self, wanted: ResolveRequest, tenant: str, id: str) -> NotificationView:
        if wanted.outcome == "sent":
            found = self._replay.mark_sent(tenant, id)
        else:
            found = self._replay.again(tenant, id, expires_at=wanted.expires_at)
        if found is None:
            raise not_found()
        row = found.notification
        if not found.stands and row.status is Status.UNKNOWN:
            raise Problem(409, "It has expired", "To send it again, give it a new expires_at.")
        answer = shown(row, doubtful=self._store.may_have_been_sent([id]))
        if not found.stands:
            stands = state(row.status, answer.may_have_been_sent)
            raise Problem(409, "Nothing to decide", f"Its status is {stands}; only unknown can be resolved.")
        return answer

    async def _check_expiry(self, expires_at: datetime | None, title: str) -> None:
        if expires_at is not None and expires_at <= (now := await self._run(self._store.now)):
            raise Problem(422, title, errors=[has_passed(now)])

    async def sweep(self, _call: AuthenticatedRequest) -> Response:
        """The rows of all tenants: it finds what is stuck and changes nothing else."""
        swept = await self._run(self._sweep.run)
        counts = dict(swept.counts)
        return encoded(SweptView(lettered=counts.pop("dead_lettered"), **counts))

    async def me(self, call: AuthenticatedRequest) -> Response:
        return encoded(MeView(tenant=call.tenant, scopes=sorted(call.key.scopes) if call.key is not None else []))

    async def _accept(self, drafts: Sequence[Notification]) -> Sequence[Taken]:
        """A test that an operator sends. Applications use the intake, which gathers what waits together."""
        return await self._run(self._intake.accept, drafts)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await in_thread(self._threads, work, *args)

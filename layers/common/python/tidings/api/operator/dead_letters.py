"""Dead letters: list them, group them by their error, replay them; and decide what is unknown."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from tidings.api import examples
from tidings.api.api_keys import Scope
from tidings.api.endpoint import EXAMPLE_ID, Content, Endpoint, Tag, json_answer
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.operator.responses import (
    DeadGroupsView,
    DeadGroupView,
    DryRunView,
    ReplayedView,
    ReplayRequest,
    ResolveRequest,
)
from tidings.api.problems import Problem, no_such_notification
from tidings.api.queries import DeadFilter, DeadQuery, body_of, query_of
from tidings.api.reads import encoded, id_of, page
from tidings.api.requests import check_new_expiry
from tidings.api.responses import NotificationView, Page, state, to_response
from tidings.api.validation_problems import entry
from tidings.domain.notification import Status
from tidings.observability.request_ids import in_thread
from tidings.pipeline.replay import Replay
from tidings.ports import Store
from tidings.ports.insight import Insight

T = TypeVar("T")

INVALID_REPLAY, INVALID_DECISION = "The replay is not valid", "The decision is not valid"

_REASON = "HTTP 400: Unable to create record: 'To' number is not a valid mobile number"
_DEAD_LETTER = {
    **{name: value for name, value in examples.LISTED.items() if name != "provider_message_id"},
    "status": "failed",
    "recipient": "+15005550009",
    "last_error": {"error_class": "permanent", "code": "21614", "message": _REASON},
}
_GROUP = {
    "status": "failed",
    "channel": "sms",
    "error_class": "permanent",
    "code": "21614",
    "message": _REASON,
    "count": 12,
    "newest": examples.SENT_AT,
    "oldest": "2026-11-22T20:00:00.000000Z",
    "example": EXAMPLE_ID,
}
_DRY_RUN = {
    "dry_run": True,
    "count": 12,
    "may_double": 0,
    "expired": 1,
    "unknown": 3,
    "sample": [_DEAD_LETTER],
    "newest": EXAMPLE_ID,
}
_REPLAYED = {"dry_run": False, "count": 1, "queued": 1, "expired": 0, "unknown": 0, "ids": [EXAMPLE_ID]}


def _nothing_to_decide(state: str) -> Problem:
    return Problem(409, "Nothing to decide", f"Its status is {state}; only unknown can be resolved.")


# --- endpoints --------------------------------------------------------------------------------------------------------

DEAD_LETTERS = Endpoint(
    method="GET",
    path="/v1/dead-letters",
    scope=Scope.OPERATE,
    id="dead_letters",
    tag=Tag.DEAD_LETTERS,
    summary="Dead letters, newest or oldest first",
    query=DeadQuery,
    answers={200: json_answer("A page", Page, examples.pages(_DEAD_LETTER))},
)
DEAD_LETTER_GROUPS = Endpoint(
    method="GET",
    path="/v1/dead-letters/groups",
    scope=Scope.OPERATE,
    id="dead_letter_groups",
    tag=Tag.DEAD_LETTERS,
    summary="The newest 10,000, grouped by their error; the largest group first",
    query=DeadFilter,
    answers={
        200: json_answer(
            "The groups", DeadGroupsView, {"example": {"groups": [_GROUP], "looked_at": 12, "more": False}}
        )
    },
)
REPLAY = Endpoint(
    method="POST",
    path="/v1/dead-letters/replay",
    scope=Scope.OPERATE,
    id="replay",
    tag=Tag.DEAD_LETTERS,
    summary="Set dead letters back to pending, oldest first; twice is harmless",
    body=Content(
        schema=ReplayRequest,
        examples={
            "what a replay would do": {"dry_run": True, "code": "21614"},
            "these": {"ids": [EXAMPLE_ID]},
            "all of a channel, slowly": {"channel": "sms", "limit": 10_000, "rate": 50},
            "what may have arrived, by name": {"status": "unknown", "code": "timeout"},
            "also what has expired": {"expires_at": "2026-11-23T21:00:00Z"},
        },
    ),
    answers={
        200: json_answer(
            "What was replayed, or would be",
            {"anyOf": [DryRunView, ReplayedView]},
            {"a dry run": _DRY_RUN, "a replay": _REPLAYED},
        )
    },
    problems=(Problem(422, INVALID_REPLAY, errors=[entry(("limit",), "must be at most 10000")]),),
)
RESOLVE = Endpoint(
    method="POST",
    path="/v1/notifications/{id}/resolve",
    scope=Scope.OPERATE,
    id="resolve",
    tag=Tag.DEAD_LETTERS,
    summary="Decide what is unknown; the same decision twice is harmless",
    body=Content(
        schema=ResolveRequest,
        examples={"it had arrived": {"outcome": "sent"}, "send it again; it may double": {"outcome": "replay"}},
    ),
    answers={200: json_answer("As it is now", NotificationView, {"example": examples.LISTED})},
    problems=(
        _nothing_to_decide("sent"),
        Problem(422, INVALID_DECISION, errors=[entry(("outcome",), "must be 'sent' or 'replay'")]),
    ),
)

# --- handlers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    replays: Replay
    store: Store
    insight: Insight
    threads: Executor

    async def list(self, request: AuthenticatedRequest) -> Response:
        query = query_of(DeadQuery, request.query)
        return encoded(await self._run(page, self.store, query, request.tenant, query.order == "oldest"))

    async def groups(self, request: AuthenticatedRequest) -> Response:
        query = query_of(DeadFilter, request.query)
        found = await self._run(self.insight.dead_groups, query.selection(request.tenant))
        groups = [DeadGroupView(**asdict(group)) for group in found.groups]
        return encoded(DeadGroupsView(groups=groups, looked_at=found.looked_at, more=found.more))

    async def replay(self, request: AuthenticatedRequest) -> Response:
        if not request.body.strip():
            raise Problem(422, INVALID_REPLAY, "The body is empty. Send at least {}, which replays all that failed.")
        wanted = body_of(ReplayRequest, request.body, title=INVALID_REPLAY)
        await self._check_expiry(wanted.expires_at, INVALID_REPLAY)
        return encoded(await self._run(self._dry_run if wanted.dry_run else self._replay, wanted, request.tenant))

    def _dry_run(self, wanted: ReplayRequest, tenant: str) -> DryRunView:
        dry = self.replays.dry_run(wanted.selection(tenant), limit=wanted.limit, expires_at=wanted.expires_at)
        doubtful = self.store.may_have_been_sent([item.id for item in dry.sample])
        return DryRunView(
            count=dry.count,
            may_double=dry.may_double,
            expired=dry.expired,
            unknown=dry.unknown,
            sample=[to_response(item, doubtful=doubtful) for item in dry.sample],
            newest=dry.newest,
        )

    def _replay(self, wanted: ReplayRequest, tenant: str) -> ReplayedView:
        done = self.replays.replay(
            wanted.selection(tenant), limit=wanted.limit, rate=wanted.rate, expires_at=wanted.expires_at
        )
        return ReplayedView(
            count=len(done.ids), queued=done.queued, expired=done.expired, unknown=done.unknown, ids=list(done.ids)
        )

    async def resolve(self, request: AuthenticatedRequest) -> Response:
        wanted = body_of(ResolveRequest, request.body, title=INVALID_DECISION)
        await self._check_expiry(wanted.expires_at, INVALID_DECISION)
        return encoded(await self._run(self._resolve, wanted, request.tenant, id_of(request)))

    def _resolve(self, wanted: ResolveRequest, tenant: str, id: str) -> NotificationView:
        if wanted.outcome == "sent":
            found = self.replays.mark_sent(tenant, id)
        else:
            found = self.replays.again(tenant, id, expires_at=wanted.expires_at)
        if found is None:
            raise no_such_notification()
        row = found.notification
        if not found.stands and row.status is Status.UNKNOWN:
            raise Problem(409, "It has expired", "To send it again, give it a new expires_at.")
        answer = to_response(row, doubtful=self.store.may_have_been_sent([id]))
        if not found.stands:
            raise _nothing_to_decide(state(row.status, answer.may_have_been_sent))
        return answer

    async def _check_expiry(self, expires_at: datetime | None, title: str) -> None:
        if expires_at is not None:
            check_new_expiry(expires_at, await self._run(self.store.now), title=title)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await in_thread(self.threads, work, *args)

"""The operator API: what the intake has, dead letters, the overview, channels, the sweep."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from tidings.api.api_keys import Scope
from tidings.api.cancel import Cancel
from tidings.api.docs_page import DocsPage
from tidings.api.endpoint import EXAMPLE_ID, BoundEndpoint, Content, Endpoint, Route, Tag, json_answer
from tidings.api.event_feed import EventFeedHandler
from tidings.api.health import HealthChecks
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.operator.books import AUDIT, LEDGER, BooksEndpoints
from tidings.api.operator.channels import PAUSE, RESUME, Channels
from tidings.api.operator.dead_letters import DEAD_LETTER_GROUPS, DEAD_LETTERS, REPLAY, RESOLVE, DeadLetters
from tidings.api.operator.overview import OVERVIEW, Overview
from tidings.api.operator.proof import PROOF, Proofs
from tidings.api.operator.responses import MeView, SweptView, TallyRequest, TallyView
from tidings.api.operator.suppressions import ADD, EXPORT, IMPORT, REMOVE, Suppressions
from tidings.api.operator.suppressions import LIST as SUPPRESSIONS
from tidings.api.operator.webhooks import ROUTES as WEBHOOKS
from tidings.api.operator.webhooks import WebhookHandlers
from tidings.api.problems import Problem
from tidings.api.queries import body_of
from tidings.api.reads import Reads, encoded
from tidings.api.shared import SharedHandlers, shared
from tidings.api.submit import Submit
from tidings.api.validation_problems import entry
from tidings.domain.notification import Notification
from tidings.observability.request_ids import in_thread
from tidings.pipeline.audit import Audit
from tidings.pipeline.intake import Intake
from tidings.pipeline.ledger import Ledger
from tidings.pipeline.proof import Signer
from tidings.pipeline.replay import Replay
from tidings.pipeline.suppression import Enforcement
from tidings.pipeline.sweep import Sweep
from tidings.ports import Broker, Clock, InsertResult, Store
from tidings.ports.insight import Insight
from tidings.ports.webhooks import Webhooks
from tidings.providers.webhooks.settings import WebhookSettings

INVALID_IDS = "The ids are not valid"
MAX_TALLY_BODY = 512 * 1024  # bytes: 10,000 ids

_SWEPT = dict.fromkeys(SweptView.model_fields, 0) | {"published": 1}
_TALLY = {"total": 500, "statuses": {"sent": 480, "pending": 20}, "may_have_been_sent": 2}

ME = Endpoint(
    method="GET",
    path="/v1/me",
    scope=Scope.OPERATE,
    id="me",
    tag=Tag.OPERATION,
    summary="The tenant and the scopes of this API key",
    answers={200: json_answer("The key", MeView, {"example": {"tenant": "acme", "scopes": ["operate", "send"]}})},
)
TALLY = Endpoint(
    method="POST",
    path="/v1/notifications/tally",
    scope=Scope.OPERATE,
    id="tally",
    tag=Tag.OPERATION,
    summary="Count these by their status, for example after a replay",
    body=Content(schema=TallyRequest, examples={"example": {"ids": [EXAMPLE_ID]}}),
    answers={200: json_answer("The counts", TallyView, {"example": _TALLY})},
    problems=(Problem(422, INVALID_IDS, errors=[entry(("ids", 0), "must be a string")]),),
    max_body=MAX_TALLY_BODY,
)
SWEEP = Endpoint(
    method="POST",
    path="/v1/sweep",
    scope=Scope.OPERATE,
    id="sweep",
    tag=Tag.OPERATION,
    summary="Run a sweep now: publish what is overdue, and settle what a lost worker left",
    answers={200: json_answer("What the sweep did", SweptView, {"example": _SWEPT})},
)


class OperatorEndpoints:
    shared: SharedHandlers
    dead_letters: DeadLetters
    overview: Overview
    channels: Channels
    books: BooksEndpoints
    suppressions: Suppressions
    proofs: Proofs
    webhooks: WebhookHandlers

    def __init__(
        self,
        *,
        replay: Replay,
        sweep: Sweep,
        store: Store,
        broker: Broker,
        insight: Insight,
        ledger: Ledger,
        audit: Audit,
        intake: Intake,
        signer: Signer | None = None,
        webhooks: Webhooks,
        webhook_settings: WebhookSettings,
        now: Clock,
        enforcement: Enforcement = Enforcement.ON,
    ) -> None:
        self._threads = threads = ThreadPoolExecutor(8, thread_name_prefix="tidings-replay")
        self._sweep = sweep
        self._insight = insight
        self._intake = intake
        self.shared = SharedHandlers(
            submit=Submit(accept=self._accept, now=now),
            reads=Reads(store=store, threads=threads),
            cancel=Cancel(intake=intake, threads=threads),
            feed=EventFeedHandler(store=store, threads=threads),
            docs=DocsPage(document=document),
            health=HealthChecks(store=store, broker=broker),
        )
        self.dead_letters = DeadLetters(replays=replay, store=store, insight=insight, threads=threads)
        self.overview = Overview(insight=insight, store=store, broker=broker, now=now, threads=threads)
        self.channels = Channels(store=store, threads=threads)
        self.books = BooksEndpoints(ledger=ledger, audit=audit, now=now, threads=threads)
        self.suppressions = Suppressions(store=store, threads=threads, enforcement=enforcement)
        self.proofs = Proofs(store=store, signer=signer, now=now, threads=threads)
        self.webhooks = WebhookHandlers(
            webhooks=webhooks, settings=webhook_settings, intake=intake, now=now, threads=threads
        )

    def all(self) -> Sequence[BoundEndpoint]:
        return [*(route.bind(self) for route in OWN), *(route.bind(self.shared) for route in SHARED)]

    async def me(self, request: AuthenticatedRequest) -> Response:
        scopes = sorted(request.key.scopes) if request.key is not None else []
        return encoded(MeView(tenant=request.tenant, scopes=scopes))

    async def tally(self, request: AuthenticatedRequest) -> Response:
        wanted = body_of(TallyRequest, request.body, title=INVALID_IDS)
        found = await in_thread(self._threads, self._insight.count_by_status, request.tenant, wanted.ids)
        statuses = {str(name): count for name, count in found.statuses.items()}
        return encoded(TallyView(total=sum(statuses.values()), statuses=statuses, may_have_been_sent=found.doubtful))

    async def sweep(self, _request: AuthenticatedRequest) -> Response:
        """It moves the rows of all tenants, but only those that should have moved."""
        swept = await in_thread(self._threads, self._sweep.run)
        counts = dict(swept.counts)
        return encoded(SweptView(lettered=counts.pop("dead_lettered"), **counts))

    async def _accept(self, drafts: Sequence[Notification]) -> Sequence[InsertResult]:
        """For an operator's test notification. Applications use the intake, which stores many requests together."""
        return await in_thread(self._threads, self._intake.accept, drafts)


OWN: Sequence[Route[OperatorEndpoints]] = (
    DEAD_LETTERS.handled_by(lambda operator: operator.dead_letters.list),
    DEAD_LETTER_GROUPS.handled_by(lambda operator: operator.dead_letters.groups),
    REPLAY.handled_by(lambda operator: operator.dead_letters.replay),
    RESOLVE.handled_by(lambda operator: operator.dead_letters.resolve),
    SUPPRESSIONS.handled_by(lambda operator: operator.suppressions.list),
    ADD.handled_by(lambda operator: operator.suppressions.add),
    REMOVE.handled_by(lambda operator: operator.suppressions.remove),
    IMPORT.handled_by(lambda operator: operator.suppressions.import_),
    EXPORT.handled_by(lambda operator: operator.suppressions.export),
    *WEBHOOKS,
    ME.handled_by(lambda operator: operator.me),
    OVERVIEW.handled_by(lambda operator: operator.overview.overview),
    LEDGER.handled_by(lambda operator: operator.books.show_ledger),
    AUDIT.handled_by(lambda operator: operator.books.show_audit),
    PROOF.handled_by(lambda operator: operator.proofs.proof),
    TALLY.handled_by(lambda operator: operator.tally),
    SWEEP.handled_by(lambda operator: operator.sweep),
    PAUSE.handled_by(lambda operator: operator.channels.pause),
    RESUME.handled_by(lambda operator: operator.channels.resume),
)
SHARED = shared(Scope.OPERATE)
ENDPOINTS = [*(route.endpoint for route in OWN), *(route.endpoint for route in SHARED)]


@cache
def document() -> dict[str, Any]:
    from tidings.api import openapi  # here: no cold start pays for it

    return openapi.document(
        title="Tidings for operators",
        description="What happens and what waits; dead letters and their replay; suppressions; webhooks; the ledger and"
        " audit; the sweep; pausing a channel.",
        endpoints=ENDPOINTS,
    )

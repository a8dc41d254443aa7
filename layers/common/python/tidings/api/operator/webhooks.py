"""Webhooks: create endpoints, see how they do, rotate secrets, enable, disable, delete, test, replay."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.operator.webhook_endpoints import (
    CREATE,
    DELETE,
    DISABLE,
    ENABLE,
    GET,
    INVALID,
    LIST,
    REPLAY,
    ROTATE,
    SECRET,
    TEST,
    TEST_IT,
    not_set_up,
    too_many,
)
from tidings.api.operator.webhook_models import (
    FailureView,
    NewWebhookView,
    SecretRequest,
    SecretView,
    TestedView,
    WebhookReplayedView,
    WebhookReplayRequest,
    WebhookRequest,
    WebhooksView,
    WebhookView,
)
from tidings.api.problems import Problem, no_such_webhook
from tidings.api.queries import body_of
from tidings.api.reads import encoded
from tidings.api.validation_problems import entry
from tidings.domain.channels.webhook import host_of
from tidings.domain.errors import ConfigurationError
from tidings.domain.notification import Notification, new_id
from tidings.domain.webhook import CHANNEL, EndpointState, Secrets, WebhookEndpoint, written
from tidings.messaging.envelope import ID
from tidings.observability.request_ids import in_thread
from tidings.pipeline.intake import Intake
from tidings.ports import Clock
from tidings.ports.webhooks import WebhookReplay, WebhookReplayed, Webhooks
from tidings.providers.webhooks.settings import WebhookSettings

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_HELD = 1000  # counted
FAILURES = 10  # shown
LOOKED_AT = 500  # events in one transaction of a replay
REPLAYS_FOR = 8.0  # seconds of one request; it then answers with a cursor


@dataclass(frozen=True, kw_only=True)
class WebhookHandlers:
    webhooks: Webhooks
    settings: WebhookSettings
    intake: Intake
    now: Clock
    threads: Executor

    async def create(self, request: AuthenticatedRequest) -> Response:
        wanted = body_of(WebhookRequest, request.body, title=INVALID)
        secrets = self._secrets()
        if not self.settings.allow_private and not wanted.url.startswith("https:"):
            detail = "must be https; TIDINGS_WEBHOOKS_ALLOW_PRIVATE allows http"
            raise Problem(422, INVALID, errors=[entry(("url",), detail)])
        at = self.now()
        made = WebhookEndpoint(
            id=new_id(at),
            tenant=request.tenant,
            url=wanted.url,
            events=wanted.events,
            with_recipient=wanted.recipient,
            created_at=at,
            changed_at=at,
        )
        if not await self._run(self.webhooks.create, made):
            raise too_many()
        self._log(request, made.id, "created")
        return encoded(NewWebhookView(**_fields(made), secret=written(secrets.of_endpoint(made, at)[0])))

    async def list(self, request: AuthenticatedRequest) -> Response:
        return await self._run(self._listed, request.tenant)

    async def get(self, request: AuthenticatedRequest) -> Response:
        return await self._run(self._got, request.tenant, _id(request))

    async def rotate(self, request: AuthenticatedRequest) -> Response:
        secrets = self._secrets()
        found = _known(await self._run(self.webhooks.rotate, request.tenant, _id(request)))
        self._log(request, found.id, "rotated")
        return encoded(NewWebhookView(**_fields(found), secret=written(secrets.of_endpoint(found, self.now())[0])))

    async def enable(self, request: AuthenticatedRequest) -> Response:
        return await self._changed(request, EndpointState.ENABLED, None)

    async def disable(self, request: AuthenticatedRequest) -> Response:
        return await self._changed(request, EndpointState.DISABLED, "operator")

    async def delete(self, request: AuthenticatedRequest) -> Response:
        found = _known(await self._run(self.webhooks.find, request.tenant, _id(request)))
        await self._run(self.webhooks.set_state, request.tenant, found.id, EndpointState.DELETED, "operator")
        self._log(request, found.id, EndpointState.DELETED)
        return encoded(WebhookView(**_fields(found)))

    async def test(self, request: AuthenticatedRequest) -> Response:
        found = _known(await self._run(self.webhooks.find, request.tenant, _id(request)))
        at = self.now()
        event = Notification(
            id=new_id(at),
            tenant=request.tenant,
            channel=CHANNEL,
            recipient=found.id,
            content=f'{{"type":"{TEST}","data":{{"webhook":"{found.id}"}}}}',
            created_at=at,
            updated_at=at,
        )
        taken = (await self._run(self.intake.accept, [event]))[0]
        if isinstance(taken, Exception):
            raise taken
        return encoded(TestedView(id=event.id))

    async def replay(self, request: AuthenticatedRequest) -> Response:
        wanted = body_of(WebhookReplayRequest, request.body, title=INVALID)
        found = _known(await self._run(self.webhooks.find, request.tenant, _id(request)))
        replay = WebhookReplay(
            tenant=request.tenant,
            endpoint=found.id,
            since=wanted.since,
            until=wanted.until or self.now() + timedelta(minutes=1),
            only=wanted.only,
            dry_run=wanted.dry_run,
            after=wanted.cursor,
        )
        done = await self._run(self._replayed, replay)
        if not wanted.dry_run:
            self._log(request, found.id, "replayed")
        return encoded(
            WebhookReplayedView(
                written=done.written, replayed=done.replayed, dry_run=wanted.dry_run, next_cursor=done.next
            )
        )

    async def secret(self, request: AuthenticatedRequest) -> Response:
        wanted = body_of(SecretRequest, request.body, title=INVALID)
        return encoded(SecretView(secret=written(self._secrets().of_host(request.tenant, host_of(wanted.url))[0])))

    def _replayed(self, wanted: WebhookReplay) -> WebhookReplayed:
        deadline = time.monotonic() + REPLAYS_FOR
        total = WebhookReplayed(next=wanted.after)
        while total.next is not None:
            page = self.webhooks.replay(replace(wanted, after=total.next), LOOKED_AT)
            total = WebhookReplayed(
                written=total.written + page.written, replayed=total.replayed + page.replayed, next=page.next
            )
            if time.monotonic() >= deadline:
                break
        return total

    def _listed(self, tenant: str) -> Response:
        found = self.webhooks.endpoints(tenant)
        held = self.webhooks.held(tenant, [one.id for one in found], MAX_HELD)
        return encoded(WebhooksView(webhooks=[WebhookView(**_fields(one), held=held.get(one.id, 0)) for one in found]))

    def _got(self, tenant: str, id: str) -> Response:
        return encoded(self._view(_known(self.webhooks.find(tenant, id)), self.webhooks.failures(tenant, id, FAILURES)))

    def _view(self, one: WebhookEndpoint, failures: Sequence[Notification] | None = None) -> WebhookView:
        held = self.webhooks.held(one.tenant, [one.id], MAX_HELD).get(one.id, 0)
        shown = None if failures is None else [*map(_failure, failures)]
        return WebhookView(**_fields(one), held=held, failures=shown)

    async def _changed(self, request: AuthenticatedRequest, state: EndpointState, reason: str | None) -> Response:
        found = _known(await self._run(self.webhooks.set_state, request.tenant, _id(request), state, reason))
        self._log(request, found.id, state)
        return encoded(await self._run(self._view, found))

    def _secrets(self) -> Secrets:
        try:
            return self.settings.secrets()
        except ConfigurationError as error:
            raise not_set_up(str(error)) from None

    def _log(self, request: AuthenticatedRequest, id: str, change: str) -> None:
        by = request.key.fingerprint if request.key is not None else ""
        log.warning("webhook_changed", extra={"tenant": request.tenant, "webhook": id, "change": str(change), "by": by})

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await in_thread(self.threads, work, *args)


def _id(request: AuthenticatedRequest) -> str:
    id = request.path["webhook"].lower()
    if not ID.fullmatch(id):
        raise no_such_webhook()
    return id


def _known(found: WebhookEndpoint | None) -> WebhookEndpoint:
    if found is None:
        raise no_such_webhook()
    return found


def _fields(one: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": one.id,
        "url": one.url,
        "events": [*one.events],
        "recipient": one.with_recipient,
        "state": str(one.state),
        "reason": one.reason,
        "created_at": one.created_at,
        "changed_at": one.changed_at,
        "secret_version": one.version,
        "previous_secret_until": one.previous_until,
        "failing_since": one.failing_since,
        "last_success_at": one.last_success_at,
        "last_failure_at": one.last_failure_at,
    }


def _failure(row: Notification) -> FailureView:
    return FailureView(
        id=row.id,
        status=row.status,
        at=row.updated_at,
        attempts=row.attempt,
        code=row.error_code or "",
        message=row.error_message or "",
    )


ROUTES: Sequence[Any] = (
    CREATE.handled_by(lambda operator: operator.webhooks.create),
    LIST.handled_by(lambda operator: operator.webhooks.list),
    SECRET.handled_by(lambda operator: operator.webhooks.secret),
    GET.handled_by(lambda operator: operator.webhooks.get),
    ROTATE.handled_by(lambda operator: operator.webhooks.rotate),
    ENABLE.handled_by(lambda operator: operator.webhooks.enable),
    DISABLE.handled_by(lambda operator: operator.webhooks.disable),
    TEST_IT.handled_by(lambda operator: operator.webhooks.test),
    REPLAY.handled_by(lambda operator: operator.webhooks.replay),
    DELETE.handled_by(lambda operator: operator.webhooks.delete),
)
"""Of the operator API."""

"""The endpoints of webhooks, as the API's document has them."""

from typing import Any

from tidings.api.api_keys import Scope
from tidings.api.endpoint import EXAMPLE_ID, Content, Endpoint, Tag, json_answer
from tidings.api.examples import CREATED
from tidings.api.operator.webhook_models import (
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
from tidings.api.problems import Problem
from tidings.api.validation_problems import entry
from tidings.domain.webhook import DEFAULT_TYPES, MAX_TOLD

INVALID = "The webhook is not valid"
TEST = "tidings.test"

_URL = "https://orders.example/hooks/tidings"
_VIEW = {
    "id": EXAMPLE_ID,
    "url": _URL,
    "events": [*DEFAULT_TYPES],
    "recipient": False,
    "state": "enabled",
    "created_at": CREATED,
    "changed_at": CREATED,
    "secret_version": 1,
    "held": 0,
}
_SECRET = "whsec_" + "ZXhhbXBsZSBleGFtcGxlIGV4YW1wbGUgZXhhbXBsZSE="
_NEW = {**_VIEW, "secret": _SECRET}
_DISABLED = {**_VIEW, "state": "disabled", "reason": "gone", "last_failure_at": CREATED, "held": 12}
_FAILURE = {
    "id": EXAMPLE_ID,
    "status": "retrying",
    "at": CREATED,
    "attempts": 3,
    "code": "503",
    "message": "the receiver answered HTTP 503",
}


def too_many() -> Problem:
    return Problem(409, "Too many webhooks", f"At most {MAX_TOLD} endpoints of a tenant can get events.")


def not_set_up(detail: str) -> Problem:
    return Problem(409, "Webhooks are not set up", detail)


_INVALID = Problem(422, INVALID, errors=[entry(("url",), "is required")])
_MISSING_SETTING = not_set_up("TIDINGS_WEBHOOKS_SECRET: is not set (at least 32 random characters)")


def _endpoint(method: str, path: str, id: str, summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        method=method,
        path=f"/v1/webhooks{path}",
        scope=Scope.OPERATE,
        id=id,
        tag=Tag.WEBHOOKS,
        summary=summary,
        **more,
    )


# --- endpoints --------------------------------------------------------------------------------------------------------

CREATE = _endpoint(
    "POST",
    "",
    "create_webhook",
    "Create an endpoint; its secret is in this answer and in no other",
    body=Content(
        schema=WebhookRequest,
        examples={"all": {"url": _URL}, "some": {"url": _URL, "events": ["notification.delivered"], "recipient": True}},
    ),
    answers={200: json_answer("Created", NewWebhookView, {"example": _NEW})},
    problems=(_INVALID, too_many()),
)
LIST = _endpoint(
    "GET",
    "",
    "webhooks",
    "List the endpoints",
    answers={200: json_answer("All of them", WebhooksView, {"example": {"webhooks": [_VIEW, _DISABLED]}})},
)
GET = _endpoint(
    "GET",
    "/{webhook}",
    "webhook",
    "An endpoint, with its last failures",
    answers={200: json_answer("As it is now", WebhookView, {"example": {**_DISABLED, "failures": [_FAILURE]}})},
)
ROTATE = _endpoint(
    "POST",
    "/{webhook}/rotate",
    "rotate_webhook",
    "A new secret; for 24 hours webhooks are signed with the old one as well",
    answers={
        200: json_answer(
            "The new secret",
            NewWebhookView,
            {"example": {**_NEW, "secret_version": 2, "previous_secret_until": CREATED}},
        )
    },
    problems=(_MISSING_SETTING,),
)
ENABLE = _endpoint(
    "POST",
    "/{webhook}/enable",
    "enable_webhook",
    "Send to it again, and release what was held; twice is harmless",
    answers={200: json_answer("As it is now", WebhookView, {"example": _VIEW})},
)
DISABLE = _endpoint(
    "POST",
    "/{webhook}/disable",
    "disable_webhook",
    "Send nothing to it: what comes is held until it is enabled. Twice is harmless",
    answers={200: json_answer("As it is now", WebhookView, {"example": _DISABLED})},
)
DELETE = _endpoint(
    "POST",
    "/{webhook}/delete",
    "delete_webhook",
    "Remove it; what waits for it is canceled",
    answers={200: json_answer("As it was", WebhookView, {"example": _DISABLED})},
)
TEST_IT = _endpoint(
    "POST",
    "/{webhook}/test",
    "test_webhook",
    f"Send it an event of the type `{TEST}`",
    answers={200: json_answer("Queued", TestedView, {"example": {"id": EXAMPLE_ID}})},
)
REPLAY = _endpoint(
    "POST",
    "/{webhook}/replay",
    "replay_webhook",
    "Send it events again, each with its `webhook-id`, so that a receiver can drop duplicates",
    body=Content(
        schema=WebhookReplayRequest,
        examples={
            "those without a webhook": {"since": "2026-11-22T00:00:00Z"},
            "count those that failed": {"since": "2026-11-22T00:00:00Z", "only": "failed", "dry_run": True},
        },
    ),
    answers={
        200: json_answer(
            "What it did",
            WebhookReplayedView,
            {
                "all": {"written": 3, "replayed": 0, "dry_run": False},
                "with more to come": {"written": 4100, "replayed": 17, "dry_run": False, "next_cursor": 4711},
            },
        )
    },
    problems=(Problem(422, INVALID, errors=[entry(("since",), "is required")]),),
)
SECRET = _endpoint(
    "POST",
    "/secret",
    "webhook_secret",
    "The secret that signs your notifications to URLs of this host; give it to the receiver",
    body=Content(schema=SecretRequest, examples={"example": {"url": _URL}}),
    answers={200: json_answer("The secret", SecretView, {"example": {"secret": _SECRET}})},
    problems=(_INVALID, _MISSING_SETTING),
)

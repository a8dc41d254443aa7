"""The operations that more than one function has, declared: hand in, list, look up; and their examples."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from tidings.api.api_keys import Scope
from tidings.api.app import Problem, without
from tidings.api.notifications import AcceptedView, NotificationView, Page
from tidings.api.openapi import BY_ID, PROBLEM, Answer, Content, Operation, ProblemDocument
from tidings.api.queries import ListQuery
from tidings.api.requests import MAX_ITEMS, SUBMISSIONS
from tidings.domain.channels import CHANNELS

TAG = "notifications"
TAGS = {TAG: "Accept notifications, look them up with their timeline, list and cancel them."}


class ItemError(BaseModel):
    """An item of an array that was not accepted."""

    error: ProblemDocument


class Results(BaseModel):
    """One result an item, in order."""

    results: list[AcceptedView | ItemError]


# --- examples ---------------------------------------------------------------------------------------------------------

ID = "01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e"
CREATED = "2026-11-22T21:03:22.595661Z"
SUBMITTED: Mapping[str, Mapping[str, Any]] = {
    channel: {"channel": channel, **content.example} for channel, content in CHANNELS.items()
}
SMS = SUBMITTED["sms"]
ACCEPTED = {"id": ID, "status": "pending", "channel": "sms", "created_at": CREATED}
LISTED = {
    "id": ID,
    "status": "sent",
    "channel": "sms",
    "recipient": "+15005550010",
    "priority": "normal",
    "on_ambiguous": "resend",
    "max_attempts": 10,
    "created_at": CREATED,
    "updated_at": "2026-11-22T21:03:22.639273Z",
    "generation": 1,
    "attempts": 1,
    "provider": "twilio",
    "provider_message_id": "SMb52550a612507487ab2a82f03286e074",
}
SENT = {
    **LISTED,
    "content": SMS["content"],
    "events": [
        {"status": "pending", "at": CREATED, "generation": 1, "attempt": 0},
        {"status": "sending", "at": "2026-11-22T21:03:22.633203Z", "generation": 1, "attempt": 1},
        {
            "status": "sent",
            "at": "2026-11-22T21:03:22.639273Z",
            "generation": 1,
            "attempt": 1,
            "provider": "twilio",
            "provider_message_id": "SMb52550a612507487ab2a82f03286e074",
        },
    ],
}
CANCELED = {
    **{name: value for name, value in LISTED.items() if not name.startswith("provider")},
    "status": "canceled",
    "attempts": 0,
    "content": SMS["content"],
}
INVALID = Problem(
    422,
    "The notification is not valid",
    errors=[{"pointer": "#/content/text", "field": "content.text", "detail": "is required"}],
)
REUSED = Problem(
    422,
    "This idempotency key was used for another notification",
    "Use a new key, or send the same payload.",
    code="idempotency_key_reused",
)
FULL = Problem(503, "Server overloaded", "Nothing was stored; try again.", code="overloaded")


# --- operations -------------------------------------------------------------------------------------------------------


def send() -> Operation:
    one = {
        "oneOf": list(SUBMISSIONS.values()),
        "discriminator": {"propertyName": "channel", "mapping": dict(SUBMISSIONS)},
    }
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_ITEMS}
    keyed = [
        {**SMS, "idempotency_key": "order-4711-shipped"},
        {**SUBMITTED["email"], "metadata": {"order": "4712"}, "idempotency_key": "order-4712-shipped"},
    ]
    item = {"error": {**INVALID.document, "errors": [{**INVALID.document["errors"][0], "index": 1}]}}
    return Operation(
        method="POST",
        path="/v1/notifications",
        id="send",
        tag=TAG,
        summary=f"Hand in one notification, or an array of up to {MAX_ITEMS}",
        scope=Scope.SEND,
        parameters=[
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Same key and payload: the first answer again. Not for arrays.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        ],
        body=Content(
            schema={"anyOf": [one, many]},
            examples={**SUBMITTED, "an array": keyed},
        ),
        answers={
            202: Answer(
                description="The rows are committed",
                content=[
                    Content(
                        schema={"anyOf": [AcceptedView, Results]},
                        examples={"one": ACCEPTED, "an array": {"results": [ACCEPTED, item]}},
                    )
                ],
                headers={
                    "Location": "Where to look it up (one notification only)",
                    "Idempotency-Replayed": "`true` if this answer was given before",
                },
            ),
            422: Answer(
                description="Nothing was accepted: one problem; or if every item of an array is bad, each item's",
                content=[
                    Content(schema=Results, examples={"every item of an array is bad": {"results": [item]}}),
                    Content(
                        schema=ProblemDocument,
                        examples={problem.document["title"]: problem.document for problem in (INVALID, REUSED)},
                        kind=PROBLEM,
                    ),
                ],
            ),
        },
        problems=(400, 401, without(Scope.SEND), 405, 413, 500, 503, FULL),
    )


def listed(scope: Scope) -> Operation:
    return Operation(
        method="GET",
        path="/v1/notifications",
        id="list",
        tag=TAG,
        summary="List notifications, newest first",
        scope=scope,
        query=ListQuery,
        answers={
            200: Answer(
                description="A page",
                content=[
                    Content(
                        schema=Page,
                        examples={
                            "with more to come": {"notifications": [LISTED], "next_cursor": ID},
                            "the last": {"notifications": []},
                        },
                    )
                ],
            )
        },
        problems=(401, without(scope), 405, 422, 500, 503),
    )


def looked_up(scope: Scope) -> Operation:
    return of_one(
        method="GET",
        path="/v1/notifications/{id}",
        id="get",
        summary="Look one up, with its timeline",
        answer=("As it stands", SENT),
        scope=scope,
    )


def canceled(scope: Scope) -> Operation:
    late = Problem(409, "Too late to cancel", "Its status is sent; only pending and retrying can be canceled.")
    return of_one(
        method="POST",
        path="/v1/notifications/{id}/cancel",
        id="cancel",
        summary="Cancel it, unless it is claimed or over; canceling twice is harmless",
        answer=("Canceled", CANCELED),
        scope=scope,
        problems=(late, 413),
    )


def of_one(
    *,
    method: str,
    path: str,
    id: str,
    summary: str,
    answer: tuple[str, dict[str, Any]],
    scope: Scope,
    problems: Sequence[int | Problem] = (),
) -> Operation:
    """About the notification of an id; `answer`: what it means, and an example."""
    description, example = answer
    content = Content(schema=NotificationView, examples={"example": example})
    return Operation(
        method=method,
        path=path,
        id=id,
        tag=TAG,
        summary=summary,
        scope=scope,
        parameters=[BY_ID],
        answers={200: Answer(description=description, content=[content])},
        problems=(401, without(scope), 404, 405, 500, 503, *problems),
    )

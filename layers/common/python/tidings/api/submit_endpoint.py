"""`POST /v1/notifications`, declared: one notification, or an array of them."""

from pydantic import BaseModel

from tidings.api.api_keys import Scope
from tidings.api.body_limits import MAX_BODY
from tidings.api.endpoint import EXAMPLE_ID, Answer, Content, Endpoint, Tag
from tidings.api.examples import CREATED, SMS, SUBMITTED
from tidings.api.problems import Problem, ProblemDocument, overloaded
from tidings.api.reader import MAX_ITEMS
from tidings.api.requests import SUBMISSIONS
from tidings.api.responses import AcceptedView
from tidings.api.validation_problems import NOT_VALID, entry


class ItemError(BaseModel):
    """An item of an array that was not accepted."""

    error: ProblemDocument


class Results(BaseModel):
    """The result of each item, in the same order."""

    results: list[AcceptedView | ItemError]


def key_reused() -> Problem:
    return Problem(
        422,
        "This idempotency key was used for another notification",
        "Use a new key, or send the same payload.",
        code="idempotency_key_reused",
    )


def _required_text(index: int | None = None) -> Problem:
    return Problem(422, NOT_VALID, errors=[entry(("content", "text"), "is required", index)])


_ONE = {
    "oneOf": list(SUBMISSIONS.values()),
    "discriminator": {"propertyName": "channel", "mapping": dict(SUBMISSIONS)},
}
_SEVERAL = {"type": "array", "items": _ONE, "minItems": 1, "maxItems": MAX_ITEMS}
_ARRAY = [
    {**SMS, "idempotency_key": "order-4711-shipped"},
    {**SUBMITTED["email"], "metadata": {"order": "4712"}, "idempotency_key": "order-4712-shipped"},
]
_ACCEPTED = {"id": EXAMPLE_ID, "status": "pending", "channel": "sms", "created_at": CREATED}
_REFUSED = {"error": _required_text(1).document}

SUBMIT = Endpoint(
    method="POST",
    path="/v1/notifications",
    scope=Scope.SEND,
    id="send",
    tag=Tag.NOTIFICATIONS,
    summary=f"Submit one notification, or an array of up to {MAX_ITEMS}",
    headers={
        "Idempotency-Key": {
            "description": "The same key and payload get the first answer again. Not for arrays.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
    },
    body=Content(schema={"anyOf": [_ONE, _SEVERAL]}, examples={**SUBMITTED, "an array": _ARRAY}),
    answers={
        202: Answer(
            description="The rows are committed",
            content=[
                Content(
                    schema={"anyOf": [AcceptedView, Results]},
                    examples={"one": _ACCEPTED, "an array": {"results": [_ACCEPTED, _REFUSED]}},
                )
            ],
            headers={
                "Location": "Where to look it up (one notification only)",
                "Idempotency-Replayed": "`true` if this answer was given before",
            },
        ),
        422: Answer(
            description="Nothing was accepted: one problem, or the problem of each item of an array",
            content=[Content(schema=Results, examples={"every item of an array is bad": {"results": [_REFUSED]}})],
        ),
    },
    problems=(_required_text(), key_reused(), overloaded()),
    max_body=MAX_BODY,
    is_traced=True,
)

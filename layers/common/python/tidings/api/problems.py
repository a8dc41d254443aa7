"""Error answers: RFC 9457 problem+json."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from tidings.api.api_keys import Scope
from tidings.api.http import PROBLEM, RETRY_AFTER, Response
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import BrokerUnavailable, StoreUnavailable

CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "body_too_large",
    415: "unsupported_encoding",
    422: "invalid_request",
    500: "internal_error",
    503: "unavailable",
}
"""A problem's `code`, unless the problem has a more precise one."""


class Problem(Exception):
    """An error answer. `code` is for programs and never changes; `errors` has one entry for each invalid field."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str | None = None,
        *,
        code: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.code = code or CODES[status]
        self.headers = dict(headers or {})
        self.document: dict[str, Any] = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "code": self.code,
        }
        if detail is not None:
            self.document["detail"] = detail
        if errors:
            self.document["errors"] = list(errors)

    def response(self) -> Response:
        headers = {"content-type": PROBLEM, **self.headers}
        return Response(status=self.status, body=json.dumps(self.document).encode(), headers=headers)


class FieldError(BaseModel):
    """What is wrong with one field."""

    pointer: str
    field: str
    detail: str
    index: int | None = None


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str = Field(
        description="for programs: it never changes, while the words may", examples=sorted(CODES.values())
    )
    detail: str | None = None
    errors: list[FieldError] | None = None


# --- problems of many endpoints ---------------------------------------------------------------------------------------


def missing_key() -> Problem:
    return Problem(
        401,
        "An API key is required",
        "Send the header `Authorization: Bearer KEY`.",
        code="missing_key",
        headers={"www-authenticate": "Bearer"},
    )


def invalid_key() -> Problem:
    headers = {"www-authenticate": 'Bearer error="invalid_token"'}
    return Problem(401, "The API key is not valid", code="invalid_key", headers=headers)


def missing_scope(scope: Scope) -> Problem:
    return Problem(403, f"The API key lacks the scope `{scope}`", code="missing_scope")


def no_such_webhook() -> Problem:
    return Problem(404, "No such webhook", "Your tenant has no endpoint with this id.")


def no_such_notification() -> Problem:
    return Problem(404, "No such notification", "Your tenant has no notification with this id.")


def no_such_channel() -> Problem:
    return Problem(404, "No such channel", f"The channels are {', '.join(CHANNELS)}.")


def overloaded() -> Problem:
    headers = {"retry-after": RETRY_AFTER}
    return Problem(503, "Server overloaded", "Nothing was stored. Try again.", code="overloaded", headers=headers)


def unavailable(error: StoreUnavailable | BrokerUnavailable) -> Problem:
    part = "database" if isinstance(error, StoreUnavailable) else "broker"
    return Problem(
        503,
        f"The {part} does not answer",
        "It may or may not have taken effect. Repeat it; with the same Idempotency-Key, no notification is sent twice.",
        code=f"{part}_unavailable",
        headers={"retry-after": RETRY_AFTER},
    )


def internal_error() -> Problem:
    detail = "The error is logged. Sending the request again is safe with an Idempotency-Key."
    return Problem(500, "Internal server error", detail)

"""What is answered: a response, and a problem, which is an answer that is an error."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidings.api.api_keys import Scope
from tidings.domain.errors import BrokerUnavailable, StoreUnavailable

RETRY_AFTER = "2"  # seconds; what a caller is told when a part of ours does not answer

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
"""A problem's `code` where nothing says more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Problem(Exception):
    """An answer that is an error: RFC 9457 problem+json. `code` is for programs, and stays what it is; `errors` has one
    entry a field."""

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
        headers = {"content-type": "application/problem+json", **self.headers}
        return Response(status=self.status, body=json.dumps(self.document).encode(), headers=headers)


def as_json(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status=status, body=body, headers={"content-type": "application/json", **(headers or {})})


def without(scope: Scope) -> Problem:
    return Problem(403, f"The API key lacks the scope {scope}", code="missing_scope")


def unavailable(error: StoreUnavailable | BrokerUnavailable) -> Problem:
    part = "database" if isinstance(error, StoreUnavailable) else "broker"
    return Problem(
        503,
        f"The {part} does not answer",
        "It may or may not have taken effect. Try again with the same Idempotency-Key; it cannot double then.",
        code=f"{part}_unavailable",
        headers={"retry-after": RETRY_AFTER},
    )


def internal_error() -> Problem:
    return Problem(500, "Internal server error", "It is logged. Trying again is safe with an Idempotency-Key.")

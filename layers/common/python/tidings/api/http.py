"""Requests and responses as values. `runtime` makes them from ASGI messages and from AWS's events."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field

from tidings.api.api_keys import ApiKey
from tidings.domain.value import value

JSON, PROBLEM = "application/json", "application/problem+json"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # the format that Prometheus reads
RETRY_AFTER = "2"  # seconds; sent with each 503


@value
class Request:
    """Header names are in lower case. A query parameter that is given several times has a list."""

    method: str
    path: str
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@value
class AuthenticatedRequest:
    """A request whose endpoint is found and whose key is valid, as a handler gets it.

    Open endpoints have no key, and an empty body unless they declare `open_body`: we read no body without a key.
    """

    query: Mapping[str, str | Sequence[str]]
    headers: Mapping[str, str]
    path: Mapping[str, str]  # the path's parameters
    key: ApiKey | None
    body: bytes | bytearray

    @property
    def tenant(self) -> str:
        assert self.key is not None, "only open endpoints have no key"  # noqa: S101
        return self.key.tenant


@value
class Response:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[AuthenticatedRequest], Awaitable[Response]]
"""It may raise Problem, StoreUnavailable and BrokerUnavailable."""


def as_json(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status=status, body=body, headers={"content-type": JSON, **(headers or {})})

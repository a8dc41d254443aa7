"""HTTP without a framework: requests and answers as values, routes, problems, and who may call.

The same routes answer under functions-framework and behind an API gateway on Lambda; `runtime` translates.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from tidings.errors import BrokerUnavailable, StoreUnavailable
from tidings.keys import ApiKey, Keyring, Scope

log = logging.getLogger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # as Prometheus reads them

RETRY_AFTER = "2"  # seconds; what a caller is told when a part of ours does not answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request. Header names are in lower case; of a repeated query parameter the last counts."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Problem(Exception):
    """An answer that is an error: RFC 9457 problem+json. `errors` has one entry a field."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str | None = None,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.headers = dict(headers or {})
        self.document: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A request that found its route: the caller's key (None on open routes) and the path's parameters."""

    request: Request  # without its body, where that is read once the caller is known
    key: ApiKey | None
    path: Mapping[str, str]
    body: bytes

    @property
    def tenant(self) -> str:
        assert self.key is not None, "only open routes have no key"  # noqa: S101
        return self.key.tenant


@dataclass(frozen=True, kw_only=True)
class Route:
    """`path` may hold parameters: /v1/notifications/{id}. `scope` None: open to all."""

    method: str
    path: str
    scope: Scope | None
    handle: Callable[[Call], Awaitable[Response]]


class Api:
    """Routes, in order. Every answer, also a fault's, is a Response."""

    def __init__(self, routes: Sequence[Route], keyring: Keyring) -> None:
        self.routes = routes
        self._keyring = keyring
        self._patterns = [(_pattern(route.path), route) for route in routes]

    async def answer(
        self, request: Request, read: Callable[[], AbstractAsyncContextManager[bytes]] | None = None
    ) -> Response:
        """`read` gives the body where the request has it not yet, once the caller is known."""
        try:
            route, parameters = self._route(request)
            key = self._admitted(request, route.scope) if route.scope is not None else None
            if read is None:
                return await route.handle(Call(request=request, key=key, path=parameters, body=request.body))
            async with read() as body:
                return await route.handle(Call(request=request, key=key, path=parameters, body=body))
        except Problem as problem:
            return problem.response()
        except (StoreUnavailable, BrokerUnavailable) as error:
            log.error("unavailable", extra={"error": str(error)})
            part = "database" if isinstance(error, StoreUnavailable) else "broker"
            return Problem(
                503,
                f"The {part} does not answer",
                "It may or may not have taken effect. Try again with the same Idempotency-Key; it cannot double then.",
                headers={"retry-after": RETRY_AFTER},
            ).response()
        except Exception as error:
            log.error("fault", extra={"error": type(error).__name__, "where": where(error)})
            return Problem(
                500, "A fault of ours", "It is logged. Trying again is safe with an Idempotency-Key."
            ).response()

    def _route(self, request: Request) -> tuple[Route, Mapping[str, str]]:
        allowed = []
        for pattern, route in self._patterns:
            if match := pattern.fullmatch(request.path):
                if route.method == request.method:
                    return route, match.groupdict()
                allowed.append(route.method)
        if allowed:
            raise Problem(405, "Method not allowed", headers={"allow": ", ".join(sorted(allowed))})
        raise Problem(404, "No such page")

    def _admitted(self, request: Request, scope: Scope) -> ApiKey:
        kind, _, presented = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not presented.strip():
            raise Problem(
                401,
                "A key is needed",
                "Send the header `Authorization: Bearer KEY`.",
                headers={"www-authenticate": "Bearer"},
            )
        key = self._keyring.find(presented.strip())
        if key is None:
            raise Problem(401, "This key is not valid", headers={"www-authenticate": 'Bearer error="invalid_token"'})
        if scope not in key.scopes:
            raise Problem(403, f"This key has not the scope {scope}")
        return key


def _pattern(path: str) -> re.Pattern[str]:
    """Of `/v1/notifications/{id}`; all but the parameters is taken literally."""
    parts = re.split(r"{(\w+)}", path)
    return re.compile("".join(f"(?P<{part}>[^/]+)" if n % 2 else re.escape(part) for n, part in enumerate(parts)))


def where(error: BaseException) -> str:
    """File and line of a fault, for the log in place of its message, which may hold what a user sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"

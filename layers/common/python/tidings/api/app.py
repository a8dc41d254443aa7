"""HTTP without a framework: requests and answers as values, routes, problems, and who may call.

The same routes answer under functions-framework and behind an API gateway on Lambda; `runtime` translates.
"""

import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from tidings.api.api_keys import ApiKey, ApiKeys, Scope
from tidings.api.json_shape import Body, check
from tidings.api.responses import CODES, RETRY_AFTER, Problem, Response, as_json, internal_error, unavailable, without
from tidings.domain.errors import BrokerUnavailable, StoreUnavailable, fault_location
from tidings.domain.stopwatch import Stopwatch
from tidings.observability.request_ids import serving

__all__ = [
    "CODES",
    "RETRY_AFTER",
    "App",
    "AuthenticatedRequest",
    "Problem",
    "Request",
    "Response",
    "Route",
    "as_json",
    "internal_error",
    "unavailable",
    "without",
]

log = logging.getLogger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # as Prometheus reads them

SMALL_BODY = 64 * 1024  # bytes; what a route takes unless it says otherwise
REQUEST_ID = "request-id"
REFUSALS_LOGGED = 10  # lines a second about callers who may not: a stranger's requests do not fill our disk
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request. Header names are in lower case; a query parameter that is given several times has a list."""

    method: str
    path: str
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthenticatedRequest:
    """A request that found its route: the caller's key (None on open routes) and the path's parameters."""

    request: Request  # without its body, where that is read once the caller is known
    key: ApiKey | None
    path: Mapping[str, str]
    body: Body  # of an open route always empty: nobody without a key makes us read one

    @property
    def tenant(self) -> str:
        assert self.key is not None, "only open routes have no key"  # noqa: S101
        return self.key.tenant


@dataclass(frozen=True, kw_only=True)
class Route:
    """`path` may hold parameters: /v1/notifications/{id}. `scope` None: open to all. `max_body`: in bytes."""

    method: str
    path: str
    scope: Scope | None
    handle: Callable[[AuthenticatedRequest], Awaitable[Response]]
    max_body: int = SMALL_BODY


Read = Callable[[int], AbstractAsyncContextManager[Body]]
"""Gives a request's body, of at most so many bytes."""


class App:
    """Routes, in order. Every answer, also a fault's, is a Response with a Request-Id."""

    def __init__(self, routes: Sequence[Route], api_keys: ApiKeys) -> None:
        self.routes = routes
        self._keyring = api_keys
        self._patterns = [(_pattern(route.path), route) for route in routes]
        self._refusals = _Limited(REFUSALS_LOGGED)

    async def answer(self, request: Request, read: Read | None = None) -> Response:
        """`read` gives the body where the request has it not yet, once the caller is known."""
        id, stopwatch = _request_id(request), Stopwatch()
        with serving(id):
            try:
                response = await self._answer(request, read)
            except Problem as problem:
                self._tell(problem, request)
                response = problem.response()
            except (StoreUnavailable, BrokerUnavailable) as error:
                log.error("service_unavailable", extra={"error": str(error)})
                response = unavailable(error).response()
            except Exception as error:
                log.error("unexpected_error", extra={"error": type(error).__name__, "where": fault_location(error)})
                response = internal_error().response()
            if log.isEnabledFor(logging.DEBUG):
                self._tell_answered(request, response, stopwatch)
        return replace(response, headers={**response.headers, REQUEST_ID: id})

    def _tell_answered(self, request: Request, response: Response, stopwatch: Stopwatch) -> None:
        """Without what a caller chose: the route, and not the path."""
        route = next((route.path for pattern, route in self._patterns if pattern.fullmatch(request.path)), None)
        said = {"method": request.method[:16], "route": route, "status": response.status}
        log.debug("request_answered", extra={**said, "duration_seconds": round(stopwatch.elapsed().seconds, 4)})

    async def _answer(self, request: Request, read: Read | None) -> Response:
        route, parameters = self._route(request)
        if route.scope is None:
            return await route.handle(AuthenticatedRequest(request=request, key=None, path=parameters, body=b""))
        key = self._admitted(request, route.scope)
        if read is None:
            if len(request.body) > route.max_body:
                raise Problem(413, "Body too large", f"At most {route.max_body} bytes.")
            return await self._handled(
                route, AuthenticatedRequest(request=request, key=key, path=parameters, body=request.body)
            )
        async with read(route.max_body) as body:
            return await self._handled(
                route, AuthenticatedRequest(request=request, key=key, path=parameters, body=body)
            )

    @staticmethod
    async def _handled(route: Route, call: AuthenticatedRequest) -> Response:
        if call.body and route.max_body <= SMALL_BODY:
            check(call.body)  # a larger one its handler looks at, in a thread
        return await route.handle(call)

    def _route(self, request: Request) -> tuple[Route, Mapping[str, str]]:
        """HEAD is answered where GET is."""
        method = "GET" if request.method == "HEAD" else request.method
        allowed: set[str] = set()
        for pattern, route in self._patterns:
            if match := pattern.fullmatch(request.path):
                if route.method == method:
                    return route, match.groupdict()
                allowed.add(route.method)
        if allowed:
            allowed |= {"HEAD"} if "GET" in allowed else set()
            raise Problem(405, "Method not allowed", headers={"allow": ", ".join(sorted(allowed))})
        # Not forgiven: where a program's id is empty, the list would be answered in the place of one notification.
        if any(pattern.fullmatch(request.path.rstrip("/")) for pattern, _ in self._patterns):
            raise Problem(404, "Not found", "There is such a path without the slash at its end.")
        raise Problem(404, "Not found", "No such path. `/openapi.json` describes those that there are.")

    def _admitted(self, request: Request, scope: Scope) -> ApiKey:
        kind, _, presented = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not presented.strip():
            raise Problem(
                401,
                "An API key is needed",
                "Send the header `Authorization: Bearer KEY`.",
                code="missing_key",
                headers={"www-authenticate": "Bearer"},
            )
        key = self._keyring.find(presented.strip())
        if key is None:
            raise Problem(
                401,
                "The API key is not valid",
                code="invalid_key",
                headers={"www-authenticate": 'Bearer error="invalid_token"'},
            )
        if scope not in key.scopes:
            raise without(scope)
        return key

    def _tell(self, problem: Problem, request: Request) -> None:
        """Who was refused, without anything that he sent: a path may hold what is personal."""
        if problem.status in (401, 403) and (left_out := self._refusals.take()) is not None:
            said = {"status": problem.status, "code": problem.code, "method": request.method[:16]}
            log.warning("request_refused", extra={**said, "left_out": left_out or None})


class _Limited:
    """At most so many a second. `take` answers how many were left out since the last, or None for one too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._second, self._taken, self._left_out = 0, 0, 0

    def take(self) -> int | None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._taken = second, 0
        if self._taken >= self._most:
            self._left_out += 1
            return None
        self._taken += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def _request_id(request: Request) -> str:
    """The caller's, if it can do no harm in a header or a log."""
    given = request.headers.get(REQUEST_ID) or request.headers.get(f"x-{REQUEST_ID}") or ""
    # No secret, so not from the system: that would cost as much as reading the body does.
    return given if given and _SANE_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


def _pattern(path: str) -> re.Pattern[str]:
    """Of `/v1/notifications/{id}`; all but the parameters is taken literally."""
    parts = re.split(r"{(\w+)}", path)
    return re.compile("".join(f"(?P<{part}>[^/]+)" if n % 2 else re.escape(part) for n, part in enumerate(parts)))

"""HTTP without a framework: routing, API keys, and an answer for every error.

The same App answers under functions-framework and behind an API gateway on Lambda; `runtime` translates.
"""

import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from tidings.api.api_keys import ApiKey, ApiKeys, Scope
from tidings.api.endpoint import SMALL_BODY, BoundEndpoint
from tidings.api.http import AuthenticatedRequest, Request, Response
from tidings.api.json_shape import Body, check
from tidings.api.problems import Problem, internal_error, invalid_key, missing_key, missing_scope, unavailable
from tidings.domain.errors import BrokerUnavailable, StoreUnavailable, fault_location
from tidings.domain.stopwatch import Stopwatch
from tidings.observability.request_ids import serving

log = logging.getLogger(__name__)

REQUEST_ID = "request-id"
REFUSALS_LOGGED = 10  # lines a second: requests without a valid key must not fill our disk
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")

ReadBody = Callable[[int], AbstractAsyncContextManager[Body]]
"""Reads a request's body, of at most so many bytes."""


class App:
    """Every answer, also to an error of ours, is a Response with a Request-Id."""

    def __init__(self, endpoints: Sequence[BoundEndpoint], api_keys: ApiKeys) -> None:
        self.endpoints = [bound.endpoint for bound in endpoints]
        self._api_keys = api_keys
        self._patterns = [(_pattern(bound.endpoint.path), bound) for bound in endpoints]
        self._refusals = _Limited(REFUSALS_LOGGED)

    async def answer(self, request: Request, read_body: ReadBody | None = None) -> Response:
        """`read_body`: where the request does not have its body yet. It is called once the API key is checked."""
        id, stopwatch = _request_id(request), Stopwatch()
        with serving(id):
            try:
                response = await self._answer(request, read_body)
            except Problem as problem:
                self._log_refused(problem, request)
                response = problem.response()
            except (StoreUnavailable, BrokerUnavailable) as error:
                log.error("service_unavailable", extra={"error": str(error)})
                response = unavailable(error).response()
            except Exception as error:
                log.error("unexpected_error", extra={"error": type(error).__name__, "where": fault_location(error)})
                response = internal_error().response()
            if log.isEnabledFor(logging.DEBUG):
                self._log_answered(request, response, stopwatch)
        headers = {**response.headers, REQUEST_ID: id}
        return Response(status=response.status, body=response.body, headers=headers)

    async def _answer(self, request: Request, read_body: ReadBody | None) -> Response:
        bound, parameters = self._route(request)
        endpoint = bound.endpoint
        if endpoint.scope is None:
            return await _answer_open(bound, request, parameters, read_body)
        key = self._authenticate(request, endpoint.scope)
        async with _body(request, read_body, endpoint.max_body) as body:
            return await _handle(bound, _authenticated(request, parameters, key, body))

    def _route(self, request: Request) -> tuple[BoundEndpoint, Mapping[str, str]]:
        """HEAD is answered where GET is."""
        method = "GET" if request.method == "HEAD" else request.method
        allowed: set[str] = set()
        for pattern, bound in self._patterns:
            if match := pattern.fullmatch(request.path):
                if bound.endpoint.method == method:
                    return bound, match.groupdict()
                allowed.add(bound.endpoint.method)
        if allowed:
            allowed |= {"HEAD"} if "GET" in allowed else set()
            raise Problem(405, "Method not allowed", headers={"allow": ", ".join(sorted(allowed))})
        # Not forgiven: a program whose id is empty would get the list in place of one notification.
        if any(pattern.fullmatch(request.path.rstrip("/")) for pattern, _ in self._patterns):
            raise Problem(404, "Not found", "There is such a path without the slash at its end.")
        raise Problem(404, "Not found", "`/openapi.json` describes the paths that exist.")

    def _authenticate(self, request: Request, scope: Scope) -> ApiKey:
        kind, _, presented = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not presented.strip():
            raise missing_key()
        key = self._api_keys.find(presented.strip())
        if key is None:
            raise invalid_key()
        if scope not in key.scopes:
            raise missing_scope(scope)
        return key

    def _log_answered(self, request: Request, response: Response, stopwatch: Stopwatch) -> None:
        """Log the endpoint's path: the request's own may hold personal data."""
        path = next((bound.endpoint.path for pattern, bound in self._patterns if pattern.fullmatch(request.path)), None)
        fields = {"method": request.method[:16], "route": path, "status": response.status}
        log.debug("request_answered", extra={**fields, "duration_seconds": round(stopwatch.elapsed().seconds, 4)})

    def _log_refused(self, problem: Problem, request: Request) -> None:
        """Log nothing that the client sent but the method: a path may hold personal data."""
        if problem.status in (401, 403) and (left_out := self._refusals.take()) is not None:
            fields = {"status": problem.status, "code": problem.code, "method": request.method[:16]}
            log.warning("request_refused", extra={**fields, "left_out": left_out or None})


async def _answer_open(
    bound: BoundEndpoint, request: Request, parameters: Mapping[str, str], read_body: ReadBody | None
) -> Response:
    """Without an API key. Only an endpoint that declares `open_body` gets a body, and only after it has admitted the
    request."""
    without_body = _authenticated(request, parameters, None, b"")
    if bound.admit is not None:
        bound.admit(without_body)
    if not bound.endpoint.open_body:
        return await bound.handle(without_body)
    async with _body(request, read_body, bound.endpoint.open_body) as body:
        return await bound.handle(_authenticated(request, parameters, None, body))


def _body(request: Request, read_body: ReadBody | None, most: int) -> AbstractAsyncContextManager[Body]:
    """Raise Problem if it is larger."""
    if read_body is not None:
        return read_body(most)
    if len(request.body) > most:
        raise Problem(413, "Body too large", f"At most {most} bytes.")
    return nullcontext(request.body)


def _authenticated(
    request: Request, parameters: Mapping[str, str], key: ApiKey | None, body: Body
) -> AuthenticatedRequest:
    return AuthenticatedRequest(query=request.query, headers=request.headers, path=parameters, key=key, body=body)


def _handle(bound: BoundEndpoint, request: AuthenticatedRequest) -> Awaitable[Response]:
    if request.body and bound.endpoint.max_body <= SMALL_BODY:
        check(request.body)  # a handler of larger bodies checks them itself, in a thread
    return bound.handle(request)


class _Limited:
    """At most so many a second. `take` returns how many were left out before this one, or None for one too many."""

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
    """The client's own, if it is safe in a header and in a log."""
    given = request.headers.get(REQUEST_ID) or request.headers.get(f"x-{REQUEST_ID}") or ""
    # It is no secret. `secrets` would cost as much as reading the body does.
    return given if given and _SANE_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


def _pattern(path: str) -> re.Pattern[str]:
    """Of `/v1/notifications/{id}`; all but the parameters is taken literally."""
    parts = re.split(r"{(\w+)}", path)
    return re.compile("".join(f"(?P<{part}>[^/]+)" if n % 2 else re.escape(part) for n, part in enumerate(parts)))

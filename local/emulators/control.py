"""The emulator's control API, for its page and for tests: inbox, call log, failure rules."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from pathlib import Path

from pydantic import ValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from local.emulators.failures import Failures, Rule
from local.emulators.ledger import Ledger
from local.emulators.records import CHANNELS, Call, Received
from local.emulators.same_origin import SameOriginOnly

# The page runs its own inline script only and loads nothing.
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Invalid(Exception):
    """The request is invalid; the text says why."""


class Control:
    """`names`: host names of the page besides localhost."""

    def __init__(self, *, ledger: Ledger, failures: Failures, names: frozenset[str] = frozenset()) -> None:
        self._ledger = ledger
        self._failures = failures
        self._names = names
        self._page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")

    def routes(self) -> list[Route]:
        same_origin = [Middleware(SameOriginOnly, names=self._names)]

        def protected(path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str) -> Route:
            return Route(path, endpoint, methods=[method], middleware=same_origin)

        return [
            protected("/", self.page, "GET"),
            Route("/healthz", self.health),
            protected("/inbox.json", self.inbox, "GET"),
            protected("/inbox.json", self.empty, "DELETE"),
            protected("/calls.json", self.calls, "GET"),
            protected("/failures.json", self.fail, "POST"),
            protected("/failures.json", self.failures, "GET"),
            protected("/failures.json", self.forgive, "DELETE"),
        ]

    async def page(self, _request: Request) -> Response:
        return HTMLResponse(self._page, headers=SECURITY)

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def inbox(self, request: Request) -> Response:
        channel, recipient, limit = _filter(request)
        found = list(islice(self._ledger.inbox.newest_first(channel, recipient), limit))
        return await _response("messages", found, self._ledger.inbox.total)

    async def empty(self, _request: Request) -> Response:
        self._ledger.clear()
        return Response(status_code=204)

    async def calls(self, request: Request) -> Response:
        calls = self._ledger.calls
        found = calls.newest(*_filter(request))
        return await _response("calls", found, calls.total, peak={channel: calls.peak[channel] for channel in CHANNELS})

    async def fail(self, request: Request) -> Response:
        try:
            rule = Rule.model_validate_json(await request.body())
        except ValidationError as error:
            raise Invalid(_first(error)) from None
        return JSONResponse({"id": self._failures.arm(rule)}, 201)

    async def failures(self, _request: Request) -> Response:
        return JSONResponse({"failures": self._failures.shown()})

    async def forgive(self, _request: Request) -> Response:
        self._failures.clear()
        return Response(status_code=204)


async def bad_request(_request: Request, error: Exception) -> Response:
    """The handler of Invalid."""
    return JSONResponse({"error": str(error)}, 400)


async def _response(
    name: str, found: Sequence[Received | Call], total: Counter[str], **more: dict[str, int]
) -> Response:
    """Built in a thread: parsing ten thousand mails takes seconds, and the providers must keep answering."""
    answer = {"total": {channel: total[channel] for channel in CHANNELS}, **more}
    return await asyncio.to_thread(lambda: JSONResponse({**answer, name: [one.shown() for one in found]}))


def _filter(request: Request) -> tuple[str | None, str | None, int | None]:
    """Channel, recipient and limit of the query; None: any."""
    query = request.query_params
    for name in query:
        if name not in ("channel", "recipient", "limit"):
            raise Invalid(f"unknown parameter {name}: use channel, recipient and limit")
    channel, limit = query.get("channel"), query.get("limit")
    if channel is not None and channel not in CHANNELS:
        raise Invalid(f"channel must be one of {', '.join(CHANNELS)}, not {json.dumps(channel)}")
    if limit is not None and not (limit.isascii() and limit.isdigit() and len(limit) < 10):
        raise Invalid(f"limit must be a whole number, not {json.dumps(limit)}")
    return channel, query.get("recipient"), int(limit) if limit is not None else None


def _first(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    location = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{location}: {message}" if location else message

"""Intake: takes notifications over HTTP, stores and queues them; looks up, lists and cancels."""

from functools import cache
from typing import Any

from tidings import runtime, serving
from tidings.web import Api
from tidings.wiring import Wiring, utc_now, wired

from .routes import IntakeRoutes


@cache
def wiring() -> Wiring:
    return wired()


@cache
def api() -> Api:
    parts = wiring()
    routes = IntakeRoutes(intake=parts.intake(), store=parts.store, broker=parts.broker, now=utc_now)
    return Api(parts.watched(routes.all()), parts.keyring())


runtime.start("intake", api)
asgi = serving.asgi(api, flush=wiring().lifecycle.flush)


@serving.framework_function
async def intake(_request: object) -> Any:
    """Under functions-framework, which takes any ASGI application for an answer."""
    return asgi


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """On Lambda, behind an HTTP API (payload format 2.0)."""
    return serving.answer_gateway(event, api(), flush=wiring().lifecycle.flush)

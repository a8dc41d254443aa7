"""Intake: takes notifications over HTTP, stores and queues them; looks up, lists and cancels."""

from functools import cache
from typing import Any

from tidings.api.app import Api
from tidings.api.intake.routes import IntakeRoutes
from tidings.runtime import http_function, queue_function
from tidings.runtime.container import Wiring, utc_now, wired


@cache
def wiring() -> Wiring:
    return wired()


@cache
def api() -> Api:
    parts = wiring()
    routes = IntakeRoutes(intake=parts.intake(), store=parts.store, broker=parts.broker, now=utc_now)
    return Api(parts.watched(routes.all()), parts.keyring())


queue_function.start("intake", api)
asgi = http_function.asgi(api, flush=wiring().lifecycle.flush)


@http_function.framework_function
async def intake(_request: object) -> Any:
    """Under functions-framework, which takes any ASGI application for an answer."""
    return asgi


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """On Lambda, behind an HTTP API (payload format 2.0)."""
    return http_function.answer_gateway(event, api(), flush=wiring().lifecycle.flush)

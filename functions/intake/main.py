"""Intake: takes notifications over HTTP, stores and queues them; looks up, lists and cancels."""

from typing import Any

from tidings.api.app import Api
from tidings.api.intake.routes import IntakeRoutes
from tidings.runtime.container import Wiring, utc_now
from tidings.runtime.http_function import HttpFunction, framework_function


def build(parts: Wiring) -> Api:
    routes = IntakeRoutes(intake=parts.intake(), store=parts.store, broker=parts.broker, now=utc_now)
    return Api(parts.watched(routes.all()), parts.keyring())


function = HttpFunction("intake", build)
asgi = function.asgi


@framework_function
async def intake(_request: object) -> Any:
    """Entry point under functions-framework, which takes any ASGI application for an answer."""
    return asgi


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Entry point on Lambda, behind an HTTP API (payload format 2.0)."""
    return function.handle(event)

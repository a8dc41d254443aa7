"""Intake: takes notifications over HTTP, stores and queues them; looks up, lists and cancels."""

from typing import Any

from tidings.api.app import App
from tidings.api.intake import IntakeEndpoints
from tidings.runtime.container import Container, utc_now
from tidings.runtime.http_function import HttpFunction, framework_function


def build(container: Container) -> App:
    endpoints = IntakeEndpoints(intake=container.intake(), store=container.store, broker=container.broker, now=utc_now)
    return App(container.observed(endpoints.all()), container.api_keys())


function = HttpFunction("intake", build)
asgi = function.asgi


@framework_function
async def intake(_request: object) -> Any:
    """Entry point under functions-framework, which accepts an ASGI application as the answer."""
    return asgi


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Entry point on Lambda, behind API Gateway (HTTP API, payload format 2.0)."""
    return function.handle(event)

"""Replay: the operator's API and console, and the sweep, over HTTP and by a schedule's event."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from tidings.api.app import App
from tidings.api.operator.console_files import Console
from tidings.api.operator.endpoints import OperatorEndpoints
from tidings.runtime.container import Container, utc_now
from tidings.runtime.faults import faults
from tidings.runtime.http_function import HttpFunction, framework_function

CONSOLE = Path(__file__).with_name("console")


def build(parts: Container) -> App:
    endpoints = OperatorEndpoints(
        replay=parts.replay(),
        sweep=parts.sweep(),
        store=parts.store,
        broker=parts.broker,
        insight=parts.insight,
        intake=parts.intake(),
        now=utc_now,
    )
    observed = parts.observed(endpoints.all(), gauges=parts.gauges())
    return App([*observed, *Console(CONSOLE).endpoints()], parts.api_keys())


function = HttpFunction("replay", build)
asgi = function.asgi


@framework_function
async def replay(_request: object) -> Any:
    """Entry point under functions-framework, which takes any ASGI application for an answer."""
    return asgi


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Entry point on Lambda: an HTTP API event, or any other, which is the schedule's and runs the sweep. Its `for`:
    seconds for which to go on, because a schedule of AWS comes once a minute."""
    if "requestContext" in event:
        return function.handle(event)
    parts = function.container
    try:
        with faults():
            return parts.sweep().run_for(timedelta(seconds=event.get("for", 0))).counts
    finally:
        parts.telemetry.show(parts.gauges())
        parts.observers.flush()

"""Replay: the operator API, the console, and the sweep, which runs over HTTP or by an event of a schedule."""

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


def build(container: Container) -> App:
    endpoints = OperatorEndpoints(
        replay=container.replay(),
        sweep=container.sweep(),
        store=container.store,
        broker=container.broker,
        insight=container.insight,
        ledger=container.ledger(),
        audit=container.audit(),
        intake=container.intake(),
        signer=container.signer(),
        webhooks=container.webhooks,
        webhook_settings=container.webhook_settings(),
        now=utc_now,
        enforcement=container.suppression,
    )
    observed = container.observed(endpoints.all(), gauges=container.gauges())
    return App([*observed, *Console(CONSOLE).endpoints()], container.api_keys())


function = HttpFunction("replay", build)
asgi = function.asgi


@framework_function
async def replay(_request: object) -> Any:
    """Entry point under functions-framework, which accepts an ASGI application as the answer."""
    return asgi


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Entry point on Lambda. An API Gateway event is answered; any other event comes from the schedule and runs the
    sweep. `for` in it: seconds to keep sweeping, because a schedule in AWS fires once a minute at most."""
    if "requestContext" in event:
        return function.handle(event)
    container = function.container
    try:
        with faults():
            return container.sweep().run_for(timedelta(seconds=event.get("for", 0))).counts
    finally:
        container.telemetry.show(container.gauges())
        container.observers.flush()

"""Replay: dead letters listed and replayed, and the sweep; over HTTP, and by a schedule's event."""

from datetime import timedelta
from functools import cache
from typing import Any

from tidings.api.app import Api
from tidings.api.operator.console_files import Console
from tidings.api.operator.routes import ReplayRoutes
from tidings.runtime import http_function, queue_function
from tidings.runtime.container import Wiring, utc_now, wired


@cache
def wiring() -> Wiring:
    return wired()


@cache
def api() -> Api:
    parts = wiring()
    routes = ReplayRoutes(
        replay=parts.replay(),
        sweep=parts.sweep(),
        store=parts.store,
        broker=parts.broker,
        insight=parts.insight,
        intake=parts.intake(),
        now=utc_now,
    )
    return Api([*parts.watched(routes.all(), gauges=parts.gauges()), *Console().routes()], parts.keyring())


queue_function.start("replay", api)
asgi = http_function.asgi(api, flush=wiring().lifecycle.flush)


@http_function.framework_function
async def replay(_request: object) -> Any:
    """Under functions-framework, which takes any ASGI application for an answer."""
    return asgi


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """On Lambda: an HTTP API event, or any other, which is the schedule's and runs the sweep. Its `for`: seconds for
    which to go on, because a schedule of AWS comes once a minute."""
    parts = wiring()
    if "requestContext" in event:
        return http_function.answer_gateway(event, api(), flush=parts.lifecycle.flush)
    try:
        with queue_function.faults():
            return parts.sweep().go_on(timedelta(seconds=event.get("for", 0))).counts
    finally:
        parts.telemetry.show(parts.gauges())
        parts.lifecycle.flush()

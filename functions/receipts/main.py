"""Receipts: takes what vendors report later about a message, verifies it, and records what it means. Also the links in
mails by which recipients unsubscribe."""

from typing import Any

from tidings.api.app import App
from tidings.api.receipts import ReceiptEndpoints
from tidings.api.unsubscribe import UnsubscribeEndpoints
from tidings.providers import receipt_parsers
from tidings.providers.unsubscribe import required_unsubscribe_links
from tidings.runtime.container import Container, utc_now
from tidings.runtime.http_function import HttpFunction, framework_function


def build(container: Container) -> App:
    endpoints = ReceiptEndpoints(
        receipts=container.receipts(),
        parsers=receipt_parsers(),
        store=container.store,
        now=utc_now,
    )
    unsubscribe = UnsubscribeEndpoints(store=container.store, links=required_unsubscribe_links())
    bound = container.observed([*endpoints.all(), *unsubscribe.all()], gauges=endpoints.gauges)
    return App(bound, container.metrics_keys())


function = HttpFunction("receipts", build)
asgi = function.asgi


@framework_function
async def receipts(_request: object) -> Any:
    """Entry point under functions-framework, which accepts an ASGI application as the answer."""
    return asgi


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Entry point on Lambda, behind API Gateway (HTTP API, payload format 2.0)."""
    return function.handle(event)

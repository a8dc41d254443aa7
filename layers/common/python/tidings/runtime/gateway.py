"""An API behind an HTTP API of AWS (payload format 2.0), on Lambda. It translates, and decides nothing."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from tidings.api.app import App
from tidings.api.body_limits import decoded
from tidings.api.http import Request, Response
from tidings.api.problems import Problem
from tidings.runtime.asgi import query


def from_gateway(event: Mapping[str, Any]) -> Request:
    """An HTTP API event, payload format 2.0."""
    http = event["requestContext"]["http"]
    raw = event.get("body") or ""
    body = base64.b64decode(raw) if event.get("isBase64Encoded") else raw.encode(errors="surrogatepass")
    headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    return Request(
        method=http["method"],
        path=_path(event),
        query=query(event.get("rawQueryString") or ""),
        headers=headers,
        body=decoded(body, headers) if body else b"",
    )


def _path(event: Mapping[str, Any]) -> str:
    """Without the stage, which is in front of it unless it is the $default one."""
    context = event["requestContext"]
    path, stage = str(event.get("rawPath") or context["http"]["path"]), f"/{context.get('stage') or '$default'}"
    return unquote(path.removeprefix(stage) if path.startswith(f"{stage}/") else path)


def to_gateway(response: Response) -> dict[str, Any]:
    return {
        "statusCode": response.status,
        "headers": dict(response.headers),
        "body": base64.b64encode(response.body).decode(),
        "isBase64Encoded": True,
    }


def answer_gateway(event: Mapping[str, Any], api: App, *, flush: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """One event at a time, as Lambda gives them. `flush`: before it freezes the process, see `Lifecycle`."""

    async def answered() -> Response:
        try:
            return await api.answer(from_gateway(event))
        except Problem as problem:
            return problem.response()

    try:
        response = asyncio.run(answered())
        if event["requestContext"]["http"]["method"] == "HEAD":  # a server leaves the body out, and here we are one
            response = replace(response, body=b"")
        return to_gateway(response)
    finally:
        flush()

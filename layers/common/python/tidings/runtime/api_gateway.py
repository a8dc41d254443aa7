"""An App on Lambda, behind API Gateway (HTTP API, payload format 2.0). It translates, and decides nothing."""

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


def to_request(event: Mapping[str, Any]) -> Request:
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
    """Without the stage, which is its first part unless the stage is $default."""
    context = event["requestContext"]
    path, stage = str(event.get("rawPath") or context["http"]["path"]), f"/{context.get('stage') or '$default'}"
    return unquote(path.removeprefix(stage) if path.startswith(f"{stage}/") else path)


def to_result(response: Response) -> dict[str, Any]:
    return {
        "statusCode": response.status,
        "headers": dict(response.headers),
        "body": base64.b64encode(response.body).decode(),
        "isBase64Encoded": True,
    }


def answer_event(event: Mapping[str, Any], app: App, *, flush: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """One event at a time, as Lambda sends them. `flush`: called before Lambda freezes the process, see `Observers`."""

    async def answered() -> Response:
        try:
            return await app.answer(to_request(event))
        except Problem as problem:
            return problem.response()

    try:
        response = asyncio.run(answered())
        if event["requestContext"]["http"]["method"] == "HEAD":  # what a server does, and here there is none
            response = replace(response, body=b"")
        return to_result(response)
    finally:
        flush()

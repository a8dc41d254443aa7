"""An HTTP function where it runs: as an ASGI application, and on Lambda behind an HTTP API. It translates, and decides
nothing."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

from tidings.bodies import Bodies, decoded
from tidings.web import Api, Problem, Request, Response

# --- as an ASGI application -------------------------------------------------------------------------------------------

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def asgi(api: Callable[[], Api], *, flush: Callable[[], None] = lambda: None) -> Asgi:
    """The routes as an ASGI application, for a server or, as the answer to any request, for a framework. `flush`: at
    the server's end, see `Lifecycle`.

    The body is read once the caller is known: nobody without a key makes us hold one.
    """
    bodies = Bodies()

    async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, flush)
            return
        head = Request(
            method=scope["method"],
            path=scope["path"],
            query=_query(scope["query_string"].decode("latin-1")),
            headers=_headers(scope["headers"]),
        )
        answer = await api().answer(head, lambda most: bodies.read(_chunks(receive), head.headers, most=most))
        headers = {**answer.headers, "content-length": str(len(answer.body))}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})

    return application


F = TypeVar("F", bound=Callable[..., Any])


def framework_function(function: F) -> F:
    """Tell functions-framework, where it runs us, that this answers with an ASGI application. Elsewhere, as on Lambda,
    it is not there, and its import would be a third of a cold start."""
    if "functions_framework" not in sys.modules:
        return function
    import functions_framework.aio

    declared: Any = functions_framework.aio.http(function)
    return declared  # type: ignore[no-any-return]


async def _lifespan(receive: Receive, send: Send, flush: Callable[[], None]) -> None:
    """The server's start, and its end, after which it is ended by a signal: nothing that waits for an exit runs."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await asyncio.to_thread(flush)
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "The body is incomplete")  # which nobody reads any more
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _headers(given: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """One that comes twice has both of its values, as RFC 9110 (5.3) and Lambda's gateway read it: two keys are then no
    key, and whoever is in front of us cannot have checked another one than we."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in given}
    if len(headers) == len(given):
        return headers
    values: dict[str, list[str]] = {}
    for name, value in given:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ", ".join(several) for name, several in values.items()}


def _query(text: str) -> Mapping[str, str | Sequence[str]]:
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


# --- on Lambda --------------------------------------------------------------------------------------------------------


def from_gateway(event: Mapping[str, Any]) -> Request:
    """An HTTP API event, payload format 2.0."""
    http = event["requestContext"]["http"]
    raw = event.get("body") or ""
    body = base64.b64decode(raw) if event.get("isBase64Encoded") else raw.encode(errors="surrogatepass")
    headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    return Request(
        method=http["method"],
        path=_path(event),
        query=_query(event.get("rawQueryString") or ""),
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


def answer_gateway(event: Mapping[str, Any], api: Api, *, flush: Callable[[], None] = lambda: None) -> dict[str, Any]:
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

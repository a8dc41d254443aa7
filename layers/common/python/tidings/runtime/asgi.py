"""An App as an ASGI application. It translates, and decides nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from tidings.api.app import App
from tidings.api.body_limits import BodyBudget
from tidings.api.http import Request
from tidings.api.problems import Problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def asgi(app: Callable[[], App], *, flush: Callable[[], None] = lambda: None) -> Asgi:
    """The application, for a server, or for a framework as its answer to any request. `flush`: called at the server's
    shutdown, see `Observers`.

    The body is read after the key is checked: without a key, nobody makes us hold a body.
    """
    bodies = BodyBudget()

    async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, flush)
            return
        head = Request(
            method=scope["method"],
            path=scope["path"],
            query=query(scope["query_string"].decode("latin-1")),
            headers=_headers(scope["headers"]),
        )
        response = await app().answer(head, lambda most: bodies.read(_chunks(receive), head.headers, most=most))
        headers = {**response.headers, "content-length": str(len(response.body))}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": encoded})
        await send({"type": "http.response.body", "body": response.body})

    return application


async def _lifespan(receive: Receive, send: Send, flush: Callable[[], None]) -> None:
    """The server's startup and shutdown. After it a signal ends the process, so that no exit handler runs."""
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
            raise Problem(400, "The body is incomplete")  # the caller has gone
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _headers(raw: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """A header that comes twice has both values, as in RFC 9110 (5.3) and in API Gateway. Two keys are then no key: a
    proxy in front of us cannot have checked another key than we do."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    if len(headers) == len(raw):
        return headers
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ", ".join(several) for name, several in values.items()}


def query(text: str) -> Mapping[str, str | Sequence[str]]:
    if not text:
        return {}
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}

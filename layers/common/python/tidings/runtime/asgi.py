"""An API as an ASGI application, for a server or for a framework. It translates, and decides nothing."""

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


def asgi(api: Callable[[], App], *, flush: Callable[[], None] = lambda: None) -> Asgi:
    """The routes as an ASGI application, for a server or, as the answer to any request, for a framework. `flush`: at
    the server's end, see `Lifecycle`.

    The body is read once the caller is known: nobody without a key makes us hold one.
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
        answer = await api().answer(head, lambda most: bodies.read(_chunks(receive), head.headers, most=most))
        headers = {**answer.headers, "content-length": str(len(answer.body))}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})

    return application


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


def query(text: str) -> Mapping[str, str | Sequence[str]]:
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}

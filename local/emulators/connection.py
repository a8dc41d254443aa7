"""Closing an HTTP connection without an answer; ASGI has no message for that."""

from collections.abc import Callable
from typing import Any, cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_EXTENSION = "local.emulators.hang_up"


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with an ASGI extension that closes the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {_EXTENSION: {"close": self.transport.close}}


class HungUp(Response):
    """Closes the connection without sending a byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        close: Callable[[], None] = scope["extensions"][_EXTENSION]["close"]
        close()
        # uvicorn reports an error if we return without a response, unless it knows that the client has disconnected.
        while (await receive())["type"] != "http.disconnect":
            pass

"""Closing an HTTP connection without an answer, which no ASGI message can say."""

from collections.abc import Callable
from typing import Any, cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_EXTENSION = "local.emulators.hang_up"


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, whose scope also offers to close the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {_EXTENSION: {"close": self.transport.close}}


class HungUp(Response):
    """No answer at all: the client sees the connection closed, with no byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        close: Callable[[], None] = scope["extensions"][_EXTENSION]["close"]
        close()
        # uvicorn takes a return without a response for a mistake, unless it knows that the client is gone.
        while (await receive())["type"] != "http.disconnect":
            pass

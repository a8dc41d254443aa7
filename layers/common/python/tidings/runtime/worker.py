"""gunicorn's worker for an HTTP function: uvicorn's, with one write a response, and with limits on what a caller may
send and how long it may take (docs/security.md).

uvicorn writes the head and the body of a response separately, in two packets, which wake the caller twice. One packet
saves a tenth of the CPU of an accepted notification.
"""

import asyncio
import json
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn_worker import UvicornWorker

MAX_HEAD = 32 * 1024  # bytes of the request line and headers, and of trailers and chunk sizes
MAX_PIPELINED = 16  # requests that wait on a connection behind the one being answered
MAX_UNREAD = 1024 * 1024  # bytes of a body that are discarded after its response; beyond it the connection is closed
HEAD_WITHIN = 20.0  # seconds for the request line and headers
BODY_WITHIN = 60.0  # seconds for a body, from the end of its headers
TAKEN_WITHIN = 60.0  # seconds for a caller to read the response

INVALID = (400, "invalid_http", "Invalid HTTP request")
HEAD_TOO_LARGE = (431, "headers_too_large", f"Request line and headers exceed {MAX_HEAD} bytes")
TOO_MANY = (400, "too_many_pipelined", f"More than {MAX_PIPELINED} requests wait on this connection")
TOO_SLOW = (408, "request_timeout", "The request did not arrive in time")


class Corked:
    """The part of a transport that uvicorn uses. All that is written in one turn of the event loop is sent at its
    end."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.set_protocol = transport.set_protocol

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))


class Protocol(HttpToolsProtocol):
    """One connection. A request that arrives in one piece, as nearly all do, needs no timer."""

    _refusal = INVALID
    _pending = 0  # bytes since the last complete headers or piece of a body
    _unread = 0  # bytes of a body that came after its response
    _is_arriving = False  # a request has begun and is not complete
    _has_head = False
    _arrival: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]
        self._arrival = self.loop.call_later(HEAD_WITHIN, self._arrived_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        super().connection_lost(exc)

    # --- size ---------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._pending += len(data)
        super().data_received(data)
        if self._pending > MAX_HEAD and not self.transport.is_closing():
            self._refuse(HEAD_TOO_LARGE)
        self._watch_arrival()

    def on_message_begin(self) -> None:
        self._is_arriving, self._has_head, self._unread = True, False, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._pending, self._has_head = 0, True
        self._stop_arrival()  # the body has its own limit
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD:
            self._refusal = HEAD_TOO_LARGE
            raise ValueError  # the parser stops, and `send_400_response` answers
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refusal = TOO_MANY
            raise ValueError
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._pending = 0
        super().on_body(body)
        if self.cycle.response_complete:
            self._unread += len(body)
            if self._unread > MAX_UNREAD:
                self.transport.close()

    def on_message_complete(self) -> None:
        self._pending, self._is_arriving = 0, False
        super().on_message_complete()

    # --- time ---------------------------------------------------------------------------------------------------------

    def _watch_arrival(self) -> None:
        """Run a timer while a request is incomplete, or while bytes have come that begin no request."""
        is_due = self._is_arriving or self._pending > 0
        if not is_due or self.transport.is_closing():
            self._stop_arrival()
        elif self._arrival is None:
            within = BODY_WITHIN if self._has_head else HEAD_WITHIN
            self._arrival = self.loop.call_later(within, self._arrived_late)

    def _arrived_late(self) -> None:
        self._arrival = None
        is_silent = not self._is_arriving and not self._pending
        is_answered = self._has_head and self.cycle.response_complete
        if is_silent or is_answered or self.transport.is_closing():
            self.transport.close()
        else:
            self._refuse(TOO_SLOW)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._taking is None:
            self._taking = self.loop.call_later(TAKEN_WITHIN, self.transport.abort)

    def resume_writing(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        super().resume_writing()

    def _stop_arrival(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _stop_timers(self) -> None:
        self._stop_arrival()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    # --- refusals -----------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this when its parser fails."""
        self._refuse(self._refusal)

    def _refuse(self, refusal: tuple[int, str, str]) -> None:
        status, code, title = refusal
        problem = {"type": "about:blank", "title": title, "status": status, "code": code}
        body = json.dumps(problem).encode()
        head = f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()


class Worker(UvicornWorker):  # type: ignore[misc]  # it has no types
    # The caller's address is not used, so no proxy header is read. No endpoint is a WebSocket.
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": Protocol,
        "ws": "none",
        "proxy_headers": False,
        "server_header": False,
    }

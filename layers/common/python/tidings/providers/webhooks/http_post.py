"""One POST to one address: no redirect, no proxy, no second try, and a deadline over all of it.

http.client would resolve the name a second time, and its time-outs begin anew with each byte. So the connection is made
here, to the very address that was checked, under the name for TLS and the header Host.
"""

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from tidings.domain.channels.webhook import port_of
from tidings.domain.errors import AmbiguousError, TransientError
from tidings.providers.webhooks.addresses import Address

MAX_RESPONSE = 16 * 1024
"""Bytes of a response that are read. It decides nothing: it is read so that the receiver sees no reset."""

CONNECTS = 3
"""Addresses of one host that are tried."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    retry_after: str | None


def post(
    url: str,
    addresses: Sequence[Address],
    body: bytes,
    headers: Mapping[str, str],
    *,
    tls: ssl.SSLContext,
    until: float,
    port: int | None = None,
) -> Answer:
    """`until`: on the monotonic clock. `port`: in place of the URL's, for a test's receiver, which has no TLS. Raise
    TransientError while no byte of the request is written, and AmbiguousError after it."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = {"Host": parts.netloc, "Content-Length": str(len(body)), "Connection": "close", **headers}
    request = f"POST {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in head.items())
    try:
        connection = _connected(addresses, port or port_of(parts), until)
    except OSError as error:
        raise TransientError("connect", f"no connection ({type(error).__name__})") from None
    with contextlib.closing(connection):
        if parts.scheme == "https" and port is None:
            try:
                connection.getpeername()  # fails if the endpoint has hung up: wrap_socket would too, and leave it open
                connection.settimeout(_left(until))
                connection = tls.wrap_socket(connection, server_hostname=(parts.hostname or "").rstrip("."))
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                raise TransientError("tls", f"no TLS connection ({type(error).__name__})") from None
        with contextlib.closing(connection):
            return _exchange(connection, request.encode("ascii") + b"\r\n" + body, until)


def _connected(addresses: Sequence[Address], port: int, until: float) -> socket.socket:
    tried = addresses[:CONNECTS]
    for place, address in enumerate(tried):
        try:
            # Each gets its part of the time that is left, so that one that is silent leaves some for the next.
            return socket.create_connection((str(address), port), timeout=_left(until) / (len(tried) - place))
        except OSError:
            if place == len(tried) - 1:
                raise
    raise OSError("the host has no address")


def _exchange(connection: socket.socket, request: bytes, until: float) -> Answer:
    try:
        connection.settimeout(_left(until))
        connection.sendall(request)
        response = http.client.HTTPResponse(cast(Any, _Deadline(connection, until)), method="POST")
        response.begin()
    except TimeoutError:
        raise AmbiguousError("timeout", "the receiver did not answer in time") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AmbiguousError("connection_lost", f"no answer ({type(error).__name__})") from None
    answer = Answer(status=response.status, retry_after=response.getheader("retry-after"))
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        response.read(MAX_RESPONSE)
    return answer


def _left(until: float) -> float:
    """Seconds. Raise TimeoutError."""
    if (left := until - time.monotonic()) <= 0:
        raise TimeoutError("the time is up")
    return left


class _Deadline(io.RawIOBase):
    """What HTTPResponse reads from: each wait ends at the deadline, also if the receiver sends a byte now and then."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection, self._until = connection, until

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(_left(self._until))
        return self._connection.recv_into(buffer)

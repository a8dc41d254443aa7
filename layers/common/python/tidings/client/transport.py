"""HTTP with a key: connections kept alive, and what did not come through tried again until a deadline."""

import http.client
import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any
from urllib.parse import urlencode, urlsplit

from tidings.client.errors import ClientError, Refused, Unexpected, Unreachable

PASSING = frozenset({408, 429, 502, 503, 504})
"""It cannot now. 502 and 504 are a proxy's, which may have handed the request on."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds; doubling, and drawn anew below that each time
FRESH = 2.0
"""Seconds for which a connection that is not in use may be used again: servers close theirs, uvicorn after 5."""
CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: 2xx, and JSON."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    document: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    until: float  # on the monotonic clock


@dataclass(frozen=True, kw_only=True)
class Transport:
    """One server. Thread-safe: each call has a connection for itself.

    A call is repeated as a whole, so with `repeats` only what may arrive twice is to be called. Redirects are not
    followed: the key goes to no other address. No proxy is asked.
    """

    url: str  # http(s)://host[:port][/path]
    api_key: str = field(repr=False)
    timeout: float = 10.0  # seconds to wait for the server, each time
    deadline: float = 60.0  # seconds that a call may take with all its tries
    repeats: bool = True
    _idle: list[tuple[float, http.client.HTTPConnection]] = field(default_factory=list, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError. The key's text is in no message."""
        parts = urlsplit(self.url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise ValueError("the url is http(s)://host[:port], maybe with a path")
        if not self.api_key or not all("!" <= letter <= "~" for letter in self.api_key):
            raise ValueError("the key is printable ASCII without spaces")

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`path`: percent-encoded where it has to be; `body`: anything that JSON can say. Raise Refused, Unreachable or
        Unexpected."""
        request = _Request(
            method=method,
            target=urlsplit(self.url).path.rstrip("/") + path + (f"?{urlencode(query)}" if query else ""),
            body=json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass") if body is not None else None,
            headers=self._headers(headers or {}, has_body=body is not None),
            until=time.monotonic() + self.deadline,
        )
        for attempt in count():
            try:
                return self._once(request)
            except (Refused, Unreachable) as error:
                pause = self._pause(error, attempt)
                if pause is None or time.monotonic() + pause >= request.until:
                    raise
            time.sleep(pause)
        raise AssertionError("unreachable")

    def close(self) -> None:
        with self._lock:
            idle, self._idle[:] = list(self._idle), []
        for _, connection in idle:
            connection.close()

    def _pause(self, error: ClientError, attempt: int) -> float | None:
        """Seconds until the next try; None: there is none."""
        if not self.repeats or (isinstance(error, Refused) and error.status not in PASSING):
            return None
        drawn = random.uniform(0, min(FIRST_PAUSE * 2 ** min(attempt, 10), LONGEST_PAUSE))  # noqa: S311
        asked = error.retry_after if isinstance(error, Refused) else None
        return drawn if asked is None else asked + drawn

    # --- one try ------------------------------------------------------------------------------------------------------

    def _headers(self, more: Mapping[str, str], *, has_body: bool) -> dict[str, str]:
        own = {"authorization": f"Bearer {self.api_key}", "accept": "application/json"}
        return {**own, **({"content-type": "application/json"} if has_body else {}), **more}

    def _once(self, request: _Request) -> Answer:
        connection = self._taken()
        try:
            answer, content = self._exchanged(connection, request)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"no answer from {self.url} ({_reason(error)})") from None
        except BaseException:
            connection.close()
            raise
        self._given_back(connection)
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if not 200 <= answer.status < 300:
            after = _seconds(headers.get("retry-after"))
            raise Refused.told(answer.status, document, reason=answer.reason, retry_after=after)
        if document is None:
            raise Unexpected(f"what answers at {self.url} is no Tidings")
        return Answer(answer.status, headers, document)

    def _exchanged(
        self, connection: http.client.HTTPConnection, request: _Request
    ) -> tuple[http.client.HTTPResponse, bytes]:
        self._limit(connection, request.until)
        connection.request(request.method, request.target, request.body, dict(request.headers))
        self._limit(connection, request.until)
        answer = connection.getresponse()
        parts = []
        while part := answer.read(CHUNK):
            parts.append(part)
            self._limit(connection, request.until)
        if answer.length:  # which `read` with a size does not look at
            raise http.client.IncompleteRead(b"", answer.length)
        return answer, b"".join(parts)

    def _limit(self, connection: http.client.HTTPConnection, until: float) -> None:
        """The next wait is for the time-out at most, and for what is left until the deadline."""
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is up")
        connection.timeout = min(self.timeout, left)
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)

    def _taken(self) -> http.client.HTTPConnection:
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            since, connection = kept
            if time.monotonic() - since < FRESH:
                return connection
            connection.close()
            self.close()  # the others are older
        parts = urlsplit(self.url)
        made = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return made(str(parts.hostname), parts.port)

    def _given_back(self, connection: http.client.HTTPConnection) -> None:
        if connection.sock is not None:  # http.client has closed it where the server said that it will
            with self._lock:
                self._idle.append((time.monotonic(), connection))


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return str(error) or type(error).__name__


def _seconds(value: str | None) -> float | None:
    """Of a Retry-After: seconds, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(min(int(value), 86_400))
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None

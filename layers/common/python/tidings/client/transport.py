"""HTTP requests with an API key, kept-alive connections, and retries until a deadline."""

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

RETRYABLE = frozenset({408, 429, 502, 503, 504})
"""Temporary refusals. 502 and 504 come from a proxy, which may have forwarded the request."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds; doubling, each time with full jitter
IDLE_MAX = 2.0
"""Seconds after which an idle connection is not reused: servers close theirs, uvicorn after 5."""
CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer with JSON."""

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
    """Requests to one server. Thread-safe: each request has a connection for itself.

    With `retries`, send idempotent requests only: one may arrive twice. Redirects are not followed, so that the key
    goes to no other server. No proxy is used.
    """

    url: str  # http(s)://host[:port][/path]
    api_key: str = field(repr=False)
    timeout: float = 10.0  # seconds to wait for the server in each try
    deadline: float = 60.0  # seconds for all tries of a request
    retries: bool = True
    _idle: list[tuple[float, http.client.HTTPConnection]] = field(default_factory=list, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError. No message contains the key."""
        parts = urlsplit(self.url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise ValueError("the url must be http(s)://host[:port], with an optional path")
        if not self.api_key or not all("!" <= character <= "~" for character in self.api_key):
            raise ValueError("the key must be printable ASCII without spaces")

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`path`: percent-encoded; `body`: any JSON value, or bytes, which are sent as they are. Raise
        Refused, Unreachable or Unexpected."""
        request = _Request(
            method=method,
            target=urlsplit(self.url).path.rstrip("/") + path + (f"?{urlencode(query, doseq=True)}" if query else ""),
            body=body if isinstance(body, bytes) else _json(body),
            headers=self._headers(headers or {}, has_body=body is not None),
            until=time.monotonic() + self.deadline,
        )
        for attempt in count():
            try:
                return self._try(request)
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
        """Seconds until the next try; None: do not retry."""
        if not self.retries or (isinstance(error, Refused) and error.status not in RETRYABLE):
            return None
        jitter = random.uniform(0, min(FIRST_PAUSE * 2 ** min(attempt, 10), LONGEST_PAUSE))  # noqa: S311
        wanted = error.retry_after if isinstance(error, Refused) else None
        return jitter if wanted is None else wanted + jitter

    # --- one try ------------------------------------------------------------------------------------------------------

    def _headers(self, more: Mapping[str, str], *, has_body: bool) -> dict[str, str]:
        own = {"authorization": f"Bearer {self.api_key}", "accept": "application/json"}
        return {**own, **({"content-type": "application/json"} if has_body else {}), **more}

    def _try(self, request: _Request) -> Answer:
        connection = self._acquire()
        try:
            answer, content = self._exchange(connection, request)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"no answer from {self.url} ({_reason(error)})") from None
        except BaseException:
            connection.close()
            raise
        self._release(connection)
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if not 200 <= answer.status < 300:
            after = _seconds(headers.get("retry-after"))
            raise Refused.from_document(answer.status, document, reason=answer.reason, retry_after=after)
        if document is None:
            raise Unexpected(f"the server at {self.url} is not Tidings")
        return Answer(answer.status, headers, document)

    def _exchange(
        self, connection: http.client.HTTPConnection, request: _Request
    ) -> tuple[http.client.HTTPResponse, bytes]:
        self._set_timeout(connection, request.until)
        connection.request(request.method, request.target, request.body, dict(request.headers))
        self._set_timeout(connection, request.until)
        answer = connection.getresponse()
        parts = []
        while part := answer.read(CHUNK):
            parts.append(part)
            self._set_timeout(connection, request.until)
        if answer.length:  # `read` with a size does not check the length
            raise http.client.IncompleteRead(b"", answer.length)
        return answer, b"".join(parts)

    def _set_timeout(self, connection: http.client.HTTPConnection, until: float) -> None:
        """Limit the next wait to the time-out and to the time left until the deadline."""
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is up")
        connection.timeout = min(self.timeout, left)
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)

    def _acquire(self) -> http.client.HTTPConnection:
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        if idle is not None:
            since, connection = idle
            if time.monotonic() - since < IDLE_MAX:
                return connection
            connection.close()
            self.close()  # the others are older
        parts = urlsplit(self.url)
        made = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return made(str(parts.hostname), parts.port)

    def _release(self, connection: http.client.HTTPConnection) -> None:
        if connection.sock is not None:  # http.client has closed it if the server asked for that
            with self._lock:
                self._idle.append((time.monotonic(), connection))


def _json(body: object) -> bytes | None:
    return json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass") if body is not None else None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return str(error) or type(error).__name__


def _seconds(value: str | None) -> float | None:
    """Seconds of a Retry-After, which is a number or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(min(int(value), 86_400))
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None

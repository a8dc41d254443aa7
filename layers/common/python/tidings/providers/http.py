"""HTTP to one vendor, for SDKs that are built on requests."""

import os
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import default_headers, get_environ_proxies
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Timeout

IDLE = 30.0
"""Seconds, by the clock on the wall, after which an idle connection is not used again. One that has died unnoticed, as
while Lambda freezes this process, is found out by a request that may have been taken."""


class SingleAttemptSession:
    """Requests to the host of one URL, each written once: never repeated or redirected. For any number of threads.

    In place of a requests.Session, which for every request reads the whole environment and a `.netrc`, whose password
    would replace an access token. Here proxies and certificates are taken from the environment once, and `.netrc` is
    not read, which also saves a third of a call's CPU.
    """

    def __init__(self, url: str, *, timeout: float, connections: int) -> None:
        """`timeout` in seconds, connecting included. `connections`: kept open at most. Opens none."""
        to = urlsplit(url)
        self._host = f"{to.scheme}://{to.netloc}/"
        # One budget for both: what connecting took is not given again to the answer, which is always left a half.
        self._limit: Any = Timeout(total=timeout, connect=timeout / 2)
        self._headers = dict(default_headers())
        self._proxies = get_environ_proxies(url)
        self._verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        self._adapter = _Adapter(pool_maxsize=connections, max_retries=0)

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, timeout: object = None, **content: Any
    ) -> requests.Response:
        """The whole answer, whatever its status. `content`: data, json, params or auth, as requests takes them.
        `timeout` is what an SDK would allow; it is not used. Raise requests.RequestException, and mark whatever is
        raised before the request's first byte was written: `never_connected` tells."""
        _call.request_began = False
        try:
            if not url.startswith(self._host):
                raise requests.exceptions.InvalidURL(f"{urlsplit(url).netloc}, in a session with {self._host}")
            request = requests.PreparedRequest()
            request.prepare(method=method, url=url, headers={**self._headers, **(headers or {})}, **content)
            response = self._adapter.send(request, timeout=self._limit, verify=self._verify, proxies=self._proxies)
            response.content  # noqa: B018  # read to its end, so that the connection is free for the next request
            return response
        except Exception as error:
            error.request_began = _call.request_began  # type: ignore[attr-defined]
            raise

    def close(self) -> None:
        """Give up connections. The next request opens them again."""
        self._adapter.close()


class _Adapter(HTTPAdapter):
    """To one host, whose pool is looked for once: a twentieth of a call's CPU. Its connections age, each by itself."""

    _found: HTTPConnectionPool | None = None

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        if (found := self._found) is None:
            found = self._found = super().get_connection_with_tls_context(*args, **kwargs)
        return found

    def close(self) -> None:
        self._found = None
        super().close()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


_call = threading.local()
"""Of this thread's request: whether its first byte was written, or an attempt made to."""


class _HttpConnection(HTTPConnection):
    """Notes when a request is written. What connecting itself writes (a CONNECT to a proxy, the TLS handshake) is none.

    Exact where the type of an exception is not: an SSLError comes from the handshake or from reading the answer.
    """

    _connecting = False

    def connect(self) -> None:
        self._connecting = True
        try:
            super().connect()
        finally:
            self._connecting = False

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # http.client would do it within, where it could not be told from the request
        if not self._connecting:
            _call.request_began = True
        super().send(data)


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        if time.time() - getattr(connection, "idle_since", time.time()) > IDLE:
            connection.close()  # urllib3 opens it again
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = time.time()
        super()._put_conn(conn)


class _HttpsPool(_HttpPool, HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


# --- what answers and errors mean, whoever the vendor -----------------------------------------------------------------


LONGEST_RETRY_AFTER = timedelta(days=1)

_SECONDS = re.compile(r"\d+", re.ASCII)  # `isdigit` takes a superscript two as well, and int() fails on it


def retry_after(value: str | None) -> timedelta | None:
    """Of a Retry-After: seconds, or a date (RFC 9110, 10.2.3); at most a day. None for anything else."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return min(timedelta(seconds=int(value.strip()[:10])), LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(value)
        wait = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(wait, timedelta()), LONGEST_RETRY_AFTER)


def never_connected(error: object) -> bool:
    """True if nothing of the request was written: no such host, refused, a certificate that is not trusted, a proxy
    that lets nobody through. It is known only of what `SingleAttemptSession.request` raised."""
    return getattr(error, "request_began", True) is False

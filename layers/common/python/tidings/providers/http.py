"""HTTP to one vendor, for providers and SDKs that use requests."""

import os
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import default_headers, get_environ_proxies
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Timeout

from tidings.providers.retry_after import retry_after

__all__ = ["SingleAttemptSession", "never_connected", "retry_after"]

IDLE = 30.0
"""Seconds, by the wall clock, after which an idle connection is not used again. A connection may die unnoticed, as
while Lambda freezes this process. A request on it would fail after it may have been accepted."""


class SingleAttemptSession:
    """Requests to the host of one URL, each sent once: never repeated or redirected. For any number of threads.

    A requests.Session reads the environment and a `.netrc` for every request, and a password from there would replace
    an access token. This session reads proxies and certificates from the environment once, and no `.netrc`. That also
    saves a third of a call's CPU.
    """

    def __init__(self, url: str, *, timeout: float, connections: int) -> None:
        """`timeout`: seconds, connecting included. `connections`: kept at most. Opens none."""
        to = urlsplit(url)
        self._host = f"{to.scheme}://{to.netloc}/"
        # One budget for both: the response gets what connecting leaves of it, at least half.
        self._limit: Any = Timeout(total=timeout, connect=timeout / 2)
        self._headers = dict(default_headers())
        self._proxies = get_environ_proxies(url)
        self._verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        self._adapter = _Adapter(pool_maxsize=connections, max_retries=0)

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, timeout: object = None, **content: Any
    ) -> requests.Response:
        """The whole response, whatever its status. `content`: data, json, params or auth, as requests takes them.
        `timeout`: from an SDK, ignored. Raise requests.RequestException. `never_connected` tells whether an exception
        was raised before the request's first byte was written."""
        _call.request_began = False
        try:
            if not url.startswith(self._host):
                raise requests.exceptions.InvalidURL(f"{urlsplit(url).netloc}, in a session with {self._host}")
            request = requests.PreparedRequest()
            request.prepare(method=method, url=url, headers={**self._headers, **(headers or {})}, **content)
            response = self._adapter.send(request, timeout=self._limit, verify=self._verify, proxies=self._proxies)
            response.content  # noqa: B018  # read to the end, so that the connection is free for the next request
            return response
        except Exception as error:
            error.request_began = _call.request_began  # type: ignore[attr-defined]
            raise

    def close(self) -> None:
        """Close the connections. The next request opens them again."""
        self._adapter.close()


class _Adapter(HTTPAdapter):
    """For one host. Its pool is looked up once, which saves a twentieth of a call's CPU, and closes idle
    connections."""

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
"""For this thread's request: whether writing its first byte was begun."""


class _HttpConnection(HTTPConnection):
    """Records when a request is written. Bytes of connecting (a CONNECT to a proxy, the TLS handshake) do not count.

    The type of an exception would not tell: an SSLError comes from the handshake, or from reading the response.
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
            self.connect()  # http.client would connect below, where it could not be told from the request
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


# --- responses and errors of any vendor -------------------------------------------------------------------------------


def never_connected(error: object) -> bool:
    """Whether no byte of the request was written: no such host, refused, an untrusted certificate, a proxy that refuses
    us. Known only for exceptions of `SingleAttemptSession.request`."""
    return getattr(error, "request_began", True) is False

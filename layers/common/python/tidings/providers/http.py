"""HTTP to one vendor, for SDKs that are built on requests."""

import os
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
from urllib3.exceptions import ClosedPoolError, ConnectTimeoutError, MaxRetryError, NewConnectionError, ProxyError
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
        `timeout` is what an SDK would allow; it is not used. Raise requests.RequestException."""
        if not url.startswith(self._host):
            raise requests.exceptions.InvalidURL(f"a request to {urlsplit(url).netloc}, in a session with {self._host}")
        request = requests.PreparedRequest()
        request.prepare(method=method, url=url, headers={**self._headers, **(headers or {})}, **content)
        response = self._adapter.send(request, timeout=self._limit, verify=self._verify, proxies=self._proxies)
        response.content  # noqa: B018  # read to its end, so that the connection is free for the next request
        return response

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


class _HttpPool(HTTPConnectionPool):
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
    pass


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


# --- what answers and errors mean, whoever the vendor -----------------------------------------------------------------


def retry_after(value: str | None) -> timedelta | None:
    """Of a Retry-After: seconds, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return timedelta(seconds=min(int(value), 86_400))
    try:
        return max(parsedate_to_datetime(value) - datetime.now(UTC), timedelta())
    except (ValueError, TypeError):
        return None


def never_connected(error: object) -> bool:
    """True if nothing can have been written.

    requests says ConnectionError for a refused connection and for one that broke after the request, which may have
    arrived. The urllib3 error inside tells: all but these three may have."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause: object = error.args[0] if isinstance(error, requests.RequestException) and error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    if isinstance(cause, ProxyError):
        cause = cause.original_error
    return isinstance(cause, NewConnectionError | ConnectTimeoutError | ClosedPoolError)

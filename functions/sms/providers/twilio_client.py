"""Twilio's SDK, made to do one HTTP call a method."""

import threading
import time
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from urllib3.util import Timeout

IDLE = 30.0
"""Seconds, by the clock on the wall, after which kept connections are not used again. One that has died unnoticed, as
while Lambda freezes this process, is found out by a request that may have been taken."""


class OneCall(TwilioHttpClient):  # type: ignore[misc]  # the SDK is not typed
    """The SDK's HTTP client: to the configured host (whatever TWILIO_EDGE says), never repeated or redirected, always
    with a timeout, and silent: the SDK's own log lines hold personal data."""

    def __init__(self, *, url: str, timeout: float, connections: int) -> None:
        """`timeout` in seconds, connecting included. Opens nothing."""
        super().__init__(pool_connections=True, timeout=timeout)
        self._url = url.rstrip("/")
        self._last = threading.local()
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, _Adapter(timeout=timeout, connections=connections))

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:
        self._last.answer = super().request(method, f"{self._url}{urlsplit(url).path}", *args, **kwargs)
        return self._last.answer

    def answer(self) -> Response:
        """The last answer in this thread."""
        return self._last.answer

    def log_request(self, kwargs: dict[str, Any]) -> None:
        pass

    def log_response(self, status_code: int, response: object) -> None:
        pass


class _Adapter(HTTPAdapter):
    def __init__(self, *, timeout: float, connections: int) -> None:
        # One budget for both: what connecting took is not given again to the answer, which is always left a half.
        self._limit = Timeout(total=timeout, connect=timeout / 2)
        self._lock = threading.Lock()
        self._used_at = time.time()
        super().__init__(pool_maxsize=connections, max_retries=0)

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        self._forget_idle()
        return super().send(*args, **{**kwargs, "timeout": self._limit})

    def _forget_idle(self) -> None:
        with self._lock:
            now = time.time()
            if now - self._used_at > IDLE:
                self.poolmanager.clear()
            self._used_at = now

"""Twilio's SDK, with exactly one HTTP call a method."""

import logging
import threading
from typing import Any
from urllib.parse import urlencode, urlsplit

from twilio.http import HttpClient
from twilio.http.response import Response

from tidings.providers.http import SingleAttemptSession

log = logging.getLogger(__name__)


class _LastCall(threading.local):
    response: Response | None = None


class SingleCallClient(HttpClient):  # type: ignore[misc]  # the SDK is not typed
    """The SDK's HTTP client, see "custom HTTP client" in its documentation. It calls the configured host (whatever
    TWILIO_EDGE says) once, and logs nothing: the SDK's own log lines hold personal data.
    """

    def __init__(self, *, url: str, timeout: float, connections: int) -> None:
        """`timeout` in seconds, connecting included. Opens nothing."""
        super().__init__(log, is_async=False, timeout=timeout)
        self._url = url.rstrip("/")
        self._session = SingleAttemptSession(self._url, timeout=timeout, connections=connections)
        self._last = _LastCall()

    def request(
        self,
        method: str,
        uri: str,
        *,
        params: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        **_: object,
    ) -> Response:
        asked = urlsplit(uri)  # the URI of a list's next page has a query
        received = self._session.request(
            method,
            f"{self._url}{asked._replace(scheme='', netloc='', fragment='').geturl()}",
            headers=headers,
            params=params,
            data=urlencode(data, doseq=True) if data is not None else None,
            auth=auth,
        )
        self._last.response = response = Response(received.status_code, received.text, received.headers)
        return response

    def forget(self) -> None:
        """Called before each call of the SDK, which may fail without a request."""
        self._last.response = None

    def response(self) -> Response | None:
        """The response to the last call in this thread, if there was one."""
        return self._last.response

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

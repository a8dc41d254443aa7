"""Twilio's SDK, made to do one HTTP call a method."""

import logging
import threading
from typing import Any
from urllib.parse import urlencode, urlsplit

from twilio.http import HttpClient
from twilio.http.response import Response

from tidings.providers.http import SingleAttemptSession

log = logging.getLogger(__name__)


class _Last(threading.local):
    answer: Response | None = None


class OneCall(HttpClient):  # type: ignore[misc]  # the SDK is not typed
    """The HTTP client that the SDK is given, as its documentation shows under "custom HTTP client". It calls the
    configured host (whatever TWILIO_EDGE says), never twice, and logs nothing: the SDK's own lines hold personal data.
    """

    def __init__(self, *, url: str, timeout: float, connections: int) -> None:
        """`timeout` in seconds, connecting included. Opens nothing."""
        super().__init__(log, is_async=False, timeout=timeout)
        self._url = url.rstrip("/")
        self._session = SingleAttemptSession(self._url, timeout=timeout, connections=connections)
        self._last = _Last()

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
        answer = self._session.request(
            method,
            f"{self._url}{urlsplit(uri).path}",
            headers=headers,
            params=params,
            data=urlencode(data, doseq=True) if data is not None else None,
            auth=auth,
        )
        self._last.answer = response = Response(answer.status_code, answer.text, answer.headers)
        return response

    def forget(self) -> None:
        """Before a call of the SDK, which may fail without a request."""
        self._last.answer = None

    def answer(self) -> Response | None:
        """The last answer in this thread, if the last call had one."""
        return self._last.answer

    def close(self) -> None:
        """Give up connections."""
        self._session.close()

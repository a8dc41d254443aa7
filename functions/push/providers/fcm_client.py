"""firebase-admin, made to do one call a message.

Left alone it posts a message up to six times (four times more after a 500 or 503, once more after a broken connection),
sleeps as long as Retry-After says, and posts twice more after a 401. None of this can be set from outside, so this
file reaches into two private names of it; the contract suite proves on every run that they still do what they did.
"""

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import firebase_admin
import requests
from firebase_admin import messaging
from firebase_admin.credentials import Certificate
from firebase_admin.exceptions import UnauthenticatedError
from google.auth import transport
from google.auth.exceptions import TransportError
from google.auth.transport.requests import Request
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from tidings.errors import TransientError
from urllib3.util import Timeout

FCM = "https://fcm.googleapis.com"  # the SDK knows no other

IDLE = 30.0
"""Seconds, by the clock on the wall, after which kept connections are not used again. One that has died unnoticed, as
while Lambda freezes this process, is found out by a request that may have been taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Seconds. They add up to the time that one send may take."""

    wait: float  # while another thread fetches the access token
    token: float  # to fetch it
    post: float

    @classmethod
    def within(cls, total: float) -> "Limits":
        return cls(wait=total / 4, token=total / 4, post=total / 2)


class FcmClient:
    """One app of firebase-admin, for any number of threads. Opens no connection before the first `send`."""

    def __init__(self, *, account: dict[str, Any], name: str, url: str, limits: Limits, connections: int) -> None:
        """Raise ValueError where the service account's key cannot be read."""
        credential = Certificate(account)
        self._credentials = credential.get_credential()
        self._limits = limits
        self._refreshing = threading.Lock()
        self._token_session = requests.Session()
        self._token_session.mount("https://", _Adapter(connections=1, limit=limits.token))
        self._token_session.mount("http://", _Adapter(connections=1, limit=limits.token))
        self._token_request = _TokenRequest(self._token_session)
        self._app = firebase_admin.initialize_app(credential, {"httpTimeout": limits.post}, name=name)

        self._session = messaging._get_messaging_service(self._app)._client.session
        self._session._auth_request = self._token_request
        self._session._max_refresh_attempts = 0  # a 401 is an answer, not an invitation to post again
        self._session.max_redirects = 0
        elsewhere = url.rstrip("/") if url.rstrip("/") != FCM else None
        self._session.mount(FCM, _Adapter(connections=connections, limit=limits.post, elsewhere=elsewhere))

    def send(self, message: messaging.Message) -> str:
        """The message's name. Raise what firebase-admin and google-auth raise."""
        self.authorize()
        try:
            return str(messaging.send(message, app=self._app))
        except UnauthenticatedError as error:
            if not isinstance(error, messaging.ThirdPartyAuthError):
                # Revoked before its time: the next message fetches another. The token stays, a thread may be using it.
                self._credentials.expiry = datetime.now(UTC).replace(tzinfo=None)
            raise

    def authorize(self) -> None:
        """Have a valid access token. Here and not inside the send, so that a failure is known to come before the POST,
        and so that many threads fetch one token, not one each."""
        if self._credentials.valid:
            return
        if not self._refreshing.acquire(timeout=self._limits.wait):
            raise TransientError("timeout", "no access token in time")
        try:
            if not self._credentials.valid:
                self._credentials.refresh(self._token_request)
        finally:
            self._refreshing.release()

    def close(self) -> None:
        firebase_admin.delete_app(self._app)
        self._session.close()
        self._token_session.close()


class _TokenRequest(Request):
    """google-auth's transport without its patience: it would repeat an exchange three times, seconds apart."""

    def __call__(self, *args: Any, **kwargs: Any) -> transport.Response:
        response: transport.Response = super().__call__(*args, **kwargs)  # type: ignore[no-untyped-call]
        if response.status == 429 or response.status >= 500:
            raise TransportError(f"HTTP {response.status}")  # type: ignore[no-untyped-call]
        return response


class _Adapter(HTTPAdapter):
    """One attempt, one budget for connecting and answering, and where the setting says so, another host."""

    def __init__(self, *, connections: int, limit: float, elsewhere: str | None = None) -> None:
        self._limit = Timeout(total=limit, connect=limit / 2)
        self._elsewhere = elsewhere
        self._lock = threading.Lock()
        self._used_at = time.time()
        super().__init__(pool_maxsize=connections, max_retries=0)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        self._forget_idle()
        if self._elsewhere is not None:
            request.url = f"{self._elsewhere}{request.path_url}"
            kwargs["proxies"] = get_environ_proxies(request.url)  # they were chosen for the host that it is not
        return super().send(request, *args, **{**kwargs, "timeout": self._limit})

    def _forget_idle(self) -> None:
        with self._lock:
            now = time.time()
            if now - self._used_at > IDLE:
                self.poolmanager.clear()
            self._used_at = now

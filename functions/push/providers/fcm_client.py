"""firebase-admin, made to do one call a message.

Left alone it posts a message up to six times (four times more after a 500 or 503, once more after a broken connection),
sleeps as long as Retry-After says, and posts twice more after a 401. None of this can be set from outside, so this
file gives it another session, by private names; the contract suite proves on every run that this one is used.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import firebase_admin
import requests
from firebase_admin import _http_client, messaging
from firebase_admin.credentials import Certificate
from firebase_admin.exceptions import UnauthenticatedError
from google.auth import transport
from google.auth.exceptions import TransportError
from google.auth.transport.requests import Request
from tidings.errors import TransientError
from tidings.providers.http import SingleAttemptSession

FCM = "https://fcm.googleapis.com"  # the SDK knows no other


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
        self._token_session = SingleAttemptSession(account["token_uri"], timeout=limits.token, connections=1)
        self._token_request = _TokenRequest(self._token_session)  # type: ignore[arg-type]  # it has what is used
        self._session = SingleAttemptSession(url, timeout=limits.post, connections=connections)
        self._app = firebase_admin.initialize_app(credential, name=name)
        authorized = _AuthorizedSession(self._session, url.rstrip("/"), self._credentials)
        service = messaging._get_messaging_service(self._app)
        service._client = _http_client.JsonHttpClient(session=authorized, retries=None)

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


class _AuthorizedSession:
    """What firebase-admin uses of google-auth's AuthorizedSession, which would post again after a 401, and ask another
    of Google's servers, in a thread of its own, where this account may be used from. It posts to `url` what is meant
    for FCM."""

    def __init__(self, session: SingleAttemptSession, url: str, credentials: Any) -> None:
        self._session = session
        self._url = url
        self._credentials = credentials

    def request(
        self, method: str, url: str, *, json: Any, headers: dict[str, str], timeout: object
    ) -> requests.Response:
        authorized = dict(headers)
        self._credentials.apply(authorized)  # it is valid: `authorize` has just seen to it
        return self._session.request(method, url.replace(FCM, self._url, 1), headers=authorized, json=json)

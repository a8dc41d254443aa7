"""firebase-admin, with exactly one call a message.

By default it posts a message up to six times (four times more after a 500 or 503, once more after a broken connection),
sleeps as long as Retry-After says, and posts twice more after a 401. No option changes that. So we replace its session,
through private names; the contract suite proves on every run that ours is used.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import firebase_admin
import requests
from firebase_admin import _http_client, messaging
from firebase_admin.credentials import Certificate
from google.auth import transport
from google.auth.exceptions import TransportError
from google.auth.transport.requests import Request

from tidings.domain.errors import DeliveryError, TransientError
from tidings.providers.fcm.errors import unauthorized
from tidings.providers.http import SingleAttemptSession

FCM = "https://fcm.googleapis.com"  # the SDK knows no other

LIFETIME = timedelta(hours=1)
"""The longest that we use an access token: Google's last that long.
https://developers.google.com/identity/protocols/oauth2/service-account#expiration"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Seconds. They add up to the time that one send may take."""

    wait: float  # while another thread fetches the access token
    token: float  # to fetch it
    post: float

    @classmethod
    def within(cls, total: float) -> "Limits":
        return cls(wait=total / 4, token=total / 4, post=total / 2)


@dataclass(kw_only=True, slots=True)
class Post:
    """How far one POST came. The SDK's exceptions do not tell that reliably, so the session records it here."""

    begun: bool = False  # False: nothing can have been accepted
    answer: requests.Response | None = None


class FcmClient:
    """One app of firebase-admin, for any number of threads. Opens no connection before the first `send`."""

    def __init__(self, *, account: dict[str, Any], name: str, url: str, limits: Limits, connections: int) -> None:
        """Raise ValueError if the service account's key cannot be read."""
        credential = Certificate(account)
        self._credentials = credential.get_credential()
        self._limits = limits
        self._refreshing = threading.Lock()
        self._token_session = SingleAttemptSession(account["token_uri"], timeout=limits.token, connections=1)
        self._token_request = _TokenRequest(self._token_session)  # type: ignore[arg-type]  # it has the methods that are used
        self._session = SingleAttemptSession(url, timeout=limits.post, connections=connections)
        self._app = firebase_admin.initialize_app(credential, name=name)
        self._authorized = _AuthorizedSession(self._session, url.rstrip("/"), self._credentials)
        service = messaging._get_messaging_service(self._app)
        service._client = _http_client.JsonHttpClient(session=self._authorized, retries=None)

    def send(self, message: messaging.Message, post: Post) -> str:
        """The message's name. `post` records how far it came, also if this raises, which may be any exception."""
        self._authorized.current.post = post
        name = messaging.send(message, app=self._app)
        if not isinstance(name, str) or not name:
            raise ValueError("no name")
        return name

    def authorize(self) -> None:
        """Fetch an access token, if there is no valid one. Not inside `send`, so that a failure is known to come before
        the POST, and so that many threads fetch one token, not one each. Raise DeliveryError."""
        if self._credentials.valid:
            return
        if not self._refreshing.acquire(timeout=self._limits.wait):
            raise TransientError("timeout", "no access token in time")
        try:
            if not self._credentials.valid:
                self._refresh()
        except DeliveryError:
            raise
        except Exception as error:
            raise unauthorized(error) from None
        finally:
            self._refreshing.release()

    def _refresh(self) -> None:
        """google-auth accepts any JSON as an access token, and one without an expiry as one that never expires."""
        self._credentials.refresh(self._token_request)
        now = _now()
        token, expiry = self._credentials.token, self._credentials.expiry
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            self._credentials.token = None
            raise TransientError("token_exchange", "no access token: the token endpoint gave none that can be used")
        if expiry is not None and expiry <= now:
            raise TransientError("token_exchange", "no access token: it had expired when it came")
        self._credentials.expiry = min(expiry or now + LIFETIME, now + LIFETIME)

    def renew(self) -> None:
        """FCM refused the access token before it expired: the next message fetches another. Keep the token, because
        another thread may use it now."""
        self._credentials.expiry = _now()

    def close(self) -> None:
        firebase_admin.delete_app(self._app)
        self._session.close()
        self._token_session.close()


_PASSING = (b'"temporarily_unavailable"', b'"server_error"', b'"internal_failure"')
"""google-auth also retries after these OAuth errors."""


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)  # as google-auth writes it


class _TokenRequest(Request):
    """google-auth's transport without retries: it would repeat an exchange three times, seconds apart."""

    def __call__(self, *args: Any, **kwargs: Any) -> transport.Response:
        response: transport.Response = super().__call__(*args, **kwargs)  # type: ignore[no-untyped-call]
        if response.status in (408, 429) or response.status >= 500 or any(word in response.data for word in _PASSING):
            raise TransportError(f"HTTP {response.status}")  # type: ignore[no-untyped-call]
        return response


class _AuthorizedSession:
    """The part of google-auth's AuthorizedSession that firebase-admin uses. The original posts again after a 401, and
    asks another Google server, in a thread of its own, from where this account may be used. This one posts to `url`
    instead of FCM."""

    def __init__(self, session: SingleAttemptSession, url: str, credentials: Any) -> None:
        self._session = session
        self._url = url
        self._credentials = credentials
        self.current = threading.local()

    def request(
        self, method: str, url: str, *, json: Any, headers: dict[str, str], timeout: object
    ) -> requests.Response:
        authorized = dict(headers)
        self._credentials.apply(authorized)  # valid, because `authorize` was called before
        post: Post = self.current.post
        post.begun = True
        post.answer = self._session.request(method, url.replace(FCM, self._url, 1), headers=authorized, json=json)
        return post.answer

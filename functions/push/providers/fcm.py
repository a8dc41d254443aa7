"""Push messages through Firebase Cloud Messaging (HTTP v1), with Google's own SDK."""

import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

from firebase_admin import messaging
from pydantic import AfterValidator, Field
from tidings.content import PushContent
from tidings.errors import AccountError, PermanentError
from tidings.ports import Clock, Outbound, Receipt
from tidings.settings import Settings

from .fcm_client import FcmClient, Limits
from .fcm_errors import fcm_errors

LONGEST = timedelta(seconds=2_419_200)
"""Four weeks: https://firebase.google.com/docs/cloud-messaging/concept-options#ttl"""

_NEEDED = ("project_id", "private_key", "client_email", "token_uri")


def _account(value: str) -> dict[str, Any]:
    try:
        text = value if value.lstrip().startswith("{") else Path(value).read_text(encoding="utf-8")
        account = json.loads(text)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("not JSON") from None
    if not isinstance(account, dict) or account.get("type") != "service_account":
        raise ValueError("not the key file of a service account")
    if missing := [key for key in _NEEDED if not account.get(key)]:
        raise ValueError(f"the key file lacks {', '.join(missing)}")
    return account


def _is_account(value: str) -> str:
    _account(value)
    return value


class FcmSettings(Settings):
    """TIDINGS_FCM_SERVICE_ACCOUNT and its neighbours."""

    prefix: ClassVar[str] = "TIDINGS_FCM_"

    service_account: Annotated[
        str,
        AfterValidator(_is_account),
        Field(repr=False, description="the path of a service account's JSON key file, or that JSON itself"),
    ]
    url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+/?$", description="http(s)://host[:port]")] = (
        "https://fcm.googleapis.com"
    )
    timeout: Annotated[
        float,
        Field(gt=0, le=600, description="seconds that one message may take: half the POST, half a new access token"),
    ] = 20
    connections: Annotated[int, Field(ge=1, le=1000, description="connections kept open")] = 50

    @property
    def account(self) -> dict[str, Any]:
        return _account(self.service_account)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class FcmProvider:
    """One POST a message, never repeated here."""

    name = "fcm"

    def __init__(self, settings: FcmSettings, *, now: Clock = _utc_now) -> None:
        self.timeout = timedelta(seconds=settings.timeout)
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()
        self._client: FcmClient | None = None

    def send(self, outbound: Outbound) -> Receipt:
        """Post the message; its name (`projects/*/messages/*`) is the receipt. Raise DeliveryError.

        A token exchange that fails comes before the POST: nothing was accepted then.
        """
        if not isinstance(outbound.content, PushContent):
            raise TypeError(f"a push message is made of PushContent, not of {type(outbound.content).__name__}")
        kind, _, target = outbound.recipient.partition(":")
        if kind not in ("token", "topic") or not target:
            raise PermanentError("invalid", "the recipient is neither token:... nor topic:...")
        client = self._opened()
        with fcm_errors(target):
            message = _message(kind, target, outbound.content, outbound.time_to_live, self._now)
            return Receipt(provider_message_id=client.send(message))

    def check(self) -> str:
        """Fetch an access token. Raise DeliveryError."""
        client = self._opened()
        with fcm_errors(str(self._settings.account["client_email"])):  # no token is in it; the account is masked
            client.authorize()
        return f"Google gave an access token for {self._settings.account['project_id']}"

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _opened(self) -> FcmClient:
        with self._lock:
            if self._client is None:
                try:
                    self._client = FcmClient(
                        account=self._settings.account,
                        name=f"tidings-{uuid.uuid4()}",  # firebase-admin keeps its apps in a global table
                        url=self._settings.url,
                        limits=Limits.within(self._settings.timeout),
                        connections=self._settings.connections,
                    )
                except ValueError:
                    raise AccountError("service_account", "the service account's private key cannot be read") from None
            return self._client


def _message(
    kind: str, target: str, content: PushContent, time_to_live: timedelta | None, now: Clock
) -> messaging.Message:
    """`kind` is "token" or "topic". The expiry is said thrice, once for each transport behind FCM."""
    shown = content.title is not None or content.body is not None or content.image is not None
    ttl = None if time_to_live is None else min(max(time_to_live, timedelta()), LONGEST)
    message = messaging.Message(
        notification=messaging.Notification(content.title, content.body, content.image) if shown else None,
        data=dict(content.data) or None,
        **(_expiry(ttl, now()) if ttl is not None else {}),
    )
    # Set, not given: the constructor warns that tokens will give way to installation IDs, but a token is none.
    setattr(message, kind, target)
    return message


def _expiry(ttl: timedelta, now: datetime) -> dict[str, Any]:
    # APNs takes a date, and 0 for "now or never":
    # https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
    until = int((now + ttl).timestamp()) if ttl else 0
    return {
        "android": messaging.AndroidConfig(ttl=ttl),
        "apns": messaging.APNSConfig(headers={"apns-expiration": str(until)}),
        "webpush": messaging.WebpushConfig(headers={"TTL": str(int(ttl.total_seconds()))}),
    }

"""Push messages through Firebase Cloud Messaging (HTTP v1), with Google's own SDK."""

import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from tidings.config.settings import Settings
from tidings.domain.channels import PushContent
from tidings.domain.errors import AccountError, DeliveryError, PermanentError
from tidings.ports import Acceptance, Clock, SendRequest
from tidings.providers.callbacks import CallbackAddresses
from tidings.providers.fcm.client import FcmClient, Limits, Post
from tidings.providers.fcm.errors import not_begun, refused_or_unanswered
from tidings.providers.fcm.message import acknowledged, build

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
    acknowledge: Annotated[
        bool,
        Field(
            strict=False,
            description="true: a message to a device has an address at which the app acknowledges it, if"
            " TIDINGS_RECEIPTS_URL is set. The app must take part",
        ),
    ] = False

    @property
    def account(self) -> dict[str, Any]:
        return _account(self.service_account)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class FcmProvider:
    """One POST a message, never repeated."""

    name = "fcm"

    def __init__(
        self, settings: FcmSettings, *, now: Clock = _utc_now, callbacks: CallbackAddresses | None = None
    ) -> None:
        """`callbacks`: where the app acknowledges; None: it is not asked to."""
        self._callbacks = callbacks
        self.timeout = timedelta(seconds=settings.timeout)
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()
        self._client: FcmClient | None = None

    def send(self, outbound: SendRequest) -> Acceptance:
        """Post the message. The Acceptance holds its name, `projects/*/messages/*`. Raise DeliveryError and nothing
        else: only this method knows whether the POST was begun."""
        kind, _, target = outbound.recipient.partition(":")
        if kind not in ("token", "topic") or not target:
            raise PermanentError("invalid", "the recipient is neither token:... nor topic:...")
        post = Post()
        try:
            if not isinstance(outbound.content, PushContent):
                raise TypeError(f"a push message is made of PushContent, not of {type(outbound.content).__name__}")
            client = self._opened()
            client.authorize()
            address = self._callbacks.for_attempt(self.name, outbound) if self._callbacks is not None else None
            content = acknowledged(outbound.content, kind, address)
            message = build(kind, target, content, outbound, self._now())
            reports = content is not outbound.content
            return Acceptance(provider_message_id=client.send(message, post), reports=reports)
        except DeliveryError:
            raise
        except Exception as error:
            if not post.begun:
                raise not_begun(error, target) from None
            verdict = refused_or_unanswered(error, post.answer, target)
            if isinstance(verdict, AccountError) and post.answer is not None and post.answer.status_code == 401:
                client.renew()
            raise verdict from None

    def check(self) -> str:
        """Fetch an access token. Raise DeliveryError."""
        self._opened().authorize()
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

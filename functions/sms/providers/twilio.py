"""SMS through Twilio's Programmable Messaging, with Twilio's own SDK."""

import re
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field
from tidings.content import SmsContent
from tidings.errors import AccountError, AmbiguousError, TransientError
from tidings.ports import Outbound, Receipt
from tidings.settings import Settings
from twilio.rest import Client

from .twilio_client import OneCall
from .twilio_errors import twilio_errors

VALIDITY = (timedelta(seconds=1), timedelta(seconds=36_000))
"""https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource"""


LISTED = 200
"""Messages of the list, newest first, that are looked at."""


class TwilioSettings(Settings):
    """TIDINGS_TWILIO_ACCOUNT_SID and its neighbours."""

    prefix: ClassVar[str] = "TIDINGS_TWILIO_"

    account_sid: Annotated[str, Field(pattern=r"^AC[0-9a-zA-Z]{1,64}$", description="the account, AC...")]
    auth_token: Annotated[str, Field(pattern=r"^[!-~]+$", repr=False, description="the account's secret")]
    sender: Annotated[
        str,
        Field(
            pattern=r"^(\+[1-9]\d{1,14}|\d{3,8}|MG[0-9a-fA-F]{32}|[A-Za-z0-9 &_+-]{1,11})$",
            description="a number, short code or name to send from, or a messaging service, MG...",
        ),
    ]
    url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+/?$", description="http(s)://host[:port]")] = (
        "https://api.twilio.com"
    )
    timeout: Annotated[float, Field(gt=0, le=600, description="seconds to wait for an answer, connecting included")] = (
        15
    )
    connections: Annotated[int, Field(ge=1, le=1000, description="connections kept open")] = 50
    status_callback: Annotated[
        str | None, Field(pattern=r"^https?://\S+$", description="where Twilio reports what became of a message")
    ] = None


class TwilioProvider:
    """One POST a message, never repeated here."""

    name = "twilio"

    def __init__(self, settings: TwilioSettings) -> None:
        self.timeout = timedelta(seconds=settings.timeout)
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: tuple[Client, OneCall] | None = None
        service = re.fullmatch("MG[0-9a-fA-F]{32}", settings.sender)  # a name may begin with MG, too
        self._options = {
            "messaging_service_sid" if service else "from_": settings.sender,
            **({"status_callback": settings.status_callback} if settings.status_callback is not None else {}),
        }

    def send(self, outbound: Outbound) -> Receipt:
        """Create the message; its SID is the receipt. Raise DeliveryError."""
        if not isinstance(outbound.content, SmsContent):
            raise TypeError(f"an SMS is made of SmsContent, not of {type(outbound.content).__name__}")
        client, http = self._client()
        options: dict[str, Any] = dict(self._options)
        if outbound.time_to_live is not None:
            options["validity_period"] = _validity_period(outbound.time_to_live)
        with twilio_errors(outbound.recipient, http.answer):
            message = client.messages.create(to=outbound.recipient, body=outbound.content.text, **options)
        if not message.sid:
            raise AmbiguousError("unreadable", "Twilio answered without a message SID")
        return Receipt(provider_message_id=message.sid)

    def accepted(self, outbound: Outbound, since: datetime) -> Sequence[Receipt]:
        """Reconciler, by Twilio's message list: same number, same sender, exactly this body.

        Not by DateSent: a message that still waits at Twilio has none. The list may lag behind an acceptance by some
        seconds; the pause before the next attempt is longer (settling.LISTED_AFTER). What Twilio changes or hides
        (smart encoding, redacted bodies, a trial account's prefix) is not found.
        """
        if not isinstance(outbound.content, SmsContent):
            raise TypeError(f"an SMS is made of SmsContent, not of {type(outbound.content).__name__}")
        client, http = self._client()
        sender = self._settings.sender
        with twilio_errors(outbound.recipient, http.answer):
            listed = list(client.messages.page(to=outbound.recipient, page_size=LISTED))
            recent = [message for message in listed if message.date_created >= since]
            found = [
                Receipt(provider_message_id=message.sid)
                for message in recent
                if sender in (message.from_, message.messaging_service_sid) and message.body == outbound.content.text
            ]
        if not found and len(recent) == LISTED:
            raise TransientError("list", f"more than {LISTED} messages to this number since then")
        return found

    def check(self) -> str:
        """Fetch the account: one GET. Raise DeliveryError."""
        client, http = self._client()
        with twilio_errors(self._settings.account_sid, http.answer):  # no number is in it; the account is masked
            status = str(client.api.v2010.accounts(self._settings.account_sid).fetch().status)
        if status != "active":
            raise AccountError("status", f"the account is {status}")
        return "the account is active"

    def close(self) -> None:
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened[1].close()

    def _client(self) -> "tuple[Client, OneCall]":
        with self._lock:
            if self._opened is None:
                given = self._settings
                http = OneCall(url=given.url, timeout=given.timeout, connections=given.connections)
                # The name and the secret are both given: else the SDK takes them from the environment.
                self._opened = Client(given.account_sid, given.auth_token, http_client=http), http
            return self._opened


def _validity_period(time_to_live: timedelta) -> int:
    """In seconds. An expired message was not claimed; one that has less than a second left gets that second."""
    shortest, longest = VALIDITY
    return int(min(max(time_to_live, shortest), longest).total_seconds())

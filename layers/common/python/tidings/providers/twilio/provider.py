"""SMS through Twilio's Programmable Messaging, with Twilio's own SDK."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from twilio.rest import Client

from tidings.domain.channels import SmsContent
from tidings.domain.errors import AccountError, AmbiguousError, TransientError
from tidings.domain.timing import REPORTED_AFTER
from tidings.ports import Acceptance, SendRequest
from tidings.providers.callbacks import CallbackAddresses
from tidings.providers.twilio.client import SingleCallClient
from tidings.providers.twilio.codes import SERVICE
from tidings.providers.twilio.errors import NOT_SENT, not_sent, twilio_errors, unsent
from tidings.providers.twilio.receipts import RETRIES
from tidings.providers.twilio.settings import TwilioSettings

VALIDITY = (timedelta(seconds=1), timedelta(seconds=36_000))
"""https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource"""

LISTED = 200
"""Messages read from the list, newest first."""

_SID = re.compile(r"[!-~]{1,64}")


class TwilioProvider:
    """One POST a message, never repeated."""

    name = "twilio"

    def __init__(self, settings: TwilioSettings, callbacks: CallbackAddresses | None = None) -> None:
        """`callbacks`: where Twilio reports later; None: it is not asked to."""
        self.timeout = timedelta(seconds=settings.timeout)
        self._settings = settings
        self._callbacks = callbacks
        self._lock = threading.Lock()
        self._opened: tuple[Client, SingleCallClient] | None = None
        service = re.fullmatch(SERVICE, settings.sender)  # a name may also begin with MG
        self._options = {"messaging_service_sid" if service else "from_": settings.sender}

    def send(self, outbound: SendRequest) -> Acceptance:
        """Create the message. The Acceptance holds its SID. Raise DeliveryError."""
        if not isinstance(outbound.content, SmsContent):
            raise TypeError(f"an SMS is made of SmsContent, not of {type(outbound.content).__name__}")
        options: dict[str, Any] = dict(self._options)
        if outbound.time_to_live is not None:
            options["validity_period"] = _validity_period(outbound.time_to_live)
        if self._callbacks is not None:
            options["status_callback"] = f"{self._callbacks.for_attempt(self.name, outbound)}{RETRIES}"
        with self._waiting_for_receipts(), self._call(outbound.recipient) as client:
            message = client.messages.create(to=outbound.recipient, body=outbound.content.text, **options)
            if message.status in NOT_SENT:
                raise not_sent(
                    message.status, message.error_code, message.error_message, outbound.recipient, self._settings.sender
                )
            if not _SID.fullmatch(message.sid):
                raise AmbiguousError("unreadable", "Twilio answered without a message SID")
        return Acceptance(provider_message_id=message.sid, reports=self._callbacks is not None)

    def accepted(self, outbound: SendRequest, since: datetime) -> Sequence[Acceptance]:
        """AcceptanceLookup, by Twilio's list of messages: same number, same sender, exactly this body.

        Not by DateSent, which a message that still waits at Twilio lacks. The list may lag some seconds behind an
        acceptance; the pause before the next attempt is longer (timing.LISTED_AFTER). A body that Twilio changes or
        hides (smart encoding, redaction, a trial account's prefix) is not found. Failed messages are listed but have
        not arrived; since 2024 the list also holds messages refused with HTTP 400.
        """
        if not isinstance(outbound.content, SmsContent):
            raise TypeError(f"an SMS is made of SmsContent, not of {type(outbound.content).__name__}")
        sender = self._settings.sender
        with self._call(outbound.recipient) as client:
            listed = list(client.messages.page(to=outbound.recipient, page_size=LISTED))
            recent = [message for message in listed if message.date_created >= since]
            found = [
                Acceptance(provider_message_id=message.sid, reports=self._callbacks is not None)
                for message in recent
                if sender in (message.from_, message.messaging_service_sid)
                and message.body == outbound.content.text
                and message.status not in NOT_SENT
            ]
        if not found and len(recent) == LISTED:
            raise TransientError("list", f"more than {LISTED} messages to this number since then")
        return found

    def check(self) -> str:
        """Fetch the account: one GET. Raise DeliveryError."""
        with self._call(self._settings.account_sid) as client:  # the account is masked in the place of a number
            status = str(client.api.v2010.accounts(self._settings.account_sid).fetch().status)
        if status != "active":
            raise AccountError("status", f"the account is {status}")
        return "the account is active"

    def close(self) -> None:
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened[1].close()

    @contextmanager
    def _waiting_for_receipts(self) -> Iterator[None]:
        """Where Twilio was asked to report, an ambiguous attempt is not repeated before its receipt may have come."""
        try:
            yield
        except AmbiguousError as error:
            if self._callbacks is not None:
                error.retry_after = max(error.retry_after or REPORTED_AFTER, REPORTED_AFTER)
            raise

    @contextmanager
    def _call(self, recipient: str) -> Iterator[Client]:
        """The SDK, for one call. Its errors become DeliveryError."""
        try:
            client, http = self._client()
        except Exception as error:
            raise unsent(error) from None
        http.forget()
        with twilio_errors(recipient, self._settings.sender, http.response):
            yield client

    def _client(self) -> "tuple[Client, SingleCallClient]":
        with self._lock:
            if self._opened is None:
                given = self._settings
                http = SingleCallClient(url=given.url, timeout=given.timeout, connections=given.connections)
                # Both account and secret are passed: else the SDK reads them from the environment.
                self._opened = Client(given.account_sid, given.auth_token, http_client=http), http
            return self._opened


def _validity_period(time_to_live: timedelta) -> int:
    """In seconds, at least one: an expired notification is not claimed."""
    shortest, longest = VALIDITY
    return int(min(max(time_to_live, shortest), longest).total_seconds())

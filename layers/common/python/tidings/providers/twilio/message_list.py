"""Twilio's list of messages. https://www.twilio.com/docs/messaging/api/message-resource#retrieve-a-list-of-messages"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from twilio.rest import Client

from tidings.config.settings import load
from tidings.domain.errors import AccountError, AmbiguousError, TransientError
from tidings.ports.message_list import ListedMessage
from tidings.providers.callbacks import callback_addresses
from tidings.providers.twilio.client import SingleCallClient
from tidings.providers.twilio.errors import twilio_errors
from tidings.providers.twilio.receipts import kind_of
from tidings.providers.twilio.settings import TwilioSettings

PAGE = 1000  # the largest
PAUSES = (1.0, 4.0, 16.0)  # seconds before a read is repeated, which is harmless
LONGEST_PAUSE = timedelta(minutes=1)  # if Twilio names one
NOT_FOUND = "20404"

T = TypeVar("T")


class TwilioMessageList:
    """MessageList. Not thread-safe."""

    def __init__(
        self, settings: TwilioSettings, *, reports: bool = True, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """Opens nothing. `reports`: Twilio is asked to report."""
        self.reports = reports
        self._settings = settings
        self._sleep = sleep
        self._http = SingleCallClient(url=settings.url, timeout=settings.timeout, connections=1)
        self._client = Client(settings.account_sid, settings.auth_token, http_client=self._http)

    def sent_between(self, since: datetime, until: datetime) -> Iterator[Sequence[ListedMessage]]:
        """Twilio may take the filters as whole days, so the times are looked at here too. What waits at Twilio, and has
        not been sent, is not listed. The SDK writes a time without its zone, as if it were in UTC."""
        after, before = since.astimezone(UTC), until.astimezone(UTC)
        page: Any = self._read(
            lambda: self._client.messages.page(date_sent_after=after, date_sent_before=before, page_size=PAGE)
        )
        while page is not None:
            found = [message for message in page if message.date_sent is not None]
            yield [
                self._listed(message)
                for message in found
                if since <= message.date_sent < until and str(message.direction).startswith("outbound")
            ]
            page = self._read(page.next_page)

    def fetch(self, provider_message_id: str) -> ListedMessage | None:
        try:
            message = self._read(self._client.messages(provider_message_id).fetch)
        except AccountError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        return self._listed(message)

    def close(self) -> None:
        self._http.close()

    def _read(self, call: Callable[[], T]) -> T:
        for pause in PAUSES:
            try:
                return self._called(call)
            except (TransientError, AmbiguousError) as error:
                self._sleep(max(pause, _seconds(error.retry_after)))
        return self._called(call)

    def _called(self, call: Callable[[], T]) -> T:
        self._http.forget()
        # The account is masked in the place of a number.
        with twilio_errors(self._settings.account_sid, self._settings.sender, self._http.response):
            return call()

    def _listed(self, message: Any) -> ListedMessage:
        return ListedMessage(
            provider_message_id=message.sid,
            status=message.status,
            kind=kind_of(message.status, str(message.error_code or ""))[0],
            recipient=message.to or "",
            is_ours=self._settings.sender in (message.from_, message.messaging_service_sid),
            created_at=message.date_created or message.date_sent,
        )


def _seconds(retry_after: timedelta | None) -> float:
    return min(retry_after or timedelta(0), LONGEST_PAUSE).total_seconds()


def from_settings() -> TwilioMessageList:
    """Raise ConfigurationError."""
    return TwilioMessageList(load(TwilioSettings), reports=callback_addresses() is not None)

"""A provider's own list of messages, to be compared with ours. Implemented in `providers`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidings.domain.receipt import ReceiptKind


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedMessage:
    """A message as the provider has it."""

    provider_message_id: str
    status: str  # in the provider's words
    kind: ReceiptKind | None  # what that status means; None: a status that we do not know
    recipient: str
    is_ours: bool  # it was sent with the sender of these settings; another sender is another system's
    created_at: datetime


class MessageList(Protocol):
    @property
    def reports(self) -> bool:
        """The provider is asked to report what becomes of a message. Else `sent` is all that we can know."""

    def sent_between(self, since: datetime, until: datetime) -> Iterator[Sequence[ListedMessage]]:
        """Page by page, in any order: sent at or after `since`, and before `until`. Raise DeliveryError."""

    def fetch(self, provider_message_id: str) -> ListedMessage | None:
        """None: the provider has none with this id. Raise DeliveryError."""

    def close(self) -> None:
        """Close the connections."""

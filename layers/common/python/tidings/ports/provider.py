"""What the pipeline needs from a vendor. Implemented in `providers`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from tidings.domain.channels import Content
from tidings.domain.notification import Priority
from tidings.domain.receipt import By


@dataclass(frozen=True, kw_only=True, slots=True)
class SendRequest:
    """One attempt of one notification."""

    id: str
    tenant: str = ""
    attempt: int
    generation: int = 1
    recipient: str  # the stored form, see Notification.recipient
    content: Content
    expires_at: datetime | None = None
    time_to_live: timedelta | None = None  # until expires_at, on the database's clock; None: the vendor's maximum
    priority: Priority = Priority.NORMAL
    category: str | None = None  # the recipient may opt out of it, if the channel can say how


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """The provider accepted."""

    provider_message_id: str
    response: str | None = None  # its text, if that helps to find the message there: an SMTP server's reply
    by: By = By.PROVIDER  # how we know
    reports: bool = False  # the vendor was asked to report later what became of it


class Provider(Protocol):
    """One vendor. `send` is called from several threads and makes exactly one call to the vendor."""

    name: str
    timeout: timedelta  # the longest one `send` may take

    def send(self, request: SendRequest) -> Acceptance:
        """Return once the vendor has accepted; otherwise raise one of the four kinds of DeliveryError."""

    def close(self) -> None:
        """Close connections. The next `send` opens them again."""


@runtime_checkable
class AcceptanceLookup(Protocol):
    """Also implemented by a provider whose vendor can look up what it accepted, for `on_ambiguous: reconcile`."""

    def accepted(self, request: SendRequest, since: datetime) -> Sequence[Acceptance]:
        """What the vendor has accepted since then with the same recipient, sender and content. One call, and nothing is
        sent. Raise DeliveryError if the vendor cannot tell."""


@runtime_checkable
class Checkable(Protocol):
    """Also implemented by a provider that can check its credentials, for the doctor."""

    def check(self) -> str:
        """Connect and log in as `send` does, without sending. Return one line about the result. Raise DeliveryError."""

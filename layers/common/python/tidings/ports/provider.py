"""What the core asks of a vendor: implemented in `functions/*/providers`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from tidings.domain.channels import Content
from tidings.domain.notification import Priority


@dataclass(frozen=True, kw_only=True, slots=True)
class SendRequest:
    """What a provider is given: one notification, one attempt."""

    id: str
    attempt: int
    recipient: str  # the stored form, see Notification.recipient
    content: Content
    expires_at: datetime | None = None
    time_to_live: timedelta | None = (
        None  # until expires_at, on the database's clock; None: as long as the vendor allows
    )
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """The provider accepted."""

    provider_message_id: str
    response: str | None = (
        None  # what it said with that, where it helps to find the message there: an SMTP server's text
    )


class Provider(Protocol):
    """One vendor. `send` is called from several threads at once and makes exactly one call to the vendor."""

    name: str
    timeout: timedelta  # the longest one `send` may take

    def send(self, outbound: SendRequest) -> Acceptance:
        """Return once the vendor has accepted; else raise one of the four kinds of DeliveryError."""

    def close(self) -> None:
        """Give up connections. The next `send` opens them again."""


@runtime_checkable
class AcceptanceLookup(Protocol):
    """What a provider also is if its vendor can tell what it has accepted, for `on_ambiguous: reconcile`."""

    def accepted(self, outbound: SendRequest, since: datetime) -> Sequence[Acceptance]:
        """What the vendor has accepted since then that looks just like this one: same recipient, sender and content.
        One call, as `send`, and it sends nothing. Raise DeliveryError if the vendor cannot tell."""


@runtime_checkable
class Checkable(Protocol):
    """What a provider also is if it can tell whether its vendor would let it in, for the doctor."""

    def check(self) -> str:
        """Connect and log in as `send` does, and send nothing. One line tells what was seen. Raise DeliveryError."""

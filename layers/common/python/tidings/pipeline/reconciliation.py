"""`on_ambiguous: reconcile`: before sending again, ask the provider whether it had arrived after all."""

from collections.abc import Sequence
from datetime import datetime

from tidings.domain.errors import AccountError, AmbiguousError, DeliveryError, StoreUnavailable
from tidings.domain.notification import Notification, Status, TimelineEntry
from tidings.domain.timing import CLOCK_SKEW
from tidings.ports import Acceptance, AcceptanceLookup, Provider, Selection, SendRequest, Store

RIVALS = 1000
"""Notifications to one recipient, the newest, among which reconciling looks for the owner of a message."""


def earlier(notification: Notification, outbound: SendRequest, provider: Provider, store: Store) -> Acceptance | None:
    """The receipt of an earlier attempt that was ambiguous and did arrive; None if it is to be sent.

    Asks the provider for what it has accepted since the first such attempt. A message that is another notification's
    by its row is not ours. While others of the tenant, to the same recipient and with the same content, may have sent
    one of which their row tells nothing, nobody can say whose it is: it stays ambiguous, and when the attempts are used
    up an operator decides. What he then replays is sent.
    Raise AmbiguousError if nobody can tell or the provider does not answer, AccountError if it refuses us.
    """
    if notification.attempt == notification.generation == 1:
        return None
    try:
        open_ends = _open_ends(notification, store)
        if not open_ends:
            return None
        if not isinstance(provider, AcceptanceLookup):
            raise AmbiguousError("reconcile", f"{provider.name} cannot tell what it has accepted")
        since = min(event.started_at or event.at for event in open_ends) - CLOCK_SKEW
        arrived = provider.accepted(outbound, since)
        if not arrived:
            return None
        unclaimed, rivals = _disputed(notification, arrived, since, store)
    except AccountError:
        raise
    except (DeliveryError, StoreUnavailable) as error:
        raise AmbiguousError(
            "reconcile",
            f"not sent again, because nobody could say whether it had arrived: {error}",
            retry_after=error.retry_after if isinstance(error, DeliveryError) else None,
        ) from None
    if unclaimed and not rivals:
        return unclaimed[0]
    if unclaimed and open_ends[-1].generation == notification.generation:
        raise AmbiguousError("reconcile", "it may be one that arrived, or another notification with the same text")
    return None


def _open_ends(notification: Notification, store: Store) -> Sequence[TimelineEntry]:
    """Its attempts of which nobody knows whether they arrived, in every generation."""
    return [event for event in store.events(notification.id) if event.error_class == AmbiguousError.kind]


def _disputed(
    notification: Notification, arrived: Sequence[Acceptance], since: datetime, store: Store
) -> tuple[Sequence[Acceptance], bool]:
    """Those that arrived and are in no other row; and whether another row may lay claim to one of them.

    The rows are read after the provider was asked: whatever it listed is by now in its row, or its row is being sent,
    or its timeline has an open end. What a row was sent as at last says nothing of its earlier ones.
    """
    selection = Selection(tenant=notification.tenant, channel=notification.channel, recipient=notification.recipient)
    others = [row for row in store.find(selection, RIVALS) if row.id != notification.id]
    taken = {row.provider_message_id for row in others}
    unclaimed = [receipt for receipt in arrived if receipt.provider_message_id not in taken]
    begun = since - CLOCK_SKEW  # the list's `since` is on the vendor's clock
    lately = [row for row in others if row.status is Status.SENDING or row.updated_at >= begun] if unclaimed else []
    return unclaimed, any(_rivals(row, notification, store) for row in lately)


def _rivals(row: Notification, notification: Notification, store: Store) -> bool:
    """Whether it may have sent the same text, and its row does not say which message that was."""
    full = store.get(row.tenant, row.id)
    if full is None or full.content != notification.content:
        return False
    return full.status is Status.SENDING or bool(_open_ends(full, store))

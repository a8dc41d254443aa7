"""`on_ambiguous: reconcile`: before sending again, ask the provider whether it had arrived after all."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tidings.errors import AccountError, AmbiguousError, DeliveryError, StoreUnavailable
from tidings.notification import Notification, Status
from tidings.ports import Outbound, Provider, Receipt, Reconciler, Selection, Store

RIVALS = 1000
"""Notifications to one recipient, the newest, among which reconciling looks for the owner of a message."""

CLOCKS = timedelta(minutes=1)
"""How far a vendor's clock, which may tell whole seconds only, and the database's may be apart."""


def earlier(notification: Notification, outbound: Outbound, provider: Provider, store: Store) -> Receipt | None:
    """The receipt of an earlier attempt that was ambiguous and did arrive; None if it is to be sent.

    Asks the provider for what it has accepted since the first such attempt. A message that is another notification's
    by its row is not ours. Where others of the tenant, to the same recipient and with the same content, are as open as
    this one, and fewer messages arrived than could be theirs and ours, nobody can tell whose they are: it stays
    ambiguous, and when the attempts are used up an operator decides. What he then replays is sent.
    Raise AmbiguousError if nobody can tell or the provider does not answer, AccountError if it refuses us.
    """
    if notification.attempt == notification.generation == 1:
        return None
    try:
        open_ends = [event for event in store.events(notification.id) if event.error_class == AmbiguousError.kind]
        if not open_ends:
            return None
        if not isinstance(provider, Reconciler):
            raise AmbiguousError("reconcile", f"{provider.name} cannot tell what it has accepted")
        since = min(event.started_at or event.at for event in open_ends) - CLOCKS
        arrived = provider.accepted(outbound, since)
        if not arrived:
            return None
        ours, rivals = _disputed(notification, arrived, since, store)
    except AccountError:
        raise
    except (DeliveryError, StoreUnavailable) as error:
        raise AmbiguousError(
            "reconcile",
            f"not sent again, because nobody could say whether it had arrived: {error}",
            retry_after=error.retry_after if isinstance(error, DeliveryError) else None,
        ) from None
    if len(ours) > len(rivals):  # enough for all: each takes its own, also where they ask at one time
        return ours[sorted([notification.id, *rivals]).index(notification.id)]
    if ours and open_ends[-1].generation == notification.generation:
        raise AmbiguousError("reconcile", "it may be one that arrived, or another notification with the same text")
    return None


def _disputed(
    notification: Notification, arrived: Sequence[Receipt], since: datetime, store: Store
) -> tuple[Sequence[Receipt], Sequence[str]]:
    """Those that arrived and are in no other row, and the ids of the other rows that may lay claim to them.

    The rows are read after the provider was asked: whatever it listed is by now in its row, or its row is open.
    """
    selection = Selection(tenant=notification.tenant, channel=notification.channel, recipient=notification.recipient)
    others = [row for row in store.find(selection, RIVALS) if row.id != notification.id]
    taken = {row.provider_message_id for row in others}
    open_rows = [row for row in others if row.provider_message_id is None and _is_open(row, since)]
    full = [store.get(row.tenant, row.id) for row in open_rows]
    rivals = [row.id for row in full if row is not None and row.content == notification.content]
    return [receipt for receipt in arrived if receipt.provider_message_id not in taken], rivals


def _is_open(row: Notification, since: datetime) -> bool:
    return row.status is Status.SENDING or (row.error_class == AmbiguousError.kind and row.updated_at >= since)

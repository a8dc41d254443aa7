"""`on_ambiguous: reconcile`: before sending again, ask the provider whether it accepted an earlier attempt."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tidings.domain.errors import AccountError, AmbiguousError, DeliveryError, StoreUnavailable
from tidings.domain.notification import Notification, Status, TimelineEntry
from tidings.domain.receipt import By
from tidings.domain.timing import CLOCK_SKEW
from tidings.ports import Acceptance, AcceptanceLookup, Provider, Selection, SendRequest, Store

RIVALS = 1000
"""The newest notifications to the same recipient, among which the owner of an accepted message is looked for."""


def earlier_acceptance(
    notification: Notification, request: SendRequest, provider: Provider, store: Store
) -> Acceptance | None:
    """The acceptance of an earlier ambiguous attempt. None: it was not accepted, so send it.

    Asks the provider for what it has accepted since the first such attempt, and leaves out messages that belong to the
    rows of other notifications. Another notification of the tenant with the same recipient and content may have an
    ambiguous attempt of its own. Then nobody can say whose message it is: the attempt stays ambiguous, and once the
    attempts are used up an operator decides. What the operator replays is sent.
    Raise AmbiguousError if nobody can tell or the provider does not answer, AccountError if it refuses us."""
    if notification.attempt == notification.generation == 1:
        return None
    try:
        ambiguous = _ambiguous_attempts(notification, store)
        if not ambiguous:
            return None
        if not isinstance(provider, AcceptanceLookup):
            raise AmbiguousError("reconcile", f"{provider.name} cannot tell what it has accepted")
        since = min(entry.started_at or entry.at for entry in ambiguous) - CLOCK_SKEW
        accepted = provider.accepted(request, since)
        if not accepted:
            return None
        unowned, has_rivals = _without_owner(notification, accepted, since, store)
    except AccountError:
        raise
    except (DeliveryError, StoreUnavailable) as error:
        raise AmbiguousError(
            "reconcile",
            f"not sent again, because the lookup of earlier attempts failed: {error}",
            retry_after=error.retry_after if isinstance(error, DeliveryError) else None,
        ) from None
    if unowned and not has_rivals:
        return replace(unowned[0], by=By.LOOKUP)
    if unowned and ambiguous[-1].generation == notification.generation:
        raise AmbiguousError(
            "reconcile",
            "the provider accepted this text, perhaps for another notification to the same recipient",
        )
    return None


def _ambiguous_attempts(notification: Notification, store: Store) -> Sequence[TimelineEntry]:
    """In every generation."""
    return [entry for entry in store.events(notification.id) if entry.error_class == AmbiguousError.kind]


def _without_owner(
    notification: Notification, accepted: Sequence[Acceptance], since: datetime, store: Store
) -> tuple[Sequence[Acceptance], bool]:
    """The acceptances that no other row has, and whether another row may own one of them.

    The rows are read after the provider was asked: by now, whatever it listed is in its row, or its row is being sent,
    or its timeline has an ambiguous attempt. A row's last acceptance says nothing of its earlier attempts."""
    selection = Selection(tenant=notification.tenant, channel=notification.channel, recipient=notification.recipient)
    others = [row for row in store.find(selection, RIVALS) if row.id != notification.id]
    owned = {row.provider_message_id for row in others}
    unowned = [acceptance for acceptance in accepted if acceptance.provider_message_id not in owned]
    begun = since - CLOCK_SKEW  # `since` is on the provider's clock
    recent = [row for row in others if row.status is Status.SENDING or row.updated_at >= begun] if unowned else []
    return unowned, any(_is_rival(row, notification, store) for row in recent)


def _is_rival(row: Notification, notification: Notification, store: Store) -> bool:
    """It may have sent the same text, and its row does not say which message that was."""
    full = store.get(row.tenant, row.id)
    if full is None or full.content != notification.content:
        return False
    return full.status is Status.SENDING or bool(_ambiguous_attempts(full, store))

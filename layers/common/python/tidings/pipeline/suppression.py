"""Suppression: what suppresses a recipient, for how long, and what follows from it for an attempt. All of it is here.

The claim looks the recipients up (`Claims.suppressed`), so a notification that waits is decided when it is due.
"""

import enum
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from tidings.domain.errors import PermanentError, Suppressed
from tidings.domain.notification import Notification
from tidings.domain.receipt import Receipt, ReceiptKind
from tidings.domain.timing import HARD_BOUNCE_LASTS
from tidings.pipeline.outcomes import Outcome
from tidings.ports import Suppression

log = logging.getLogger(__name__)


class Reason(enum.StrEnum):
    """Why a recipient is suppressed. A full mailbox is no reason: it is emptied some day."""

    HARD_BOUNCE = "hard_bounce"
    MAILBOX_UNKNOWN = "mailbox_unknown"
    TOKEN_DEAD = "token_dead"  # noqa: S105 (a reason)
    COMPLAINT = "complaint"
    OPTED_OUT = "opted_out"
    MANUAL = "manual"


LASTS: Mapping[str, timedelta] = {Reason.HARD_BOUNCE: HARD_BOUNCE_LASTS, Reason.MAILBOX_UNKNOWN: HARD_BOUNCE_LASTS}
"""How long each reason suppresses. The others do until the entry is removed."""


class Enforcement(enum.StrEnum):
    """What suppression does."""

    OFF = "off"  # nothing is looked up
    WARN = "warn"  # all is sent, and the log and the timeline say what would have been suppressed
    ON = "on"


# --- what suppresses --------------------------------------------------------------------------------------------------


def suppression_for(notification: Notification, outcome: Outcome) -> Suppression | None:
    """Only a permanent error whose provider names a reason, and only the notification's own recipient."""
    if isinstance(outcome, PermanentError) and outcome.suppress in set(Reason):
        return suppression(notification.recipient, outcome.suppress, notification_id=notification.id)
    return None


def reason_of(receipt: Receipt) -> Reason | None:
    """Why a receipt suppresses its recipient. None: it does not. A failure does only if the provider's parser names a
    reason, from its table of codes."""
    match receipt.kind:
        case ReceiptKind.COMPLAINED:
            return Reason.COMPLAINT
        case ReceiptKind.OPTED_OUT:
            return Reason.OPTED_OUT
        case ReceiptKind.FAILED_HARD if receipt.suppress in set(Reason):
            return Reason(receipt.suppress)
        case _:
            return None


def suppression(
    recipient: str, reason: str, *, source: str = "provider", notification_id: str | None = None
) -> Suppression:
    """An entry that lasts as long as its reason does."""
    return Suppression(
        recipient=recipient,
        reason=reason,
        source=source,
        lasts=LASTS.get(reason),
        notification_id=notification_id,
    )


# --- what follows for an attempt --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What suppression does to one attempt."""

    error: Suppressed | None = None  # it is not sent
    left_out: Mapping[str, str] = field(default_factory=dict)  # cc and bcc that get no copy, and why
    note: str | None = None  # for the timeline, if a provider is called


NOTHING = Verdict()


def verdict(enforcement: Enforcement, notification: Notification, suppressed: Mapping[str, str]) -> Verdict:
    """`suppressed`: the reason by recipient, see `Claims.suppressed`."""
    if not suppressed or enforcement is Enforcement.OFF:
        return NOTHING
    reason = suppressed.get(notification.recipient)
    copies = {one: why for one, why in suppressed.items() if one != notification.recipient}
    if notification.ignore_suppression or enforcement is Enforcement.WARN:
        why = "ignore_suppression" if notification.ignore_suppression else "TIDINGS_SUPPRESSION is warn"
        log.warning("suppression_not_enforced", extra=_fields(notification, suppressed))
        return Verdict(note=f"sent although suppressed ({why}): {_listed(suppressed)}")
    if reason is not None:
        return Verdict(error=Suppressed(reason, "the recipient is suppressed; the provider was not called"))
    log.info("copies_left_out", extra=_fields(notification, copies))
    return Verdict(left_out=copies, note=f"copies left out, because suppressed: {_listed(copies)}")


def _listed(suppressed: Mapping[str, str]) -> str:
    return ", ".join(f"{recipient} ({reason})" for recipient, reason in suppressed.items())


def _fields(notification: Notification, suppressed: Mapping[str, str]) -> dict[str, object]:
    """Of a log line. Never a recipient."""
    fields = {"notification_id": notification.id, "tenant": notification.tenant, "channel": notification.channel}
    return {**fields, "reasons": sorted(set(suppressed.values())), "recipients": len(suppressed)}

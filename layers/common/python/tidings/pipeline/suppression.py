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
from tidings.ports import SuppressedBy, Suppression

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
    recipient: str, reason: str, *, source: str = "provider", scope: str = "", notification_id: str | None = None
) -> Suppression:
    """An entry that lasts as long as its reason does."""
    return Suppression(
        recipient=recipient,
        reason=reason,
        source=source,
        scope=scope,
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


def verdict(enforcement: Enforcement, notification: Notification, suppressed: Mapping[str, SuppressedBy]) -> Verdict:
    """`suppressed`: the entry by recipient, see `Claims.suppressed`."""
    if not suppressed or enforcement is Enforcement.OFF:
        return NOTHING
    if notification.ignore_suppression or enforcement is Enforcement.WARN:
        why = "ignore_suppression" if notification.ignore_suppression else "TIDINGS_SUPPRESSION is warn"
        return Verdict(note=_not_enforced(notification, suppressed, why))
    # Critical ones pass opt-outs of their category, and nothing else.
    passed = {one: by for one, by in suppressed.items() if by.scope and notification.critical}
    enforced = {one: by for one, by in suppressed.items() if one not in passed}
    own = enforced.pop(notification.recipient, None)
    if own is not None:
        what = f"opted out of {own.scope}" if own.scope else "is suppressed"
        return Verdict(error=Suppressed(own.reason, f"the recipient {what}; the provider was not called"))
    notes = []
    if passed:
        notes.append(_not_enforced(notification, passed, "critical"))
    if enforced:
        log.info("copies_left_out", extra=_fields(notification, enforced))
        notes.append(f"copies left out, because suppressed: {_listed(enforced)}")
    return Verdict(left_out={one: by.reason for one, by in enforced.items()}, note="; ".join(notes))


def _not_enforced(notification: Notification, suppressed: Mapping[str, SuppressedBy], why: str) -> str:
    """The note for the timeline."""
    log.warning("suppression_not_enforced", extra=_fields(notification, suppressed))
    return f"sent although suppressed ({why}): {_listed(suppressed)}"


def _listed(suppressed: Mapping[str, SuppressedBy]) -> str:
    return ", ".join(f"{recipient} ({by})" for recipient, by in suppressed.items())


def _fields(notification: Notification, suppressed: Mapping[str, SuppressedBy]) -> dict[str, object]:
    """Of a log line. Never a recipient."""
    fields = {"notification_id": notification.id, "tenant": notification.tenant, "channel": notification.channel}
    return {**fields, "reasons": sorted({by.reason for by in suppressed.values()}), "recipients": len(suppressed)}

"""What is checked before a provider is called: one list, in its order."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from pydantic import ValidationError

from tidings.domain.channels import CHANNELS, Content
from tidings.domain.errors import NotReady
from tidings.domain.notification import Notification, OnAmbiguous
from tidings.pipeline import reconciliation
from tidings.pipeline.deadlines import Deadlines
from tidings.pipeline.leases import Leases
from tidings.pipeline.outcomes import ExpiredBeforeSend, NoTimeLeft, Outcome
from tidings.pipeline.suppression import NOTHING, Verdict
from tidings.ports import Claims, Provider, SendRequest, Store


@dataclass(kw_only=True)
class Attempt:
    """One attempt that is about to be made, and what its checks look at."""

    notification: Notification
    claims: Claims
    deadlines: Deadlines
    provider: Provider
    store: Store
    leases: Leases
    clock: float  # the worker's monotonic clock, read once for all checks that take no time
    suppression: Verdict = field(default=NOTHING)

    @property
    def now(self) -> datetime:
        """The database's time: as it was at the claim, and the worker's clock from there."""
        claimed = self.claims.elapsed.began if self.claims.elapsed is not None else self.clock
        return self.claims.at + timedelta(seconds=self.clock - claimed)

    @cached_property
    def content(self) -> Content:
        """Raise ValidationError or KeyError."""
        return CHANNELS[self.notification.channel].model_validate_json(self.notification.content)

    @property
    def request(self) -> SendRequest:
        expires_at = self.notification.expires_at
        return SendRequest(
            id=self.notification.id,
            tenant=self.notification.tenant,
            attempt=self.notification.attempt,
            generation=self.notification.generation,
            recipient=self.notification.recipient,
            content=self.content.without(self.suppression.left_out),
            expires_at=expires_at,
            time_to_live=expires_at - self.now if expires_at is not None else None,
            priority=self.notification.priority,
            category=self.notification.category,
        )


Check = Callable[[Attempt], Outcome | None]
"""None: nothing speaks against the call. Raise DeliveryError, which is an outcome as well."""


def timeout_allows_a_call(attempt: Attempt) -> Outcome | None:
    return None if attempt.deadlines.is_enough else NotReady("no_time", attempt.deadlines.too_short)


def time_is_left(attempt: Attempt) -> Outcome | None:
    """The call can end before the lease and the process do."""
    is_left = attempt.deadlines.allow_call(attempt.clock)
    return None if is_left and attempt.leases.allow_call(attempt.notification.id, attempt.clock) else NoTimeLeft()


def not_expired(attempt: Attempt) -> Outcome | None:
    expires_at = attempt.notification.expires_at
    return ExpiredBeforeSend() if expires_at is not None and expires_at <= attempt.now else None


def content_is_readable(attempt: Attempt) -> Outcome | None:
    try:
        _ = attempt.content
    except (ValidationError, KeyError):
        return NotReady("content_version", "another release wrote content that this one does not read")
    return None


def not_accepted_earlier(attempt: Attempt) -> Outcome | None:
    """`on_ambiguous: reconcile`: the provider did not accept an earlier attempt after all. It is asked, so the clock
    is read again."""
    if attempt.notification.on_ambiguous is not OnAmbiguous.RECONCILE:
        return None
    acceptance = reconciliation.earlier_acceptance(
        attempt.notification, attempt.request, attempt.provider, attempt.store
    )
    attempt.clock = time.monotonic()
    return acceptance


def recipient_is_not_suppressed(attempt: Attempt) -> Outcome | None:
    return attempt.suppression.error


CHECKS: Sequence[Check] = (
    timeout_allows_a_call,
    time_is_left,
    not_expired,
    content_is_readable,
    not_accepted_earlier,
    time_is_left,  # again: the check before may have taken as long as a call
    not_expired,
    recipient_is_not_suppressed,  # last: what the provider has accepted earlier is sent, not suppressed
)
"""The first outcome ends the attempt, and the provider is not called."""


def outcome_before_send(attempt: Attempt) -> Outcome | None:
    """The first check's outcome; None: call the provider. Raise DeliveryError."""
    for check in CHECKS:
        if (outcome := check(attempt)) is not None:
            return outcome
    return None

"""Claim rows for free senders, and keep their leases."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tidings.config import failpoints
from tidings.domain.notification import Priority
from tidings.domain.stopwatch import Stopwatch
from tidings.domain.timing import RETRY_STEPS
from tidings.messaging.envelope import Message
from tidings.observability.events import Claimed
from tidings.observability.observers import Observers
from tidings.pipeline.leases import Leases
from tidings.pipeline.send_pool import SendPool
from tidings.pipeline.suppression import Enforcement
from tidings.ports import Claims, Deferred, Store


@dataclass(frozen=True, kw_only=True)
class Claimer:
    """Thread-safe."""

    store: Store
    lease: timedelta
    leases: Leases
    pool: SendPool
    observers: Observers
    suppression: Enforcement = Enforcement.ON

    def claim(self, messages: Sequence[Message], places: int, *, urgent: bool, isolated: bool = False) -> Claims:
        """Claim these, for which so many places of the pool are reserved. Places without an acquired row are released.
        Raise StoreUnavailable."""
        acquired = 0
        try:
            stopwatch = Stopwatch()
            looks_up = self.suppression is not Enforcement.OFF
            claims = self.store.claim(messages, self.lease, isolated=isolated, suppressed=looks_up)
            claims = replace(claims, elapsed=(elapsed := stopwatch.elapsed()))
            acquired = len(claims.acquired)
            self.leases.keep(claims, asked_at=elapsed.began)
        finally:
            self.pool.release(places - acquired, urgent=urgent)
        failpoints.step("delivery.after_claim")
        self.observers.emit(Claimed(claims=claims, elapsed=elapsed))
        return claims


def unclaimed(message: Message, *, urgent: bool, pause: timedelta = RETRY_STEPS[0]) -> Deferred:
    """No place was free, or the provider refuses our account: redelivered after the pause."""
    return Deferred(message=message, priority=Priority.HIGH if urgent else Priority.NORMAL, remaining=pause)

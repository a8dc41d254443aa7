"""One attempt: the checks, at most one provider call, and its outcome."""

import logging
import time
from dataclasses import dataclass

from tidings.config import failpoints
from tidings.domain.errors import INTERNAL, AmbiguousError, DeliveryError
from tidings.domain.notification import Notification
from tidings.pipeline.deadlines import Deadlines
from tidings.pipeline.leases import Leases
from tidings.pipeline.outcomes import Outcome
from tidings.pipeline.send_checks import Attempt, outcome_before_send
from tidings.pipeline.suppression import NOTHING, Verdict
from tidings.ports import Claims, Provider, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Makes attempts, in any number of threads."""

    provider: Provider
    store: Store
    leases: Leases

    def make(
        self, notification: Notification, claims: Claims, deadlines: Deadlines, suppression: Verdict = NOTHING
    ) -> Outcome:
        """Raise only what ends the process."""
        attempt = Attempt(
            notification=notification,
            claims=claims,
            deadlines=deadlines,
            suppression=suppression,
            provider=self.provider,
            store=self.store,
            leases=self.leases,
            clock=time.monotonic(),
        )
        try:
            if (outcome := outcome_before_send(attempt)) is not None:
                return outcome
            acceptance = self.provider.send(attempt.request)
        except DeliveryError as error:
            if error.code == INTERNAL:
                self._log_unexpected(notification, error.message)
            return error
        except Exception as error:
            # Where it was raised is not known: the request may have been written. Its text could hold a recipient, so
            # only the type is kept.
            self._log_unexpected(notification, type(error).__name__)
            return AmbiguousError(INTERNAL, f"unexpected {type(error).__name__}")
        failpoints.step("delivery.mid_send")
        return acceptance

    def _log_unexpected(self, notification: Notification, error: str) -> None:
        log.error("unexpected_provider_error", extra={"notification_id": notification.id, "error": error})

"""One attempt: what must hold before the provider is called, the call, and what came of it."""

import logging
import time
from dataclasses import dataclass
from datetime import timedelta

from pydantic import ValidationError

from tidings.config import failpoints
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import INTERNAL, AmbiguousError, DeliveryError, NotReady
from tidings.domain.notification import Notification, OnAmbiguous
from tidings.pipeline import reconciliation
from tidings.pipeline.deadlines import Deadlines
from tidings.pipeline.leases import Leases
from tidings.pipeline.settlement import Expired, NotSent, Outcome
from tidings.ports import Claims, Provider, SendRequest, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Makes attempts, in any number of threads."""

    provider: Provider
    store: Store
    leases: Leases

    def make(self, notification: Notification, claims: Claims, deadlines: Deadlines) -> Outcome:
        """Call the provider, at most once. Raise nothing but what ends the process."""
        try:
            outbound = self.outbound(notification, claims, deadlines)
            if notification.on_ambiguous is OnAmbiguous.RECONCILE:
                if (receipt := reconciliation.earlier(notification, outbound, self.provider, self.store)) is not None:
                    return receipt
                outbound = self.outbound(notification, claims, deadlines)  # asking took its time
            receipt = self.provider.send(outbound)
        except (DeliveryError, NotSent, Expired) as error:
            if isinstance(error, DeliveryError) and error.code == INTERNAL:
                log.error(
                    "unexpected_provider_error", extra={"notification_id": notification.id, "error": error.message}
                )
            return error
        except Exception as error:
            # A fault of ours, at a point we do not know: the request may have been written. The text could hold a
            # recipient, so only the type is kept.
            log.error(
                "unexpected_provider_error", extra={"notification_id": notification.id, "error": type(error).__name__}
            )
            return AmbiguousError(INTERNAL, f"unexpected {type(error).__name__}")
        failpoints.step("delivery.mid_send")
        return receipt

    def outbound(self, notification: Notification, claims: Claims, deadlines: Deadlines) -> SendRequest:
        """What the provider is given now. Raise NotSent, Expired or NotReady if it must not be called."""
        clock = time.monotonic()
        if not deadlines.is_enough:
            raise NotReady("no_time", deadlines.too_short)
        if not deadlines.allow_call(clock) or not self.leases.allow_call(notification.id, clock):
            raise NotSent
        begun = claims.elapsed.began if claims.elapsed is not None else clock
        expires_at, now = notification.expires_at, claims.at + timedelta(seconds=clock - begun)
        if expires_at is not None and expires_at <= now:
            raise Expired
        try:
            content = CHANNELS[notification.channel].model_validate_json(notification.content)
        except (ValidationError, KeyError):
            raise NotReady("content_version", "another release wrote content that this one does not read") from None
        return SendRequest(
            id=notification.id,
            attempt=notification.attempt,
            recipient=notification.recipient,
            content=content,
            expires_at=expires_at,
            time_to_live=expires_at - now if expires_at is not None else None,
            priority=notification.priority,
        )

"""What the end of an attempt means, and the order in which it is written down. Delivery and the sweep share it."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tidings.config import failpoints
from tidings.domain import timing
from tidings.domain.connection import Connection, others_accepted_since, waited_for_account
from tidings.domain.errors import (
    AccountError,
    AmbiguousError,
    BrokerUnavailable,
    DeliveryError,
    NotReady,
    PermanentError,
    StoreUnavailable,
    TransientError,
)
from tidings.domain.notification import Notification, OnAmbiguous, Status
from tidings.domain.stopwatch import Elapsed, Stopwatch
from tidings.domain.timing import LISTED_AFTER, WAIT_FOR_ACCOUNT
from tidings.messaging import topology
from tidings.messaging.envelope import Message
from tidings.observability.events import Settled
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline.retry import RetrySchedule
from tidings.ports import Acceptance, Broker, Claims, Deferred, Outgoing, Settlement, Store

log = logging.getLogger(__name__)


class Expired(Exception):
    """It was claimed in time, but its turn came after `expires_at`. The provider was not called."""


class NotSent(Exception):
    """There was no time left, under the lease or before the process is ended. The provider was not called."""


Outcome = Acceptance | DeliveryError | Expired | NotSent


@dataclass(frozen=True, kw_only=True)
class Settler:
    """Decide what each outcome means and write it down.

    Order: letters to the dead-letter queue, then the rows in one transaction, then the retries. A crash after any step
    repeats a harmless one: a letter twice, a retry that the sweep publishes instead.
    """

    store: Store
    broker: Broker
    retry: RetrySchedule
    wait_for_account: timedelta = WAIT_FOR_ACCOUNT
    observers: Observers = LOG_ONLY
    sleep: Callable[[float], None] = time.sleep

    def settlement_for(
        self,
        claims: Claims,
        notification: Notification,
        outcome: Outcome,
        *,
        provider: str | None = None,
        elapsed: Elapsed | None = None,
        connection: Connection | None = None,
    ) -> Settlement:
        """The one place that says what happens after an attempt, which was made under these claims.

        `connection`: the provider's, as it was known after the attempt; None: no provider was called."""

        def end(status: Status, *, delay: timedelta | None = None, spared: bool = False) -> Settlement:
            return Settlement(
                claims=claims,
                notification=notification,
                status=status,
                provider=provider,
                provider_message_id=outcome.provider_message_id if isinstance(outcome, Acceptance) else None,
                provider_response=outcome.response if isinstance(outcome, Acceptance) else None,
                error=outcome if isinstance(outcome, DeliveryError) else None,
                delay=delay,
                spared=spared,
                elapsed=elapsed if isinstance(outcome, Acceptance | DeliveryError) else None,
            )

        counted = notification.attempt - notification.spared
        match outcome:
            case Acceptance():
                return end(Status.SENT)
            case Expired():
                return end(Status.EXPIRED, spared=True)
            case NotSent():
                return end(Status.RETRYING, delay=timing.RETRY_STEPS[0], spared=True)
            case PermanentError():
                return end(Status.FAILED)
            case AccountError() | TransientError() if _waits_for_account(outcome, notification, connection):
                if waited_for_account(notification, connection, claims.at) >= self.wait_for_account:
                    return end(Status.FAILED)
                delay = self.retry.delay_for_account(notification.spared, retry_after=outcome.retry_after)
                return end(Status.RETRYING, delay=delay, spared=True)
            case AmbiguousError() if notification.on_ambiguous is OnAmbiguous.HOLD:
                return end(Status.UNKNOWN)
            case AmbiguousError() if notification.on_ambiguous is OnAmbiguous.RECONCILE:
                if notification.is_last_attempt:
                    return end(Status.UNKNOWN)
                wish = max(outcome.retry_after or LISTED_AFTER, LISTED_AFTER)
                return end(Status.RETRYING, delay=self.retry.delay_after(counted, retry_after=wish))
            case AmbiguousError() | TransientError() | DeliveryError():
                if notification.is_last_attempt:
                    return end(Status.FAILED)
                return end(Status.RETRYING, delay=self.retry.delay_after(counted, retry_after=outcome.retry_after))

    def record(self, settlements: Sequence[Settlement], *, within: timedelta = timedelta(0)) -> None:
        """Write all of it down; return once nothing depends on this process any more.

        `within`: how long to go on trying while the database is down. What the provider accepted must not be sent
        again for want of a row.
        Raise StoreUnavailable or BrokerUnavailable; the batch then comes again, and finds what was written.
        """
        letters = [
            dead_letter(s.notification, s.error.kind if s.error else None, s.error.code if s.error else None)
            for s in settlements
            if s.status is Status.FAILED
        ]
        unpublished, lettered = self._publish(letters)
        failpoints.step("settlement.after_dead_letters")
        stopwatch = Stopwatch()
        lost = self._settle(settlements, letters_owed=unpublished is not None, within=within)
        settled = stopwatch.elapsed()
        failpoints.step("settlement.after_rows")
        failed, retried = self._publish([_retry(s) for s in settlements if s.delay is not None and s not in lost])
        # Told once all is done, which is at once where nothing is to be tried again.
        told = Settled(settlements=settlements, lost=lost, letters=lettered, settling=settled, retries=retried)
        self.observers.emit(told)
        failpoints.step("settlement.after_retries")
        if (error := failed or unpublished) is not None:
            raise error

    def defer(self, deferred: Sequence[Deferred]) -> None:
        """They come again when they may be claimed. Raise BrokerUnavailable."""
        self.broker.publish([_deferred(item) for item in deferred])

    def _publish(self, wave: Sequence[Outgoing]) -> tuple[BrokerUnavailable | None, Elapsed | None]:
        """A broker that is down must not keep a row from being settled: its neighbours were sent."""
        if not wave:
            return None, None
        stopwatch = Stopwatch()
        try:
            self.broker.publish(wave)
        except BrokerUnavailable as error:
            log.error("broker_unavailable", extra={"error": str(error), "messages": len(wave)})
            return error, stopwatch.elapsed()
        return None, stopwatch.elapsed()

    def _settle(
        self, settlements: Sequence[Settlement], *, letters_owed: bool, within: timedelta
    ) -> Sequence[Settlement]:
        deadline = time.monotonic() + within.total_seconds()
        pause = 0.2
        while True:
            try:
                return self.store.settle(settlements, letters_owed=letters_owed)
            except StoreUnavailable as error:
                if time.monotonic() + pause > deadline:
                    raise
                log.error("settlement_delayed", extra={"error": str(error), "notifications": len(settlements)})
                self.sleep(pause)
                pause = min(pause * 2, 1.0)


def _waits_for_account(error: DeliveryError, notification: Notification, connection: Connection | None) -> bool:
    """Whether it is our account that was refused, so that this attempt does not count.

    A provider that accepts others meanwhile refuses this recipient, whatever its words are: then it counts. While it
    refuses everybody, also a refusal counts for nothing that could have meant the recipient."""
    if isinstance(error, NotReady):
        return True
    if connection is None or not isinstance(error, AccountError):
        return connection is not None and not connection.is_open and getattr(error, "may_be_account", False)
    return not connection.is_open or not others_accepted_since(notification, connection)


def message_for(notification: Notification) -> Message:
    """The message that says: this notification may be due."""
    return Message(
        id=notification.id,
        channel=notification.channel,
        generation=notification.generation,
        attempt=notification.attempt,
        traceparent=notification.traceparent,
    )


def to_work(notification: Notification) -> Outgoing:
    return Outgoing(message=message_for(notification), to=topology.work(notification.channel, notification.priority))


def dead_letter(notification: Notification, error_class: str | None, code: str | None) -> Outgoing:
    """The reason is the class and the code; the vendor's words stay in the database."""
    reason = {"tidings-class": error_class or "", "tidings-code": code or ""}
    return Outgoing(message=message_for(notification), to=topology.dead(notification.channel), headers=reason)


def _retry(settlement: Settlement) -> Outgoing:
    notification = settlement.notification
    delay = settlement.delay or timedelta(0)
    return Outgoing(
        message=message_for(notification), to=topology.retry(delay, notification.channel, notification.priority)
    )


def _deferred(deferred: Deferred) -> Outgoing:
    message = deferred.message
    return Outgoing(message=message, to=topology.retry(deferred.remaining, message.channel, deferred.priority))

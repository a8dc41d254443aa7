"""What the outcome of an attempt means, and the order in which it is recorded. Delivery and the sweep share it."""

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
    NotCalled,
    NotReady,
    OnHold,
    PermanentError,
    StoreUnavailable,
    Suppressed,
    TransientError,
)
from tidings.domain.notification import Notification, OnAmbiguous, Status
from tidings.domain.receipt import By
from tidings.domain.stopwatch import Elapsed, Stopwatch
from tidings.domain.timing import LISTED_AFTER, WAIT_FOR_ACCOUNT
from tidings.observability.events import Settled
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline import outgoing
from tidings.pipeline.outcomes import ExpiredBeforeSend, NoTimeLeft, Outcome
from tidings.pipeline.retry import RetrySchedule
from tidings.pipeline.suppression import suppression_for
from tidings.ports import Acceptance, Broker, Claims, Deferred, Outgoing, Settlement, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settler:
    """Decide what each outcome means, and record it.

    Order: dead letters, then the rows in one transaction, then the retries. A crash after any step repeats a harmless
    one: a second copy of a dead letter, or a retry that the sweep publishes instead.
    """

    store: Store
    broker: Broker
    retry: RetrySchedule
    wait_for_account: timedelta = WAIT_FOR_ACCOUNT
    observers: Observers = LOG_ONLY
    sleep: Callable[[float], None] = time.sleep

    def settlement_for(  # noqa: PLR0912 (one case for each outcome)
        self,
        claims: Claims,
        notification: Notification,
        outcome: Outcome,
        *,
        provider: str | None = None,
        elapsed: Elapsed | None = None,
        connection: Connection | None = None,
        note: str | None = None,
        by: By | None = None,
    ) -> Settlement:
        """The one place that decides what follows from an outcome.

        `claims`: those under which the attempt was made. `connection`: the provider's, as known after the attempt;
        None: no provider was called. `note`: of suppression, for the timeline of a call. `by`: who says so; None: as
        the outcome tells."""
        is_call = _is_call(outcome)

        def settled(
            status: Status, *, delay: timedelta | None = None, uncounted: bool = False, held: bool = False
        ) -> Settlement:
            return Settlement(
                claims=claims,
                notification=notification,
                status=status,
                provider=provider,
                provider_message_id=outcome.provider_message_id if isinstance(outcome, Acceptance) else None,
                provider_response=outcome.response if isinstance(outcome, Acceptance) else None,
                error=outcome if isinstance(outcome, DeliveryError) else None,
                delay=delay,
                uncounted=uncounted,
                held=held,
                suppression=suppression_for(notification, outcome),
                note=note if is_call else None,
                elapsed=elapsed if is_call else None,
                by=by or _source(outcome),
                reports=isinstance(outcome, Acceptance) and outcome.reports,
            )

        counted = notification.attempt - notification.uncounted_attempts
        match outcome:
            case Acceptance():
                return settled(Status.SENT)
            case ExpiredBeforeSend():
                return settled(Status.EXPIRED, uncounted=True)
            case NoTimeLeft():
                return settled(Status.RETRYING, delay=timing.RETRY_STEPS[0], uncounted=True)
            case Suppressed():
                return settled(Status.SUPPRESSED, uncounted=True)
            case PermanentError():
                return settled(Status.FAILED)
            case OnHold():
                return settled(Status.RETRYING, uncounted=True, held=True)
            case NotCalled():
                delay = self.retry.delay_for_account(notification.uncounted_attempts)
                return settled(Status.RETRYING, delay=delay, uncounted=True)
            case AccountError() | TransientError() if _waits_for_account(outcome, notification, connection):
                if waited_for_account(notification, connection, claims.at) >= self.wait_for_account:
                    return settled(Status.FAILED)
                uncounted = notification.uncounted_attempts
                delay = self.retry.delay_for_account(uncounted, retry_after=outcome.retry_after)
                return settled(Status.RETRYING, delay=delay, uncounted=True)
            case AmbiguousError() if notification.on_ambiguous is OnAmbiguous.HOLD:
                return settled(Status.UNKNOWN)
            case AmbiguousError() if notification.on_ambiguous is OnAmbiguous.RECONCILE:
                if notification.is_last_attempt:
                    return settled(Status.UNKNOWN)
                wish = max(outcome.retry_after or LISTED_AFTER, LISTED_AFTER)
                return settled(Status.RETRYING, delay=self.retry.delay_after(counted, retry_after=wish))
            case AmbiguousError() | TransientError() | DeliveryError():
                if notification.is_last_attempt:
                    return settled(Status.FAILED)
                delay = self.retry.delay_after(counted, retry_after=outcome.retry_after)
                return settled(Status.RETRYING, delay=delay)

    def record(self, settlements: Sequence[Settlement], *, within: timedelta = timedelta(0)) -> None:
        """Record all of it; return once nothing depends on this process any more.

        `within`: how long to keep trying while the database is down. What the provider accepted must not be sent again
        because its row was not written.
        Raise StoreUnavailable or BrokerUnavailable. The batch is then redelivered, and its claim finds what was
        recorded."""
        dead_letters = [
            outgoing.dead_letter(s.notification, s.error.kind if s.error else None, s.error.code if s.error else None)
            for s in settlements
            if s.status is Status.FAILED
        ]
        unpublished, dead_lettering = self._publish(dead_letters)
        failpoints.step("settlement.after_dead_letters")
        stopwatch = Stopwatch()
        lost = self._settle(settlements, dead_letters_owed=unpublished is not None, within=within)
        settling = stopwatch.elapsed()
        failpoints.step("settlement.after_rows")
        failed, retrying = self._publish(
            [outgoing.to_retry(s) for s in settlements if s.delay is not None and s not in lost]
        )
        self.observers.emit(
            Settled(
                settlements=settlements, lost=lost, dead_letters=dead_lettering, settling=settling, retries=retrying
            )
        )
        failpoints.step("settlement.after_retries")
        if (error := failed or unpublished) is not None:
            raise error

    def defer(self, deferred: Sequence[Deferred]) -> None:
        """Redeliver these when they may be claimed. Raise BrokerUnavailable."""
        self.broker.publish([outgoing.deferred(item) for item in deferred])

    def _publish(self, wave: Sequence[Outgoing]) -> tuple[BrokerUnavailable | None, Elapsed | None]:
        """Return the error: a broker that is down must not keep the rows of what was sent from being settled."""
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
        self, settlements: Sequence[Settlement], *, dead_letters_owed: bool, within: timedelta
    ) -> Sequence[Settlement]:
        deadline = time.monotonic() + within.total_seconds()
        pause = 0.2
        while True:
            try:
                return self.store.settle(settlements, dead_letters_owed=dead_letters_owed)
            except StoreUnavailable as error:
                if time.monotonic() + pause > deadline:
                    raise
                log.error("settlement_delayed", extra={"error": str(error), "notifications": len(settlements)})
                self.sleep(pause)
                pause = min(pause * 2, 1.0)


def _is_call(outcome: Outcome) -> bool:
    """Whether the provider was called, or could not be reached."""
    if isinstance(outcome, OnHold):
        return outcome.is_gone
    return isinstance(outcome, Acceptance | DeliveryError) and not isinstance(
        outcome, Suppressed | NotCalled | NotReady
    )


def _source(outcome: Outcome) -> By:
    if isinstance(outcome, Acceptance):
        return outcome.by
    return By.PROVIDER if _is_call(outcome) else By.SWEEP


def _waits_for_account(error: DeliveryError, notification: Notification, connection: Connection | None) -> bool:
    """True: our account was refused, so this attempt does not count.

    A provider that accepts others meanwhile refuses this recipient, whatever its error says: then it counts. While it
    refuses everybody, an error that may mean the recipient or the account does not count either."""
    if isinstance(error, NotReady):
        return True
    if connection is None or not isinstance(error, AccountError):
        return connection is not None and not connection.is_open and getattr(error, "may_be_account", False)
    return not connection.is_open or not others_accepted_since(notification, connection)

"""Claim, send, settle: the heart, the same for every channel."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from pydantic import ValidationError

from tidings import failpoints, reconciling, topology
from tidings.content import CONTENT
from tidings.envelope import Letter, Message
from tidings.errors import AccountError, AmbiguousError, DeliveryError, PermanentError
from tidings.facts import Claimed
from tidings.lifecycle import LOG_ONLY, Lifecycle
from tidings.notification import Notification, OnAmbiguous, Priority
from tidings.ports import (
    Broker,
    Claims,
    Held,
    Outbound,
    Outgoing,
    Provider,
    Settlement,
    Store,
)
from tidings.senders import Senders
from tidings.settling import SETTLE_WITHIN, Expired, NotSent, Outcome, Settling
from tidings.took import Watch

log = logging.getLogger(__name__)

RESERVED = 2
"""Provider calls at once, beyond the configured, that only `priority: high` makes: one-time passwords do not wait for a
newsletter, also where each call of that takes long."""


PUT_OFF = timedelta(seconds=30)
"""How long messages of a paused channel stay away where nobody stops them before: on Lambda."""

SETTLING = timedelta(seconds=5)
"""What is kept free at the end of an invocation's time: what was sent is written down, what was not is given back."""

ENDLESS = timedelta(days=1)
"""The time of who is not ended by anybody: longer than any lease, and than SETTLE_WITHIN."""


@dataclass(frozen=True, kw_only=True)
class _Until:
    """Until when; on the monotonic clock."""

    sent: float  # every call to the provider has ended
    settled: float  # all is written down: whoever invoked us ends this process then
    is_enough: bool  # what is given: for one call


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Claim, send, settle.

    The queue hands us each message at least once and takes the batch as done when `deliver` returns. So we return only
    after everything is settled or put back, and the claim makes a repeated copy harmless.
    """

    provider: Provider
    store: Store
    broker: Broker
    settling: Settling
    lease: timedelta
    concurrency: int
    reserved: int = RESERVED
    lifecycle: Lifecycle = LOG_ONLY

    def deliver(self, batch: Sequence[Letter], *, within: timedelta = ENDLESS) -> None:
        """`within`: after which whoever invoked us ends this process. What there is no time for comes again, unsent.
        Raise only if our own store or broker fails; the whole batch then comes again."""
        until = self._until(within)
        self._park([letter for letter in batch if letter.message is None])
        messages = [letter.message for letter in batch if letter.message is not None]
        if not messages:
            return
        alone = self._attempt(messages, until)
        self._one_by_one(alone, until)
        failpoints.step("delivery.before_return")

    def _until(self, within: timedelta) -> _Until:
        """Who could still be sending when the lease runs out must not begin: another would send too. Nor who could be
        when this process is ended: nobody would write down what was sent."""
        now, sending = time.monotonic(), within - SETTLING
        return _Until(
            sent=now + min(self.lease, sending).total_seconds(),
            settled=now + within.total_seconds(),
            is_enough=self.provider.timeout < sending,
        )

    def _may_begin(self, until: _Until) -> bool:
        return time.monotonic() + self.provider.timeout.total_seconds() < until.sent

    def put_off(self, batch: Sequence[Letter]) -> None:
        """The channel is paused, and who invoked us could not know: all of it comes again in a while, unclaimed."""
        self._park([letter for letter in batch if letter.message is None])
        self.settling.put_back(
            [
                Held(message=letter.message, priority=topology.priority_of(letter.queue), remaining=PUT_OFF)
                for letter in batch
                if letter.message is not None
            ]
        )

    def _attempt(self, messages: Sequence[Message], until: _Until) -> Sequence[Held]:
        """Claim, send and settle these together. Answer those that must be claimed alone."""
        started = time.monotonic()
        watch = Watch()
        claims = self.store.claim(messages, self.lease)
        claiming = watch.took()
        failpoints.step("delivery.after_claim")
        self.lifecycle.tell(Claimed(claims=claims, took=claiming))
        settlements = self._send_all(claims, started, until)
        failpoints.step("delivery.after_send")
        within = min(SETTLE_WITHIN, timedelta(seconds=until.settled - time.monotonic()))
        self.settling.commit(claims, settlements, held=claims.held, within=within, claiming=claiming)
        return claims.alone

    def _one_by_one(self, alone: Sequence[Held], until: _Until) -> None:
        """Whose last worker was lost comes last and by itself: if it was the cause, it takes no neighbours along."""
        for place, held in enumerate(alone):
            if until.is_enough and not self._may_begin(until):
                self.settling.put_back(alone[place:])
                return
            self.settling.put_back(self._attempt([held.message], until))

    def _park(self, unreadable: Sequence[Letter]) -> None:
        for letter in unreadable:
            log.error("parked", extra={"queue": letter.queue, "reason": letter.unreadable, "bytes": len(letter.body)})
        self.broker.publish(
            [
                Outgoing(
                    to=topology.parking(),
                    raw=letter.body,
                    headers={"tidings-queue": letter.queue, "tidings-reason": letter.unreadable or ""},
                )
                for letter in unreadable
            ]
        )

    def _send_all(self, claims: Claims, started: float, until: _Until) -> Sequence[Settlement]:
        """Send concurrently; one failure stays one failure."""

        def attempt(notification: Notification) -> Settlement:
            watch = Watch()
            outcome = self._outcome(notification, claims, started, until)
            return self.settling.decide(notification, outcome, provider=self.provider.name, took=watch.took())

        return self._senders.each(attempt, claims.acquired, urgent=lambda item: item.priority is Priority.HIGH)

    def _outcome(self, notification: Notification, claims: Claims, started: float, until: _Until) -> Outcome:
        try:
            outbound = self._outbound(notification, claims, started, until)
            if notification.on_ambiguous is OnAmbiguous.RECONCILE:
                if (receipt := reconciling.earlier(notification, outbound, self.provider, self.store)) is not None:
                    return receipt
                outbound = self._outbound(notification, claims, started, until)  # asking took its time
            receipt = self.provider.send(outbound)
        except (DeliveryError, NotSent, Expired) as error:
            return error
        except Exception as error:
            # A fault of ours, at a point we do not know: the request may have been written. The text could hold a
            # recipient, so only the type is kept.
            log.error("provider_fault", extra={"notification_id": notification.id, "error": type(error).__name__})
            return AmbiguousError("internal", f"unexpected {type(error).__name__}")
        failpoints.step("delivery.mid_send")
        return receipt

    def _outbound(self, notification: Notification, claims: Claims, started: float, until: _Until) -> Outbound:
        """What the provider is given now. Raise NotSent, Expired or another DeliveryError if it must not be called."""
        now = claims.at + timedelta(seconds=time.monotonic() - started)
        if not until.is_enough:
            raise AccountError("no_time", self._no_time)
        if not self._may_begin(until):
            raise NotSent
        expires_at = notification.expires_at
        if expires_at is not None and expires_at <= now:
            raise Expired
        try:
            content = CONTENT[notification.channel].model_validate_json(notification.content)
        except (ValidationError, KeyError):
            raise PermanentError(
                "content", "the stored content is not what this version of the channel reads"
            ) from None
        return Outbound(
            id=notification.id,
            attempt=notification.attempt,
            recipient=notification.recipient,
            content=content,
            expires_at=expires_at,
            time_to_live=expires_at - now if expires_at is not None else None,
        )

    @property
    def _no_time(self) -> str:
        calling, settling = self.provider.timeout.total_seconds(), SETTLING.total_seconds()
        return (
            f"the function's time-out leaves no room for one call: {self.provider.name} may take {calling:g} s, and "
            f"{settling:g} s are kept to write down what was sent; raise it, or lower the provider's"
        )

    @cached_property
    def _senders(self) -> Senders:
        return Senders(self.concurrency, reserved=self.reserved)

    def close(self) -> None:
        """Let what is being sent come to its end, then give up connections."""
        self._senders.close()
        self.provider.close()

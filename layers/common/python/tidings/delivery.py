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
from tidings.deadlines import ENDLESS, Deadlines
from tidings.envelope import Letter, Message
from tidings.errors import AccountError, AmbiguousError, DeliveryError
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
        until = Deadlines.of(time.monotonic(), within=within, lease=self.lease, call=self.provider.timeout)
        self._set_aside(batch)
        messages = [letter.message for letter in batch if letter.message is not None]
        if not messages:
            return
        alone = self._attempt(messages, until)
        self._one_by_one(alone, until)
        failpoints.step("delivery.before_return")

    def put_off(self, batch: Sequence[Letter]) -> None:
        """The channel is paused, and who invoked us could not know: all of it comes again in a while, unclaimed."""
        self._set_aside(batch)
        self.settling.put_back(
            [
                Held(message=letter.message, priority=topology.priority_of(letter.queue), remaining=topology.PUT_OFF)
                for letter in batch
                if letter.message is not None
            ]
        )

    def _attempt(self, messages: Sequence[Message], until: Deadlines) -> Sequence[Held]:
        """Claim, send and settle these together. Answer those that must be claimed alone."""
        started = time.monotonic()
        watch = Watch()
        claims = self.store.claim(messages, self.lease)
        claiming = watch.took()
        failpoints.step("delivery.after_claim")
        self.lifecycle.tell(Claimed(claims=claims, took=claiming))
        settlements = self._send_all(claims, started, until)
        failpoints.step("delivery.after_send")
        within = min(SETTLE_WITHIN, until.left_to_settle(time.monotonic()))
        self.settling.commit(claims, settlements, held=claims.held, within=within, claiming=claiming)
        return claims.alone

    def _one_by_one(self, alone: Sequence[Held], until: Deadlines) -> None:
        """Whose last worker was lost comes last and by itself: if it was the cause, it takes no neighbours along."""
        for place, held in enumerate(alone):
            if until.is_enough and not until.allow_call(time.monotonic()):
                self.settling.put_back(alone[place:])
                return
            self.settling.put_back(self._attempt([held.message], until))

    def _set_aside(self, batch: Sequence[Letter]) -> None:
        """What we cannot read: a later version's goes back as it came, for its own workers; the rest is parked."""
        later = [letter for letter in batch if letter.later is not None]
        unreadable = [letter for letter in batch if letter.message is None and letter.later is None]
        if later:
            log.warning("newer_put_back", extra={"messages": len(later), "reason": later[0].unreadable})
        for letter in unreadable:
            log.error("parked", extra={"queue": letter.queue, "reason": letter.unreadable, "bytes": len(letter.body)})
        self.broker.publish([*map(_back, later), *map(_parked, unreadable)])

    def _send_all(self, claims: Claims, started: float, until: Deadlines) -> Sequence[Settlement]:
        """Send concurrently; one failure stays one failure."""

        def attempt(notification: Notification) -> Settlement:
            watch = Watch()
            outcome = self._outcome(notification, claims, started, until)
            return self.settling.decide(notification, outcome, provider=self.provider.name, took=watch.took())

        return self._senders.each(attempt, claims.acquired, urgent=lambda item: item.priority is Priority.HIGH)

    def _outcome(self, notification: Notification, claims: Claims, started: float, until: Deadlines) -> Outcome:
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

    def _outbound(self, notification: Notification, claims: Claims, started: float, until: Deadlines) -> Outbound:
        """What the provider is given now. Raise NotSent, Expired or AccountError if it must not be called."""
        clock = time.monotonic()
        if not until.is_enough:
            raise AccountError("no_time", until.too_short)
        if not until.allow_call(clock):
            raise NotSent
        expires_at, now = notification.expires_at, claims.at + timedelta(seconds=clock - started)
        if expires_at is not None and expires_at <= now:
            raise Expired
        try:
            content = CONTENT[notification.channel].model_validate_json(notification.content)
        except (ValidationError, KeyError):
            raise AccountError("content_version", "another release wrote content that this one does not read") from None
        return Outbound(
            id=notification.id,
            attempt=notification.attempt,
            recipient=notification.recipient,
            content=content,
            expires_at=expires_at,
            time_to_live=expires_at - now if expires_at is not None else None,
        )

    @cached_property
    def _senders(self) -> Senders:
        return Senders(self.concurrency, reserved=self.reserved)

    def close(self) -> None:
        """Let what is being sent come to its end, then give up connections."""
        self._senders.close()
        self.provider.close()


def _back(later: Letter) -> Outgoing:
    to = topology.retry(topology.PUT_OFF, later.channel, topology.priority_of(later.queue))
    return Outgoing(to=to, raw=later.body, headers=dict(later.later or {}))


def _parked(letter: Letter) -> Outgoing:
    reason = {"tidings-queue": letter.queue, "tidings-reason": letter.unreadable or ""}
    return Outgoing(to=topology.parking(), raw=letter.body, headers=reason)

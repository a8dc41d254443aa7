"""Claim, send, settle: the heart, the same for every channel."""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import groupby

from tidings.config import failpoints
from tidings.domain import timing
from tidings.domain.notification import Notification, Priority
from tidings.domain.stopwatch import Stopwatch
from tidings.domain.timing import DETACH_AFTER, NO_DEADLINE, SETTLE_WITHIN
from tidings.messaging import topology
from tidings.messaging.envelope import IncomingMessage, Message
from tidings.observability.events import Claimed
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline.account import Account
from tidings.pipeline.attempts import Attempts
from tidings.pipeline.deadlines import Deadlines
from tidings.pipeline.leases import Leases
from tidings.pipeline.recorder import Recorder, Work
from tidings.pipeline.send_pool import SendPool
from tidings.pipeline.settlement import Settler
from tidings.ports import Broker, Claims, Deferred, Outgoing, Provider, Settlement, Store

log = logging.getLogger(__name__)

RESERVED = 2
"""Provider calls at once, beyond the configured, that only `priority: high` makes: one-time passwords do not wait for a
newsletter, also where each call of that takes long."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Claim, send, settle.

    The queue hands us each message at least once and takes the batch as done when `deliver` returns. So we return only
    after everything is settled, put back, or under a lease that the sweep watches; and the claim makes a repeated copy
    harmless.

    A batch is no barrier. As many rows are claimed as there are free senders, whatever the number of batches; each
    outcome is written down within RECORD_WITHIN of its call's end; and the leases of what takes longer are renewed.
    """

    provider: Provider
    store: Store
    broker: Broker
    settler: Settler
    lease: timedelta
    concurrency: int
    reserved: int = RESERVED
    observers: Observers = LOG_ONLY
    _pool: SendPool = field(init=False, repr=False)
    _leases: Leases = field(init=False, repr=False)
    _recorder: Recorder = field(init=False, repr=False)
    _attempts: Attempts = field(init=False, repr=False)
    _account: Account = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """No thread is started yet: gunicorn may still fork."""
        leases = Leases(self.store, self.lease)
        made = {
            "_pool": SendPool(self.concurrency, reserved=self.reserved),
            "_leases": leases,
            "_recorder": Recorder(self._record),
            "_account": Account(self.store, self.provider.name, lease=self.lease, observers=self.observers),
            "_attempts": Attempts(provider=self.provider, store=self.store, leases=leases),
        }
        for name, part in made.items():
            object.__setattr__(self, name, part)

    def deliver(
        self, batch: Sequence[IncomingMessage], *, within: timedelta = NO_DEADLINE, detach: bool = False
    ) -> bool:
        """Whether all of it is settled, which it always is without `detach`.

        `within`: after which whoever invoked us ends this process. What there is no time for comes again, unsent.
        `detach`: return DETACH_AFTER all calls are under way, and let slow ones end later: not for a process that is
        frozen then. Raise only if our own store or broker fails; the whole batch then comes again."""
        work = Work(Deadlines.of(time.monotonic(), within=within, call=self.provider.timeout))
        self._park_unreadable(batch)
        isolate: list[Deferred] = []
        try:
            with self._recorder.more_to_come(work):
                for urgent, letters in groupby(sorted(batch, key=_is_ordinary), _is_urgent):
                    isolate += self._begin([one.message for one in letters if one.message], work, urgent=urgent)
            self._one_by_one(isolate, work)
        finally:
            if detach:
                work.wait_until_begun(work.deadlines.left_to_begin(time.monotonic()))
            settled = work.wait(DETACH_AFTER if detach else None)
        failpoints.step("delivery.before_return")
        return settled

    def defer(self, batch: Sequence[IncomingMessage]) -> None:
        """The channel is paused, and who invoked us could not know: all of it comes again in a while, unclaimed."""
        self._park_unreadable(batch)
        self.settler.defer(
            [
                Deferred(
                    message=letter.message, priority=topology.priority_of(letter.queue), remaining=timing.DEFER_DELAY
                )
                for letter in batch
                if letter.message is not None
            ]
        )

    def close(self) -> None:
        """Let what is being sent come to its end and be settled, then give up connections."""
        self._pool.close()
        self._recorder.close()
        self._leases.close()
        self.provider.close()

    # --- claim --------------------------------------------------------------------------------------------------------

    def _begin(
        self, messages: Sequence[Message], work: Work, *, urgent: bool, isolated: bool = False
    ) -> Sequence[Deferred]:
        """Claim and begin all of these, as senders become free. Answer those that must be claimed `isolated`."""
        deferred: list[Deferred] = []
        isolate: list[Deferred] = []
        while messages:
            if not self._account.is_open():
                deferred += self._probe(messages, work, urgent=urgent)
                break
            within = work.deadlines.left_to_begin(time.monotonic())
            if not (places := self._pool.reserve(len(messages), urgent=urgent, within=within)):
                deferred += [_unclaimed(message, urgent) for message in messages]
                break
            claims = self._claim(messages[:places], places, urgent=urgent, isolated=isolated)
            messages = messages[places:]
            self._send(claims, work, urgent=urgent)
            deferred += claims.deferred
            isolate += claims.isolate
        self.settler.defer(deferred)
        return isolate

    def _probe(self, messages: Sequence[Message], work: Work, *, urgent: bool) -> Sequence[Deferred]:
        """The provider refuses our account: begin at most one of these. Answer the others, which come again unclaimed:
        one that may be the probe, but is not due or is over, leaves its place to the next. In any order: the refused
        recipients of one caller, in front, must not be the only ones that are tried."""
        deferred: list[Deferred] = []
        rest = deque(random.sample(messages, len(messages)))
        while rest and self._account.take_probe(rest[0].id):
            within = work.deadlines.left_to_begin(time.monotonic())
            if not self._pool.reserve(1, urgent=urgent, within=within):
                self._account.release_probe(rest[0].id)
                break
            message = rest.popleft()
            claims = self._claim([message], 1, urgent=urgent, isolated=True)
            self._send(claims, work, urgent=urgent)
            if claims.acquired:
                break
            self._account.release_probe(message.id)
            deferred += claims.deferred
        pause = min(max(self._account.look().probe_in, timing.RETRY_STEPS[0]), timing.DEFER_DELAY)
        return [*deferred, *(_unclaimed(message, urgent, pause) for message in rest)]

    def _claim(self, messages: Sequence[Message], places: int, *, urgent: bool, isolated: bool) -> Claims:
        """Give back the places that nothing was claimed for."""
        claimed = 0
        try:
            stopwatch = Stopwatch()
            claims = self.store.claim(messages, self.lease, isolated=isolated)
            claims = replace(claims, elapsed=(elapsed := stopwatch.elapsed()))
            claimed = len(claims.acquired)
            self._leases.keep(claims, asked_at=elapsed.began)
        finally:
            self._pool.release(places - claimed, urgent=urgent)
        failpoints.step("delivery.after_claim")
        self.observers.emit(Claimed(claims=claims, elapsed=elapsed))
        return claims

    def _one_by_one(self, isolate: Sequence[Deferred], work: Work) -> None:
        """Whose last worker was lost comes last and by itself: if it was the cause, it takes no neighbours along."""
        deadlines = work.deadlines
        for place, deferred in enumerate(isolate):
            ended = work.wait(deadlines.left_to_begin(time.monotonic())) if deadlines.is_enough else work.wait()
            if not ended or (deadlines.is_enough and not deadlines.allow_call(time.monotonic())):
                self.settler.defer(isolate[place:])
                return
            self._begin([deferred.message], work, urgent=deferred.priority is Priority.HIGH, isolated=True)

    def _park_unreadable(self, batch: Sequence[IncomingMessage]) -> None:
        """What we cannot read: a later version's goes back as it came, for its own workers; the rest is parked."""
        later = [letter for letter in batch if letter.later is not None]
        unreadable = [letter for letter in batch if letter.message is None and letter.later is None]
        if later:
            log.warning("unsupported_version_deferred", extra={"messages": len(later), "reason": later[0].unreadable})
        for letter in unreadable:
            log.error("parked", extra={"queue": letter.queue, "reason": letter.unreadable, "bytes": len(letter.body)})
        self.broker.publish([*map(_back, later), *map(_parked, unreadable)])

    # --- send, and settle ---------------------------------------------------------------------------------------------

    def _send(self, claims: Claims, work: Work, *, urgent: bool) -> None:
        """Each call ends by itself, and one failure stays one failure."""
        fence = claims.without_rows
        calls: list[Callable[[], None]] = [
            partial(self._attempt, notification, fence, work) for notification in claims.acquired
        ]
        if calls:
            self._recorder.expect(work, len(calls))
            self._pool.submit(calls, urgent=urgent)

    def _attempt(self, notification: Notification, claims: Claims, work: Work) -> None:
        """In a thread of the pool. What ends a process is raised where it was to be waited for."""
        work.begin()
        try:
            stopwatch = Stopwatch()
            outcome = self._attempts.make(notification, claims, work.deadlines)
            self._account.note(notification, outcome)
            settlement = self.settler.settlement_for(
                claims,
                notification,
                outcome,
                provider=self.provider.name,
                elapsed=stopwatch.elapsed(),
                connection=self._account.known,
            )
        except BaseException as error:
            self._leases.drop([notification.id])
            self._recorder.fail(work, error)
            return
        self._recorder.add(settlement, work)

    def _record(self, settlements: Sequence[Settlement], deadlines: Deadlines) -> None:
        """Whatever comes of it, they are ours no more: what could not be written down is the sweep's to find."""
        failpoints.step("delivery.after_send")
        try:
            within = min(SETTLE_WITHIN, deadlines.left_to_settle(time.monotonic()))
            self.settler.record(settlements, within=within)
        finally:
            self._leases.drop(settlement.notification.id for settlement in settlements)
            self._account.report(settlements)


def _is_urgent(letter: IncomingMessage) -> bool:
    return topology.priority_of(letter.queue) is Priority.HIGH


def _is_ordinary(letter: IncomingMessage) -> bool:
    return not _is_urgent(letter)


def _unclaimed(message: Message, urgent: bool, pause: timedelta = timing.RETRY_STEPS[0]) -> Deferred:
    """It found no free sender, or waits for our account, and comes again."""
    priority = Priority.HIGH if urgent else Priority.NORMAL
    return Deferred(message=message, priority=priority, remaining=pause)


def _back(later: IncomingMessage) -> Outgoing:
    to = topology.retry(timing.DEFER_DELAY, later.channel, topology.priority_of(later.queue))
    return Outgoing(to=to, raw=later.body, headers=dict(later.later or {}))


def _parked(letter: IncomingMessage) -> Outgoing:
    reason = {"tidings-queue": letter.queue, "tidings-reason": letter.unreadable or ""}
    return Outgoing(to=topology.parking(), raw=letter.body, headers=reason)

"""Claim, send, settle: the same for every channel."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from tidings.config import failpoints
from tidings.domain.notification import Notification, Priority
from tidings.domain.stopwatch import Stopwatch
from tidings.domain.timing import DEFER_DELAY, DETACH_AFTER, NO_DEADLINE, SETTLE_WITHIN
from tidings.messaging import topology
from tidings.messaging.envelope import IncomingMessage, Message
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline.account import Account
from tidings.pipeline.account_probe import AccountProbe
from tidings.pipeline.attempts import Attempts
from tidings.pipeline.claiming import Claimer, unclaimed
from tidings.pipeline.deadlines import Deadlines
from tidings.pipeline.leases import Leases
from tidings.pipeline.parking import park_unreadable
from tidings.pipeline.send_pool import SendPool
from tidings.pipeline.settlement import Settler
from tidings.pipeline.settlement_buffer import BatchProgress, SettlementBuffer
from tidings.pipeline.suppression import Enforcement, verdict
from tidings.ports import Broker, Claims, Deferred, Provider, Settlement, Store

RESERVED = 2
"""Concurrent provider calls, besides the configured ones, for `priority: high` alone: a one-time password does not wait
for a newsletter, even if each call of the newsletter is slow."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Claim, send, settle.

    The queue hands us each message at least once and takes the batch as done when `deliver` returns. So we return only
    after everything is settled, deferred, or under a lease that the sweep watches. The claim makes a redelivered
    message harmless.

    A slow call delays neither its neighbours nor the next batch: no more rows are claimed than threads are free, now
    or within CLAIM_AHEAD; each outcome is recorded within RECORD_WITHIN of its call's end; and the leases of longer
    calls are renewed.
    """

    provider: Provider
    store: Store
    broker: Broker
    settler: Settler
    lease: timedelta
    concurrency: int
    reserved: int = RESERVED
    suppression: Enforcement = Enforcement.ON
    observers: Observers = LOG_ONLY
    _pool: SendPool = field(init=False, repr=False)
    _leases: Leases = field(init=False, repr=False)
    _buffer: SettlementBuffer = field(init=False, repr=False)
    _account: Account = field(init=False, repr=False)
    _attempts: Attempts = field(init=False, repr=False)
    _claimer: Claimer = field(init=False, repr=False)
    _probe: AccountProbe = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """No thread starts here: gunicorn may still fork."""
        pool, leases = SendPool(self.concurrency, reserved=self.reserved), Leases(self.store, self.lease)
        account = Account(self.store, self.provider.name, lease=self.lease, observers=self.observers)
        claimer = Claimer(
            store=self.store,
            lease=self.lease,
            leases=leases,
            pool=pool,
            observers=self.observers,
            suppression=self.suppression,
        )
        parts = {
            "_pool": pool,
            "_leases": leases,
            "_buffer": SettlementBuffer(self._record),
            "_account": account,
            "_attempts": Attempts(provider=self.provider, store=self.store, leases=leases),
            "_claimer": claimer,
            "_probe": AccountProbe(account=account, claimer=claimer, pool=pool, send=self._send),
        }
        for name, part in parts.items():
            object.__setattr__(self, name, part)

    def deliver(
        self, batch: Sequence[IncomingMessage], *, within: timedelta = NO_DEADLINE, detach: bool = False
    ) -> bool:
        """True: the whole batch is settled or deferred. Without `detach` it always is.

        `within`: how long this process lives. Messages that there is no time for are redelivered, unsent.
        `detach`: return DETACH_AFTER the last call has started; slow calls end later. Not for a process that is frozen
        once it has answered.
        Raise only if our own store or broker fails; the whole batch is then redelivered."""
        progress = BatchProgress(Deadlines.of(time.monotonic(), within=within, call=self.provider.timeout))
        park_unreadable(batch, self.broker)
        isolate: list[Deferred] = []
        try:
            with self._buffer.more_to_come(progress):
                for messages, urgent in _by_priority(batch):
                    isolate += self._claim_and_send(messages, progress, urgent=urgent)
            self._send_isolated(isolate, progress)
        finally:
            if detach:
                progress.wait_until_started(progress.deadlines.left_to_start(time.monotonic()))
            settled = progress.wait_until_settled(DETACH_AFTER if detach else None)
        failpoints.step("delivery.before_return")
        return settled

    def defer(self, batch: Sequence[IncomingMessage]) -> None:
        """The channel is paused, and the caller could not know it: redeliver the whole batch later, unclaimed."""
        park_unreadable(batch, self.broker)
        self.settler.defer(
            [
                unclaimed(message, urgent=urgent, pause=DEFER_DELAY)
                for messages, urgent in _by_priority(batch)
                for message in messages
            ]
        )

    def close(self) -> None:
        """Let running calls end and be settled, then give up connections."""
        self._pool.close()
        self._buffer.close()
        self._leases.close()
        self.provider.close()

    # --- claim --------------------------------------------------------------------------------------------------------

    def _claim_and_send(
        self, messages: Sequence[Message], progress: BatchProgress, *, urgent: bool, isolated: bool = False
    ) -> Sequence[Deferred]:
        """Claim as many as the pool has places for, until none is left. Return those to be claimed `isolated`."""
        deferred: list[Deferred] = []
        isolate: list[Deferred] = []
        while messages:
            if not self._account.is_open():
                deferred += self._probe.send_one(messages, progress, urgent=urgent)
                break
            within = progress.deadlines.left_to_start(time.monotonic())
            if not (places := self._pool.reserve(len(messages), urgent=urgent, within=within)):
                deferred += [unclaimed(message, urgent=urgent) for message in messages]
                break
            claims = self._claimer.claim(messages[:places], places, urgent=urgent, isolated=isolated)
            messages = messages[places:]
            self._send(claims, progress, urgent=urgent)
            deferred += claims.deferred
            isolate += claims.isolate
        self.settler.defer(deferred)
        return isolate

    def _send_isolated(self, isolate: Sequence[Deferred], progress: BatchProgress) -> None:
        """A notification whose last worker was lost is sent last and alone: if it killed that worker, it takes no
        neighbours along."""
        deadlines = progress.deadlines
        for place, deferred in enumerate(isolate):
            within = deadlines.left_to_start(time.monotonic()) if deadlines.is_enough else None
            settled = progress.wait_until_settled(within)
            if not settled or (deadlines.is_enough and not deadlines.allow_call(time.monotonic())):
                self.settler.defer(isolate[place:])
                return
            is_urgent = deferred.priority is Priority.HIGH
            self._claim_and_send([deferred.message], progress, urgent=is_urgent, isolated=True)

    # --- send, and settle ---------------------------------------------------------------------------------------------

    def _send(self, claims: Claims, progress: BatchProgress, *, urgent: bool) -> None:
        """Start a call for each acquired row, in the pool's threads."""
        fence = claims.without_rows
        calls: list[Callable[[], None]] = [
            partial(self._attempt, notification, fence, progress) for notification in claims.acquired
        ]
        if calls:
            self._buffer.expect(progress, len(calls))
            self._pool.submit(calls, urgent=urgent)

    def _attempt(self, notification: Notification, claims: Claims, progress: BatchProgress) -> None:
        """In a thread of the pool. What ends a process is raised where the batch is waited for."""
        progress.call_started()
        try:
            stopwatch = Stopwatch()
            suppression = verdict(self.suppression, notification, claims.suppressed.get(notification.id, {}))
            outcome = self._attempts.make(notification, claims, progress.deadlines, suppression)
            self._account.note(notification, outcome)
            settlement = self.settler.settlement_for(
                claims,
                notification,
                outcome,
                provider=self.provider.name,
                elapsed=stopwatch.elapsed(),
                connection=self._account.known,
                note=suppression.note,
            )
        except BaseException as error:
            self._leases.drop([notification.id])
            self._buffer.fail(progress, error)
            return
        self._buffer.add(settlement, progress)

    def _record(self, settlements: Sequence[Settlement], deadlines: Deadlines) -> None:
        """In the buffer's thread. Their leases end here: the sweep finds those that could not be recorded."""
        failpoints.step("delivery.after_send")
        try:
            within = min(SETTLE_WITHIN, deadlines.left_to_settle(time.monotonic()))
            self.settler.record(settlements, within=within)
        finally:
            self._leases.drop(settlement.notification.id for settlement in settlements)
            self._account.report(settlements)


def _by_priority(batch: Sequence[IncomingMessage]) -> Iterator[tuple[list[Message], bool]]:
    """The readable messages, and whether they are urgent: these first."""
    for urgent in (True, False):
        yield (
            [
                incoming.message
                for incoming in batch
                if incoming.message is not None and (topology.priority_of(incoming.queue) is Priority.HIGH) is urgent
            ],
            urgent,
        )

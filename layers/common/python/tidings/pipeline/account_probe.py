"""While the provider refuses our account, one notification at a time is sent, to learn whether it still does."""

import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tidings.domain import timing
from tidings.messaging.envelope import Message
from tidings.pipeline.account import Account
from tidings.pipeline.claiming import Claimer, unclaimed
from tidings.pipeline.send_pool import SendPool
from tidings.pipeline.settlement_buffer import BatchProgress
from tidings.ports import Claims, Deferred


class Send(Protocol):
    def __call__(self, claims: Claims, progress: BatchProgress, *, urgent: bool) -> None: ...


@dataclass(frozen=True, kw_only=True)
class AccountProbe:
    """Chooses the notification that is the probe, and sends it."""

    account: Account
    claimer: Claimer
    pool: SendPool
    send: Send

    def send_one(self, messages: Sequence[Message], progress: BatchProgress, *, urgent: bool) -> Sequence[Deferred]:
        """Send at most one of these, if a probe is due. Return the others, to be deferred.

        A notification that cannot be claimed leaves its place to the next. The order is random: the refused recipients
        of one caller, all in front, must not be the only ones tried. Raise StoreUnavailable."""
        deferred: list[Deferred] = []
        rest = deque(random.sample(messages, len(messages)))
        while rest and self.account.take_probe(rest[0].id):
            within = progress.deadlines.left_to_start(time.monotonic())
            if not self.pool.reserve(1, urgent=urgent, within=within):
                self.account.release_probe(rest[0].id)
                break
            message = rest.popleft()
            claims = self.claimer.claim([message], 1, urgent=urgent, isolated=True)
            self.send(claims, progress, urgent=urgent)
            if claims.acquired:
                break
            self.account.release_probe(message.id)
            deferred += claims.deferred
        pause = min(max(self.account.look().probe_in, timing.RETRY_STEPS[0]), timing.DEFER_DELAY)
        return [*deferred, *(unclaimed(message, urgent=urgent, pause=pause) for message in rest)]

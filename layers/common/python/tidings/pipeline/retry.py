"""When to try again: a list of delays, jitter, and the vendor's own wish."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from tidings.domain.timing import LONGEST_ACCOUNT_RETRY, LONGEST_RETRY_AFTER, RETRY_STEPS


@dataclass(frozen=True, kw_only=True)
class RetrySchedule:
    """The delay after each attempt; the last one repeats.

    Jitter only adds: a message that comes back early goes round a short step once more, one that comes back late has
    wasted its time. It spreads a herd whose provider failed it at one moment.
    """

    steps: tuple[timedelta, ...] = RETRY_STEPS
    jitter: float = 0.1  # of the delay, added at most
    longest: timedelta = LONGEST_RETRY_AFTER
    longest_account: timedelta = LONGEST_ACCOUNT_RETRY
    fraction: Callable[[], float] = random.random

    def delay_after(self, attempt: int, *, retry_after: timedelta | None = None) -> timedelta:
        """After the attempt of this number (the first is 1). `retry_after` is the vendor's wish and a lower bound."""
        step = self.steps[min(attempt, len(self.steps)) - 1]
        if retry_after is not None:
            step = max(step, min(retry_after, self.longest))
        return self._jittered(step)

    def delay_for_account(self, uncounted: int, *, retry_after: timedelta | None = None) -> timedelta:
        """After so many attempts that did not count, and this one. The first come soon: where little is sent, they are
        what shows that others are refused as well."""
        step = min(self.steps[min(uncounted, len(self.steps) - 1)], self.longest_account)
        if retry_after is not None:
            step = max(step, min(retry_after, self.longest))
        return self._jittered(step)

    def _jittered(self, delay: timedelta) -> timedelta:
        return delay * (1 + self.jitter * self.fraction())

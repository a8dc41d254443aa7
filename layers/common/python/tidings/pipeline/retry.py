"""When to try again: a list of delays, jitter, and the provider's Retry-After."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from tidings.domain.timing import LONGEST_ACCOUNT_RETRY, LONGEST_RETRY_AFTER, RETRY_STEPS


@dataclass(frozen=True, kw_only=True)
class RetrySchedule:
    """The delay after each attempt; the last one repeats.

    Jitter spreads notifications that failed at the same moment. It only adds: a message that comes early waits a short
    step once more.
    """

    steps: tuple[timedelta, ...] = RETRY_STEPS
    jitter: float = 0.1  # of the delay, added at most
    longest: timedelta = LONGEST_RETRY_AFTER
    longest_account: timedelta = LONGEST_ACCOUNT_RETRY
    fraction: Callable[[], float] = random.random

    def delay_after(self, attempt: int, *, retry_after: timedelta | None = None) -> timedelta:
        """After this many counted attempts, 1 or more. `retry_after`: the provider's, a lower bound."""
        step = self.steps[min(attempt, len(self.steps)) - 1]
        if retry_after is not None:
            step = max(step, min(retry_after, self.longest))
        return self._jittered(step)

    def delay_for_account(self, uncounted: int, *, retry_after: timedelta | None = None) -> timedelta:
        """After this many earlier uncounted attempts. The first delays are short: with little traffic, these attempts
        are what shows that other recipients are refused as well."""
        step = min(self.steps[min(uncounted, len(self.steps) - 1)], self.longest_account)
        if retry_after is not None:
            step = max(step, min(retry_after, self.longest))
        return self._jittered(step)

    def _jittered(self, delay: timedelta) -> timedelta:
        return delay * (1 + self.jitter * self.fraction())

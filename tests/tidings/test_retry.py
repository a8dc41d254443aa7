"""When to try again."""

from datetime import timedelta

import pytest
from tidings.domain import timing
from tidings.domain.notification import Priority
from tidings.messaging import topology
from tidings.pipeline.retry import RetrySchedule

CALM = RetrySchedule(jitter=0)


def test_each_attempt_waits_a_step_longer_and_the_last_step_repeats() -> None:
    assert [CALM.delay_after(attempt) for attempt in range(1, 9)] == [*timing.RETRY_STEPS, *timing.RETRY_STEPS[-1:] * 2]


def test_jitter_only_adds() -> None:
    most = RetrySchedule(jitter=0.1, fraction=lambda: 1.0)
    assert most.delay_after(3) == timedelta(seconds=33)
    assert RetrySchedule(jitter=0.1, fraction=lambda: 0.0).delay_after(3) == timedelta(seconds=30)


def test_retry_after_is_a_lower_bound_and_is_capped() -> None:
    assert CALM.delay_after(1, retry_after=timedelta(seconds=90)) == timedelta(seconds=90)
    assert CALM.delay_after(3, retry_after=timedelta(seconds=2)) == timedelta(seconds=30)
    assert CALM.delay_after(1, retry_after=timedelta(days=30)) == CALM.longest


@pytest.mark.parametrize(
    ("seconds", "queue"),
    [
        (0, "tidings.retry.1s"),
        (1.1, "tidings.retry.1s"),
        (5, "tidings.retry.5s"),
        (29.9, "tidings.retry.5s"),
        (119, "tidings.retry.30s"),
        (90_000, "tidings.retry.3600s"),
    ],
)
def test_a_retry_waits_in_the_longest_step_that_is_not_too_long(seconds: float, queue: str) -> None:
    assert topology.retry(timedelta(seconds=seconds), "email", Priority.NORMAL).exchange == queue

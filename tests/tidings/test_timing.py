"""The delays and time limits fit together, and a setting that breaks one of their relations stops the start."""

from datetime import timedelta

import pytest
from tidings.domain import timing
from tidings.domain.errors import ConfigurationError


@pytest.mark.parametrize("lease", [timedelta(seconds=1), timing.LEASE, timedelta(hours=1)], ids=str)
def test_every_allowed_lease_fits_the_other_limits(lease: timedelta) -> None:
    timing.check(lease=lease)


def test_a_lease_that_ends_before_an_outcome_is_recorded_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="TIDINGS_LEASE is too short"):
        timing.check(lease=timedelta(milliseconds=300))


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("DEFER_DELAY", timedelta(seconds=31), "DEFER_DELAY must be one of RETRY_STEPS"),
        ("RETRY_STEPS", (timedelta(seconds=30), timedelta(seconds=1)), "RETRY_STEPS must grow"),
        ("SUSPECT_FOR", timedelta(seconds=1), "SUSPECT_FOR must outlast"),
        ("LONGEST_PROBE", timedelta(days=2), "a probe must come before"),
        ("RETURN_RESERVE", timedelta(seconds=6), "RETURN_RESERVE"),
        ("NO_DEADLINE", timedelta(minutes=1), "NO_DEADLINE must outlast"),
        ("ANSWER_WITHIN", timedelta(seconds=31), "a trigger must wait"),
        ("VISIBILITY", timedelta(seconds=60), "VISIBILITY must outlast"),
        ("SWEEP_TIMEOUT", timedelta(seconds=20), "the scheduler must wait"),
        ("REQUEUE_AFTER", timedelta(seconds=1), "REQUEUE_AFTER must leave"),
    ],
)
def test_every_relation_is_checked(name: str, value: object, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, name, value)
    with pytest.raises(ConfigurationError, match=remedy):
        timing.check()

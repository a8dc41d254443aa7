"""A clock that a test moves."""

from datetime import UTC, datetime, timedelta


class TestClock:
    """The database's time, set by a test. It starts at the real time, so that it matches other clocks."""

    __test__ = False  # it is no test

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)

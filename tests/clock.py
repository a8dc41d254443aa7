"""A clock that a test moves."""

from datetime import UTC, datetime, timedelta


class TestClock:
    """The database's time, in a test's hand. It starts at the real time, so that it fits what else tells the time."""

    __test__ = False  # it is no test

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)

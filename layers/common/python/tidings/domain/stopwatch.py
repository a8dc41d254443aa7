"""Measures when something began and how long it took, on the process's monotonic clock."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Elapsed:
    """In seconds. `began` is valid in this process only."""

    began: float
    seconds: float

    @property
    def ended(self) -> float:
        return self.began + self.seconds


class Stopwatch:
    """Starts when it is created."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = time.monotonic()

    def elapsed(self) -> Elapsed:
        return Elapsed(self._began, time.monotonic() - self._began)

"""When something began and how long it took, on this process's monotonic clock."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds. `began` means something in this process only."""

    began: float
    seconds: float

    @property
    def ended(self) -> float:
        return self.began + self.seconds


class Watch:
    """Runs from when it is made."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = time.monotonic()

    def took(self) -> Took:
        return Took(self._began, time.monotonic() - self._began)

"""Wait for a condition with a deadline."""

import time
from collections.abc import Callable


def eventually(what: str, right: Callable[[], object], *, within: float, every: float = 0.05) -> float:
    """Wait until the condition is true; the seconds waited. Fail when the time is up."""
    begun = time.monotonic()
    while not right():
        assert time.monotonic() - begun < within, f"{what}: not within {within:g} s"
        time.sleep(every)
    return time.monotonic() - begun

"""Waiting for what other threads and processes do: until it is so, with a deadline."""

import time
from collections.abc import Callable


def eventually(what: str, right: Callable[[], object], *, within: float, every: float = 0.05) -> float:
    """Wait until it is so; the seconds that took. Fail when the time is up."""
    begun = time.monotonic()
    while not right():
        assert time.monotonic() - begun < within, f"{what}: not within {within:g} s"
        time.sleep(every)
    return time.monotonic() - begun

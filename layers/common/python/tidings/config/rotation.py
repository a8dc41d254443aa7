"""Secrets that change while a process runs: each new connection uses the present value in AWS."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from tidings.config.settings import Settings, load_again
from tidings.domain.errors import ConfigurationError

log = logging.getLogger(__name__)

S = TypeVar("S", bound=Settings)
T = TypeVar("T")

UNREAD = 30.0
"""Seconds without a request to AWS after it did not answer: each request may take some seconds."""
PAUSE = 5.0
"""Seconds between two requests to AWS because of a refusal: a wrong password must not cause one per connection."""


class Rotation(Generic[S]):
    """Present settings of an owner. Values that are not in AWS do not change. Thread-safe."""

    def __init__(self, settings: S, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._latest = settings
        self._clock = clock
        self._asked_at = self._unread_at = -math.inf
        self._lock = threading.Lock()

    def connect(self, connect: Callable[[S], T], *, is_refusal: Callable[[Exception], bool]) -> T:
        """What `connect` returns. If the server refuses, connect once more if AWS has a new value."""
        tried = self._now()
        try:
            return connect(tried)
        except Exception as error:
            if not is_refusal(error) or (newer := self._reread()) == tried:
                raise
        return connect(newer)

    def _reread(self) -> S:
        """The settings, read from AWS without the cache, at most every PAUSE."""
        with self._lock:
            if self._clock() - self._asked_at < PAUSE:
                return self._latest
            self._asked_at = self._clock()
        return self._now(anew=True)

    def _now(self, *, anew: bool = False) -> S:
        if self._latest.are_in_aws and self._clock() - self._unread_at >= UNREAD:
            try:
                self._latest = load_again(self._latest, anew=anew)
            except ConfigurationError as error:  # the last known value may still be right
                self._unread_at = self._clock()
                log.warning("settings_refresh_failed", extra={"error": str(error)})
        return self._latest

"""Passwords that change while a process runs: each new connection is made with what is in AWS by now."""

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
"""Seconds for which AWS is left alone after it did not answer: each question may have waited for some seconds."""
PAUSE = 5.0
"""Seconds between two questions to AWS because of a refusal: a wrong password does not make each connection one."""


class Rotation(Generic[S]):
    """An owner's settings as they are now. Those that do not come from AWS stay as they are. Thread-safe."""

    def __init__(self, settings: S, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._latest = settings
        self._clock = clock
        self._asked_at = self._unread_at = -math.inf
        self._lock = threading.Lock()

    def connect(self, connect: Callable[[S], T], *, is_refusal: Callable[[Exception], bool]) -> T:
        """What `connect` makes. Where the server refuses it, once more if AWS has something else by now."""
        tried = self._now()
        try:
            return connect(tried)
        except Exception as error:
            if not is_refusal(error) or (newer := self._asked()) == tried:
                raise
        return connect(newer)

    def _asked(self) -> S:
        """AWS, for what has changed within the time that it is kept; not again and again."""
        with self._lock:
            if self._clock() - self._asked_at < PAUSE:
                return self._latest
            self._asked_at = self._clock()
        return self._now(anew=True)

    def _now(self, *, anew: bool = False) -> S:
        if self._latest.are_in_aws and self._clock() - self._unread_at >= UNREAD:
            try:
                self._latest = load_again(self._latest, anew=anew)
            except ConfigurationError as error:  # what was right a moment ago may still be
                self._unread_at = self._clock()
                log.warning("settings_refresh_failed", extra={"error": str(error)})
        return self._latest

"""Whether an operator has paused the channel."""

import logging
import time
from dataclasses import dataclass

from tidings.errors import StoreUnavailable
from tidings.ports import Store

from local.trigger.trigger import LOOK_EVERY

log = logging.getLogger("tidings.trigger")


@dataclass
class Pauses:
    """Asks the database once in a while, however often it is called. Where that does not answer, what it said last
    holds: a function could claim nothing either."""

    store: Store
    channel: str
    _paused: bool = False
    _asked_at: float = float("-inf")  # on the monotonic clock

    def __call__(self) -> bool:
        if time.monotonic() - self._asked_at < LOOK_EVERY:
            return self._paused
        try:
            paused = self.channel in self.store.paused()
        except StoreUnavailable:
            paused = self._paused
        if paused != self._paused:
            log.warning("paused" if paused else "resumed", extra={"channel": self.channel})
        self._paused, self._asked_at = paused, time.monotonic()
        return paused

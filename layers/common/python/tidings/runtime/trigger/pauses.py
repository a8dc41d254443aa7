"""Whether the channel is to be left alone now: an operator has paused it, or its provider refuses our account."""

import logging
import time
from dataclasses import dataclass

from tidings.domain.errors import StoreUnavailable
from tidings.ports import Store
from tidings.runtime.trigger.trigger import LOOK_EVERY

log = logging.getLogger(__name__)


@dataclass
class Pauses:
    """Asks the database once in a while, however often it is called. Where that does not answer, what it said last
    holds: a function could claim nothing either.

    While the provider refuses our account, messages are taken only when the next probe is due, a batch at a time: what
    waits, waits in its queue, and costs nothing.
    """

    store: Store
    channel: str
    _paused: bool = False
    _is_closed: bool = False  # the provider refuses us, or may do so
    _waits: bool = False  # for the next probe
    _asked_at: float = float("-inf")  # on the monotonic clock

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._is_closed or now - self._asked_at >= LOOK_EVERY:
            self._asked_at = now
            self._look()
        return self._paused or self._waits

    def _look(self) -> None:
        try:
            paused = self.channel in self.store.paused()
            connections = [one for one in self.store.connections() if one.channel == self.channel]
        except StoreUnavailable:
            return
        self._is_closed = any(not connection.is_open for connection in connections)
        self._waits = any(connection.probe_in for connection in connections)
        if paused and not self._paused:
            log.warning("trigger_paused", extra={"channel": self.channel})
        elif self._paused and not paused:
            log.warning("trigger_resumed", extra={"channel": self.channel})
        self._paused = paused

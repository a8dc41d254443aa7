"""Whether a channel is paused: by an operator, or because its provider refuses our account."""

import logging
import time
from dataclasses import dataclass

from tidings.domain.errors import StoreUnavailable
from tidings.ports import Store
from tidings.runtime.trigger.trigger import LOOK_EVERY

log = logging.getLogger(__name__)


@dataclass
class Pauses:
    """Ask the database at most every LOOK_EVERY seconds. If it does not answer, its last answer holds: a function could
    not claim either.

    While the provider refuses our account, the trigger takes one batch whenever the next probe is due. All other
    messages wait in their queue, at no cost.
    """

    store: Store
    channel: str
    _paused: bool = False
    _is_refused: bool = False  # the provider refuses us, or is suspected to
    _waits_for_probe: bool = False
    _asked_at: float = float("-inf")  # on the monotonic clock

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._is_refused or now - self._asked_at >= LOOK_EVERY:
            self._asked_at = now
            self._look()
        return self._paused or self._waits_for_probe

    def _look(self) -> None:
        try:
            paused = self.channel in self.store.paused()
            connections = [one for one in self.store.connections() if one.channel == self.channel]
        except StoreUnavailable:
            return
        self._is_refused = any(not connection.is_open for connection in connections)
        self._waits_for_probe = any(connection.probe_in for connection in connections)
        if paused and not self._paused:
            log.warning("trigger_paused", extra={"channel": self.channel})
        elif self._paused and not paused:
            log.warning("trigger_resumed", extra={"channel": self.channel})
        self._paused = paused

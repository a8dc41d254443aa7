"""How many calls one host gets at once, so that a slow one delays no other."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tidings.domain.errors import NotCalled

WAIT = 0.5
"""Seconds that a call waits for a slot of a host that answers quickly: it frees one soon."""

SLOW = 1.0
"""Seconds. A host whose last call took longer, or for which a call waited in vain, is slow until one is quicker."""

MAX_HOSTS = 10_000
"""Hosts that are remembered. The oldest without calls are forgotten."""


@dataclass(kw_only=True, slots=True)
class _Host:
    under_way: int = 0
    is_slow: bool = False
    freed: threading.Condition = field(default_factory=threading.Condition)


class Slots:
    """The senders of a process are shared by all hosts. Each host gets `size` of them at most, a slow one a quarter."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, name: str) -> Iterator[None]:
        """Raise NotCalled if the host has no free slot."""
        host = self._take(name)
        began = time.monotonic()
        try:
            yield
        finally:
            with host.freed:
                host.under_way -= 1
                host.is_slow = time.monotonic() - began > SLOW
                host.freed.notify()

    def _take(self, name: str) -> _Host:
        with self._lock:
            if len(self._hosts) >= MAX_HOSTS:
                self._hosts = {known: host for known, host in self._hosts.items() if host.under_way}
            host = self._hosts.setdefault(name, _Host())
            with host.freed:
                if host.under_way < self._limit(host):
                    host.under_way += 1
                    return host
        with host.freed:
            if host.is_slow or not host.freed.wait_for(lambda: host.under_way < self._limit(host), WAIT):
                host.is_slow = True
                raise NotCalled("endpoint_busy", f"{host.under_way} calls to this host are under way")
            host.under_way += 1
            return host

    def _limit(self, host: _Host) -> int:
        return max(1, self._size // 4) if host.is_slow else self._size

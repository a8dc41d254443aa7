"""The leases of the rows that this process has claimed, renewed until they are settled.

A lease is short, so that a dead worker is noticed within seconds. A call may take minutes: while its process lives,
its lease is renewed and no other worker claims the row.
"""

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from tidings.domain.errors import StoreUnavailable
from tidings.domain.timing import LEASE_RESERVE, RENEW_AFTER
from tidings.ports import Claims, Store

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Lease:
    token: str
    until: float  # on the monotonic clock, from before the database was asked: never later than the database's


class Leases:
    """Thread-safe. Its thread starts with the first claim, and renews only leases that have lasted for a while."""

    def __init__(self, store: Store, lease: timedelta) -> None:
        self._store, self._lease = store, lease
        self._seconds = lease.total_seconds()
        self._kept: dict[str, _Lease] = {}  # by the notification's id
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._closed = False

    def keep(self, claims: Claims, *, asked_at: float) -> None:
        """Renew the leases of the acquired rows until `drop`. `asked_at`: the claim's start, on the monotonic clock."""
        with self._lock:
            for notification in claims.acquired:
                self._kept[notification.id] = _Lease(claims.token, asked_at + self._seconds)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="tidings-leases", daemon=True)
                self._thread.start()
            elif len(self._kept) == len(claims.acquired):  # there was nothing to renew: the thread sleeps
                self._changed.notify()

    def drop(self, ids: Iterable[str]) -> None:
        """These rows are settled, or left to the sweep."""
        with self._lock:
            for id in ids:
                self._kept.pop(id, None)

    def allow_call(self, id: str, now: float) -> bool:
        """True: the lease is ours and lasts for LEASE_RESERVE at least."""
        lease = self._kept.get(id)
        return lease is not None and now + self._seconds * LEASE_RESERVE < lease.until

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = self._seconds * RENEW_AFTER
        while True:
            with self._lock:
                while not self._kept and not self._closed:
                    self._changed.wait()
                if not self._closed:
                    self._changed.wait(pause)
                if self._closed:
                    return
            pause = self._seconds * RENEW_AFTER / (1 if self._renew() else 5)

    def _renew(self) -> bool:
        """False: the database did not answer."""
        asked_at = time.monotonic()
        renew_before = asked_at + self._seconds * (1 - RENEW_AFTER / 2)
        with self._lock:
            lasting = {id: lease for id, lease in self._kept.items() if lease.until < renew_before}
        if not lasting:
            return True
        try:
            held = self._store.renew({id: lease.token for id, lease in lasting.items()}, self._lease)
        except StoreUnavailable as error:
            log.warning("lease_renewal_failed", extra={"error": str(error), "notifications": len(lasting)})
            return False
        with self._lock:
            for id in held:
                lasting[id].until = asked_at + self._seconds
        return True

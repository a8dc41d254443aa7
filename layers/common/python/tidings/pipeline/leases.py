"""The leases of what this process has claimed, renewed until it is settled.

A lease is short, so that a dead worker is noticed within seconds. A call may last for minutes all the same: as long as
this process lives, nobody else takes what it is sending.
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
    until: float  # on the monotonic clock, counted from before the database was asked


class Leases:
    """Thread-safe. Its thread starts with the first claim, and asks the database only about what has lasted."""

    def __init__(self, store: Store, lease: timedelta) -> None:
        self._store, self._lease = store, lease
        self._seconds = lease.total_seconds()
        self._kept: dict[str, _Lease] = {}  # by the notification's id
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._closed = False

    def keep(self, claims: Claims, *, asked_at: float) -> None:
        """Renew these until `drop`. `asked_at`: before the claim, on the monotonic clock."""
        with self._lock:
            for notification in claims.acquired:
                self._kept[notification.id] = _Lease(claims.token, asked_at + self._seconds)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="tidings-leases", daemon=True)
                self._thread.start()
            elif len(self._kept) == len(claims.acquired):  # it sleeps while there is nothing to renew
                self._changed.notify()

    def drop(self, ids: Iterable[str]) -> None:
        """These are settled."""
        with self._lock:
            for id in ids:
                self._kept.pop(id, None)

    def allow_call(self, id: str, now: float) -> bool:
        """Whether a call may begin: the lease is ours, and will be for some time."""
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
            pause = self._seconds * RENEW_AFTER / (1 if self._renewed() else 5)

    def _renewed(self) -> bool:
        """Renew those that have lasted. False: the database did not answer."""
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

"""Accept a batch: store, publish, mark queued."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidings.config import failpoints
from tidings.domain.errors import AlreadyExpired, StoreUnavailable
from tidings.domain.notification import Notification
from tidings.domain.stopwatch import Stopwatch
from tidings.observability.events import Accepted, Canceled
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline.queueing import queue
from tidings.ports import Broker, Inserted, InsertResult, Store


@dataclass(frozen=True, kw_only=True)
class Intake:
    """202 means: the row is committed. A broker that is down refuses nobody: the sweep publishes what it missed."""

    store: Store
    broker: Broker
    observers: Observers = LOG_ONLY

    def accept(self, batch: Sequence[Notification]) -> Sequence[InsertResult]:
        """The results, in the order of the batch. A notification that cannot be stored fails alone: its place has the
        error. Raise StoreUnavailable: nothing is then promised, and the same batch may be submitted again."""
        if not batch:
            return []
        stopwatch = Stopwatch()
        # The database's clock decides. It is asked only if our clock says that one has expired.
        taken = self._insert_unexpired(batch) if any(row.came_expired for row in batch) else self._insert(batch)
        elapsed = stopwatch.elapsed()
        failpoints.step("intake.after_commit")
        new = [item.notification for item in taken if isinstance(item, Inserted) and item.existing is None]
        if new:
            self.observers.emit(Accepted(notifications=new, elapsed=elapsed))
        # The sweep queues the others when they are due.
        due = [notification for notification in new if notification.is_for_now]
        queue(due, store=self.store, broker=self.broker, observers=self.observers)
        failpoints.step("intake.before_answer")
        return taken

    def _insert_unexpired(self, batch: Sequence[Notification]) -> Sequence[InsertResult]:
        """Refuse what has expired already, unless its idempotency key is known: a request that is repeated after its
        expiry, because its answer was lost, gets the first answer."""
        now = self.store.now()
        late = [row for row in batch if row.expires_at is not None and row.expires_at <= now]
        hashes = {row.idempotency_hash for row in late if row.idempotency_hash is not None}
        holders = self.store.holders(hashes) if hashes else {}
        refused: dict[str, InsertResult] = {row.id: _known(row, holders, now) for row in late}
        unexpired = [row for row in batch if row.id not in refused]
        stored = iter(self._insert(unexpired) if unexpired else ())
        return [refused[row.id] if row.id in refused else next(stored) for row in batch]

    def _insert(self, batch: Sequence[Notification]) -> Sequence[InsertResult]:
        """Halve the batch until what breaks it is found. Raise StoreUnavailable."""
        try:
            return self.store.insert(batch)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(batch) == 1:
                return [error]
        middle = len(batch) // 2
        return [result for half in (batch[:middle], batch[middle:]) for result in self._insert_half(half)]

    def _insert_half(self, half: Sequence[Notification]) -> Sequence[InsertResult]:
        """The other half may be committed: if the database fails now, only this half gets the error."""
        try:
            return self._insert(half)
        except StoreUnavailable as error:
            return [error] * len(half)

    def cancel(self, tenant: str, id: str) -> Notification | None:
        """The row afterwards, canceled or not, as `Store.cancel` says. None: there is no such row."""
        found = self.store.cancel(tenant, id)
        if found is None:
            return None
        if found.by_this_call:
            self.observers.emit(Canceled(notification=found.notification))
        return found.notification


def _known(row: Notification, holders: Mapping[str, Notification], now: datetime) -> InsertResult:
    holder = holders.get(row.idempotency_hash or "")
    return Inserted(row, holder) if holder is not None else AlreadyExpired(now)

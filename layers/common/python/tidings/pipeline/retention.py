"""Delete what ended longer ago than it is kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from tidings.domain.timing import PURGE_FOR
from tidings.ports import PAGE, Store


@dataclass(frozen=True, kw_only=True)
class Retention:
    store: Store
    keep: timedelta
    sleep: Callable[[float], None] = time.sleep

    def purge(self) -> int:
        """Delete page by page, for PURGE_FOR at most. Return the number of notifications. After each page it pauses for
        as long as the page took, so that deliveries find the database free. Raise StoreUnavailable."""
        deadline = time.monotonic() + PURGE_FOR.total_seconds()
        rows, after = 0, ""
        while (started := time.monotonic()) < deadline:
            suppressions = self.store.purge_suppressions(self.keep, PAGE)
            purged = self.store.purge(self.keep, PAGE, after=after)
            rows += purged.rows
            if purged.last is None and suppressions < PAGE:
                break
            after = purged.last or after
            self.sleep(time.monotonic() - started)
        return rows

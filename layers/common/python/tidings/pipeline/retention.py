"""Delete what ended longer ago than it is kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from tidings.domain.timing import PURGE_FOR
from tidings.ports import PAGE, Store


def by_pages(page: Callable[[], bool], sleep: Callable[[float], None]) -> None:
    """Call `page` until it returns False, because there are no more, or PURGE_FOR has passed. After each page pause for
    as long as it took, so that deliveries find the database free."""
    deadline = time.monotonic() + PURGE_FOR.total_seconds()
    while (started := time.monotonic()) < deadline and page():
        sleep(time.monotonic() - started)


@dataclass(frozen=True, kw_only=True)
class Retention:
    store: Store
    keep: timedelta
    sleep: Callable[[float], None] = time.sleep

    def purge(self) -> int:
        """Delete page by page. Return the number of notifications. Raise StoreUnavailable."""
        rows, after = 0, ""

        def page() -> bool:
            nonlocal rows, after
            suppressions = self.store.purge_suppressions(self.keep, PAGE)
            purged = self.store.purge(self.keep, PAGE, after=after)
            rows += purged.rows
            after = purged.last or after
            return purged.last is not None or suppressions >= PAGE

        by_pages(page, self.sleep)
        return rows

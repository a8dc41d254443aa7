"""After RECEIPT_WINDOW without a receipt: ask the provider what became of the message. Nothing is guessed."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tidings.domain.notification import Notification
from tidings.domain.receipt import Receipt
from tidings.domain.timing import LOOKUPS, LOOKUPS_FOR
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline.receipts import Receipts
from tidings.ports import Store
from tidings.ports.receipts import LookupFailed, ReceiptLookup

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MissingReceipts:
    """Part of a sweep."""

    store: Store
    lookups: Mapping[str, ReceiptLookup]  # by provider
    observers: Observers = LOG_ONLY

    def ask(self) -> None:
        """A few questions, one after the other, for at most LOOKUPS_FOR; later sweeps ask the rest. This sweep asks a
        provider that does not answer no more. If the provider cannot say what happened, the notification stays `sent`,
        with its receipt missing. Raise StoreUnavailable."""
        now, down, deadline = self.store.now(), set[str](), time.monotonic() + LOOKUPS_FOR.total_seconds()
        found: list[Receipt] = []
        missing: list[Notification] = []
        for _ in range(LOOKUPS):
            # One by one: each that is taken counts as a try, and a slow provider leaves no time for most.
            if time.monotonic() >= deadline or not (rows := self.store.receipts_due(1)):
                break
            (row,) = rows
            lookup = self.lookups.get(row.provider or "")
            if lookup is None or row.provider_message_id is None:
                missing.append(row)
            elif row.provider not in down:
                try:
                    answer = lookup.report(row.provider_message_id, now)
                except LookupFailed as error:
                    log.warning("receipt_lookup_failed", extra={"provider": row.provider, "error": str(error)})
                    down.add(str(row.provider))
                    continue
                if answer is not None:
                    found.append(answer)
                else:
                    missing.append(row)
        if found:
            Receipts(store=self.store, observers=self.observers).record(found)
        self.store.mark_receipts_missing(missing)

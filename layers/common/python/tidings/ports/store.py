"""What the pipeline needs from the database. Implemented in `adapters`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from tidings.domain.connection import CallEnd, Connection
from tidings.domain.notification import Notification, Priority, TimelineEntry
from tidings.domain.receipt import Receipt
from tidings.messaging.envelope import Message
from tidings.ports.receipts import Applied
from tidings.ports.records import (
    Changed,
    Claims,
    Inserted,
    Overdue,
    Purged,
    Selection,
    Settlement,
    Suppression,
    SuppressionEntry,
    SuppressionSelection,
)
from tidings.ports.webhooks import Feed


class Store(Protocol):
    """The database, which is the truth. Thread-safe. A method is one transaction (`insert` makes a second one if a key
    is taken, and `feed` up to three), retried if that is safe. It raises StoreUnavailable if the database does not
    answer. The number of statements does not depend on the batch."""

    def insert(self, batch: Sequence[Notification]) -> Sequence[Inserted]:
        """Commit the rows. If an idempotency hash is taken, return the earlier row and write nothing for it.

        Raise RowTooLarge, and write nothing, if one is too large for the database's settings.

        A row to be sent at once is written as queued, which saves a statement. If its message cannot be published,
        call `mark_unqueued`; if the process dies before, the sweep checks after some seconds."""

    def now(self) -> datetime:
        """The database's time, which decides what has expired."""

    def holders(self, hashes: Collection[str]) -> Mapping[str, Notification]:
        """The rows that have these idempotency hashes, by hash."""

    def mark_unqueued(self, rows: Sequence[Notification]) -> None:
        """Their messages were not confirmed: the sweep publishes them soon. Like every mark, it skips rows that a
        worker or a replay has changed since they were read."""

    def claim(
        self, messages: Sequence[Message], lease: timedelta, *, isolated: bool = False, suppressed: bool = True
    ) -> Claims:
        """Lease each message's row to this caller if it is due and not leased. A row whose last attempt ended with
        LEASE_EXPIRED is acquired only `isolated`, because it may kill its worker and every neighbour with it.
        `suppressed`: also look up which recipients are suppressed, in one statement more."""

    def renew(self, tokens: Mapping[str, str], lease: timedelta) -> Collection[str]:
        """Extend these leases, by id and token, from now on. Return the ids that are still held."""

    def settle(self, settlements: Sequence[Settlement], *, dead_letters_owed: bool = False) -> Sequence[Settlement]:
        """Write settlements of any number of claims, with their timeline entries and suppressions. Return those that
        lost their lease: nothing is written of them. An entry has the time of the provider's answer. Receipts that came
        while a row was being sent are applied in the same transaction.
        `dead_letters_owed`: the dead letters could not be published; the sweep finds the failed rows and publishes."""

    def apply_receipts(self, batch: Sequence[Receipt]) -> Sequence[Applied]:
        """Find each receipt's notification and do what `pipeline.receipts` decides, in their order. A receipt for a row
        that is being sent, and one that matches no row, are kept. Duplicates do nothing."""

    def retry_receipts(self, limit: int) -> Sequence[Applied]:
        """Try up to `limit` kept receipts again whose time has come. Return those that are done: applied now or with a
        settlement, or dropped after RECEIPTS_KEPT."""

    def kept_receipts(self, ids: Collection[str]) -> Mapping[str, Sequence[Receipt]]:
        """The receipts kept for these notifications, oldest first."""

    def stop_waiting(self, limit: int) -> int:
        """Look at up to `limit` rows whose receipt is due, and wait no longer for those whose provider has reported or
        was asked LOOKUPS_PER_MESSAGE times; the receipt of the latter is missing. Return how many these were."""

    def receipts_due(self, limit: int) -> Sequence[Notification]:
        """Up to `limit` sent rows whose provider has not reported in RECEIPT_WINDOW, after `stop_waiting`. Each counts
        as asked, and is due again later, see LOOKUP_RETRIES."""

    def mark_receipts_missing(self, rows: Sequence[Notification]) -> None:
        """Nobody knows what became of these. Those that have moved since are left alone."""

    def purge_receipts(self) -> int:
        """Delete a page of receipts that are done and older than RECEIPTS_KEPT. Return how many."""

    def overdue(self, limit: int, lease: timedelta) -> Overdue:
        """Take rows that should have moved by now and have not."""

    def give_up(self, waiting: Sequence[Notification], connection: Connection) -> Sequence[Notification]:
        """Fail these, unclaimed, with the connection's error. Return them as they are afterwards, without those that
        have moved meanwhile. Their dead letters are owed."""

    def mark_queued(self, rows: Sequence[Notification]) -> None:
        """Their messages are confirmed: the sweep skips them for a while."""

    def mark_waiting(self, rows: Sequence[Notification], pause: timedelta) -> None:
        """Their messages wait in their queues: the sweep checks again after the pause."""

    def queue_progress(self, channel: str, priority: Priority, since: datetime) -> datetime | None:
        """When the newest message was queued that this queue has already delivered, of notifications created after
        `since`. None: a bounded read found none."""

    def mark_dead_letter_published(self, rows: Sequence[Notification]) -> None:
        """Their dead letters are confirmed."""

    def reset_for_replay(
        self,
        selection: Selection,
        limit: int,
        due_in: timedelta,
        *,
        after: str = "",
        expires_at: datetime | None = None,
    ) -> Sequence[Notification]:
        """Set rows that can be replayed back to pending, one generation later, oldest first. `after`: only rows created
        after this id. Without a delay they are written as queued, see `insert`. A row that will have expired when it is
        due is skipped, unless `expires_at` is later: this then replaces the expiry that has passed."""

    def filter_failed(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those of these dead letters whose row is failed, in the same generation."""

    def resolve(self, tenant: str, id: str) -> Changed | None:
        """An operator says that it was sent: only an unknown row becomes sent. None: no such row."""

    def cancel(self, tenant: str, id: str) -> Changed | None:
        """Cancel it unless it is claimed or has ended. None: no such row."""

    def paused(self) -> Mapping[str, datetime]:
        """The paused channels, and since when."""

    def pause(self, channel: str) -> None:
        """Idempotent: a second pause keeps the time of the first."""

    def resume(self, channel: str) -> None:
        """Idempotent."""

    def connections(self) -> Sequence[Connection]:
        """Of every provider that a call has been reported of."""

    def report(self, name: str, channel: str, calls: Sequence[CallEnd]) -> tuple[Connection, Connection]:
        """Record how these calls of a provider ended. Return its connection before and after."""

    def take_probe(self, name: str, notification_id: str, lease: timedelta) -> bool:
        """Make this notification the probe of a closed connection. False: no probe is due, or one is being sent.
        `lease`: of the claim that follows."""

    def release_probe(self, name: str, notification_id: str) -> None:
        """It was not claimed: another notification may be the probe."""

    def purge(self, keep: timedelta, limit: int, *, after: str = "") -> Purged:
        """Delete up to `limit` rows that ended longer ago than `keep`, oldest first, with their timelines. `after`: the
        last id of the page before, so that kept rows are not read again."""

    def add_suppressions(self, tenant: str, channel: str, given: Sequence[Suppression]) -> None:
        """Add these to the tenant's list. Of two of the same recipient and scope, the one that lasts longer stands; one
        that has ended or was removed begins anew."""

    def remove_suppression(self, tenant: str, channel: str, recipient: str, scope: str, by: str) -> bool:
        """End this entry now, and keep it as a record of `by` whom. False: no such entry is in force."""

    def find_suppressions(self, selection: SuppressionSelection, limit: int) -> Sequence[SuppressionEntry]:
        """Newest first."""

    def adopt_suppressions(self, lasts: Mapping[str, timedelta], limit: int) -> int:
        """Move up to `limit` entries that older releases, running beside this one, have written to their own table.
        `lasts`: by reason; a reason that it lacks lasts until it is removed. Return how many."""

    def purge_suppressions(self, keep: timedelta, limit: int) -> int:
        """Delete up to `limit` suppressions that ended longer ago than `keep`. Return how many."""

    def get(self, tenant: str, id: str) -> Notification | None: ...

    def events(self, id: str) -> Sequence[TimelineEntry]:
        """The timeline, oldest first."""

    def get_with_timeline(self, tenant: str, id: str) -> tuple[Notification, Sequence[TimelineEntry]] | None:
        """Both in one snapshot: a worker may settle it meanwhile."""

    def find(self, selection: Selection, limit: int, *, oldest_first: bool = False) -> Sequence[Notification]:
        """Newest first, unless `oldest_first`."""

    def feed(self, tenant: str, after: int, limit: int) -> Feed:
        """Events after this `seq`, ascending. An event is in no page before all that have a lower `seq`, although
        transactions commit in another order. May wait for a transaction that is under way."""

    def may_have_been_sent(self, ids: Sequence[str]) -> Collection[str]:
        """Those with an ambiguous attempt, in any generation, that no later report has proven to have failed."""

    def count(self, selection: Selection) -> int: ...

    def count_by_expiry(self, selection: Selection) -> tuple[int, int]:
        """How many have not expired, and how many have, on the database's clock."""

    def count_doubtful(self, selection: Selection, limit: int) -> int:
        """Of the `limit` oldest, how many may have been sent, see `may_have_been_sent`."""

    def check(self) -> None:
        """Raise StoreUnavailable unless the database answers and its schema is this version's."""

    def close(self) -> None: ...

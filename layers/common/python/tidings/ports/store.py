"""What the core asks of the database: implemented in `adapters`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from tidings.domain.connection import CallEnd, Connection
from tidings.domain.notification import Notification, Priority, TimelineEntry
from tidings.messaging.envelope import Message
from tidings.ports.records import Changed, Claims, Inserted, Overdue, Purged, Selection, Settlement


class Store(Protocol):
    """The database: the truth. Thread-safe. Every method is one transaction, retried where that is safe, and raises
    StoreUnavailable when the database does not answer. Its statements do not grow in number with the batch."""

    def insert(self, batch: Sequence[Notification]) -> Sequence[Inserted]:
        """Commit the rows. Where an idempotency hash is taken, the earlier row is answered and nothing is written.

        Raise RowTooLarge, and write nothing, where one is too large for how the database is set.

        What is for now is written as queued, which is one statement fewer: who cannot publish it then says so, and the
        sweep looks after some seconds, should nobody have lived to say it."""

    def now(self) -> datetime:
        """By the database's clock, which decides what has expired."""

    def holders(self, hashes: Collection[str]) -> Mapping[str, Notification]:
        """The rows that have these idempotency hashes, by hash."""

    def mark_unqueued(self, rows: Sequence[Notification]) -> None:
        """Their messages were not confirmed: the sweep is to publish them, and soon. As every mark, it leaves alone the
        rows that a worker or a replay has had since they were read."""

    def claim(self, messages: Sequence[Message], lease: timedelta, *, isolated: bool = False) -> Claims:
        """Give each message's row to this caller, if it is due and nobody else has it. A row whose last attempt ended
        with LEASE_EXPIRED is given only if it is claimed `isolated`, while its neighbours wait: it may take its worker
        with it."""

    def renew(self, tokens: Mapping[str, str], lease: timedelta) -> Collection[str]:
        """Extend the leases of these, by id and token, from now on. Answer the ids of those that are still held."""

    def settle(self, settlements: Sequence[Settlement], *, dead_letters_owed: bool = False) -> Sequence[Settlement]:
        """Write the ends and their events, of any number of claims. Answer those that lost their lease:
        nothing was written of them. An event has the time of the provider's answer.
        `dead_letters_owed`: the dead letters could not be published; the sweep will find the failed rows and do it."""

    def overdue(self, limit: int, lease: timedelta) -> Overdue:
        """Take what should have moved by now and has not."""

    def give_up(self, waiting: Sequence[Notification], connection: Connection) -> Sequence[Notification]:
        """Fail these, unclaimed, with what the connection's provider says of our account. Answer them as they then are,
        without those that have moved meanwhile. Their dead letters are owed."""

    def mark_queued(self, rows: Sequence[Notification]) -> None:
        """Their messages are confirmed: the sweep may leave them alone for a while."""

    def mark_waiting(self, rows: Sequence[Notification], pause: timedelta) -> None:
        """Their messages wait in their queues: the sweep looks again after the pause."""

    def queue_progress(self, channel: str, priority: Priority, since: datetime) -> datetime | None:
        """How far this queue has come: when the newest message was queued that has had its turn, of those of
        notifications made after `since`. None: none has, as far as a bounded look shows."""

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
        """Set failed and unknown rows back to pending, one generation later, oldest first; `after`: those made after
        this one. Without a delay they are written as queued, see `insert`. What will have expired by the time it is
        due stays as it is, unless `expires_at` is later: it then takes the place of the one that was over."""

    def filter_failed(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those of these letters whose row is failed, in their generation."""

    def resolve(self, tenant: str, id: str) -> Changed | None:
        """An operator's word that it was sent: unknown becomes sent, and nothing else does. None: there is none."""

    def cancel(self, tenant: str, id: str) -> Changed | None:
        """Cancel it unless it is claimed or over. None: there is none."""

    def paused(self) -> Mapping[str, datetime]:
        """The channels that are not to be worked on, and since when."""

    def pause(self, channel: str) -> None:
        """Idempotent; it does not change since when."""

    def resume(self, channel: str) -> None:
        """Idempotent."""

    def connections(self) -> Sequence[Connection]:
        """Of every provider that has been heard of."""

    def report(self, name: str, channel: str, calls: Sequence[CallEnd]) -> tuple[Connection, Connection]:
        """These calls of this provider's have ended so. Answer how its connection stood before, and stands now."""

    def take_probe(self, name: str, notification_id: str, lease: timedelta) -> bool:
        """Make this notification the one that a closed connection is tried with. False: it is not time for another, or
        one is under way. Its lease is as that of the claim which follows."""

    def release_probe(self, name: str, notification_id: str) -> None:
        """It was not claimed: another may be tried."""

    def purge(self, keep: timedelta, limit: int, *, after: str = "") -> Purged:
        """Delete up to so many rows, the oldest first, that came to their end longer ago than `keep`, with their
        events. `after`: the last id of an earlier page; a row that stays is then not looked at again."""

    def purge_suppressions(self, keep: timedelta, limit: int) -> int:
        """Delete up to so many recipients that were found to take nothing any more longer ago than `keep`. Answer how
        many."""

    def get(self, tenant: str, id: str) -> Notification | None: ...

    def events(self, id: str) -> Sequence[TimelineEntry]:
        """The timeline, oldest first."""

    def get_with_timeline(self, tenant: str, id: str) -> tuple[Notification, Sequence[TimelineEntry]] | None:
        """Both, as of one moment: a worker may settle it meanwhile."""

    def find(self, selection: Selection, limit: int, *, oldest_first: bool = False) -> Sequence[Notification]:
        """Newest first, unless `oldest_first`."""

    def may_have_been_sent(self, ids: Sequence[str]) -> Collection[str]:
        """Those of which an attempt, in any generation, was ambiguous."""

    def count(self, selection: Selection) -> int: ...

    def count_by_expiry(self, selection: Selection) -> tuple[int, int]:
        """How many of these have not expired, and how many have, on the database's clock."""

    def count_doubtful(self, selection: Selection, limit: int) -> int:
        """Of the oldest of these, at most so many: how many may have been sent. As `may_have_been_sent` says."""

    def check(self) -> None:
        """Raise StoreUnavailable unless the database answers and its schema is this version's."""

    def close(self) -> None: ...

"""What the Store takes and returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidings.domain.errors import DeliveryError
from tidings.domain.notification import Notification, Priority, Status
from tidings.domain.receipt import By
from tidings.domain.stopwatch import Elapsed
from tidings.messaging.envelope import Message

LOOK_AHEAD = 5000
"""Rows that a bounded read of the backlog reads at most."""

PAGE = 500
"""Rows per transaction: enough to be fast, few enough that nobody waits for its locks."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """The row is committed: `existing` is None, or the earlier row that holds the same idempotency key."""

    notification: Notification
    existing: Notification | None = None


InsertResult = Inserted | Exception
"""The result for one notification of a batch: its row, or why it has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deferred:
    """Not to be claimed now: another worker has the lease, or the next attempt is not due. Redeliver it later."""

    message: Message
    priority: Priority
    remaining: timedelta  # until it may be claimed, on the database's clock


@dataclass(frozen=True, slots=True)
class SuppressedBy:
    """The entry that suppresses a recipient. One for everything on the channel goes before one for a category."""

    reason: str
    scope: str = ""  # '': everything on the channel; else a category

    def __str__(self) -> str:
        return f"{self.reason} of {self.scope}" if self.scope else self.reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """The result of a claim. `token` fences everything that is settled under it."""

    token: str
    at: datetime  # the database's time at the claim
    elapsed: Elapsed | None = None  # the claim, on the worker's clock; None: the sweep's
    size: int = 0  # of `acquired`, even without the rows
    acquired: Sequence[Notification] = ()
    deferred: Sequence[Deferred] = ()
    stale: Sequence[Message] = ()  # ended, older generation, or no such row: drop them
    isolate: Sequence[Deferred] = ()  # due, but their last worker was lost: claim each `isolated`, after the others
    suppressed: Mapping[str, Mapping[str, SuppressedBy]] = field(default_factory=dict)
    """By the id of an acquired row: the entry by each of its recipients that is suppressed, cc and bcc too."""

    @property
    def without_rows(self) -> "Claims":
        """For a long call: it must not keep the content of its neighbours in memory, perhaps megabytes each."""
        return Claims(token=self.token, at=self.at, elapsed=self.elapsed, size=self.size, suppressed=self.suppressed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Suppression:
    """A recipient that is not to be sent to any more, to be added to the tenant's list. `pipeline.suppression` decides
    what suppresses, and for how long."""

    recipient: str  # as it is stored; the list compares `Content.matched`
    reason: str
    source: str = "provider"  # provider, operator, receipt, import, unsubscribe
    scope: str = ""  # '': everything on the channel; else a category
    lasts: timedelta | None = None  # None: until it is removed
    expires_at: datetime | None = None  # in place of `lasts`
    note: str | None = None
    notification_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SuppressionEntry:
    """A suppression as the list has it. It is in force until `expires_at`; None: until it is removed."""

    seq: int  # of the list, ascending
    channel: str
    recipient: str  # in the form that is compared
    scope: str
    reason: str
    source: str
    note: str | None
    notification_id: str | None
    at: datetime  # when it was added
    expires_at: datetime | None  # of a removed one, when it was removed
    removed_at: datetime | None
    removed_by: str | None  # the key that removed it
    in_force: bool  # on the database's clock


@dataclass(frozen=True, kw_only=True, slots=True)
class SuppressionSelection:
    """Which entries of a tenant's list, newest first. Every field that is not None narrows the selection."""

    tenant: str
    channel: str | None = None
    recipients: Sequence[str] | None = None  # in the form that is compared
    scope: str | None = None
    reason: str | None = None
    source: str | None = None
    in_force: bool | None = None
    before: int | None = None  # cursor: a `seq`


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """What follows from one attempt, decided by the pipeline. The Store writes it as it is."""

    claims: Claims = field(compare=False, repr=False)  # under which the attempt was made
    notification: Notification  # as it was claimed
    status: Status
    provider: str | None = None
    provider_message_id: str | None = None
    provider_response: str | None = None
    error: DeliveryError | None = None
    delay: timedelta | None = None  # retrying: until the next attempt
    uncounted: bool = False  # the attempt does not count against max_attempts
    held: bool = False  # retrying: until its endpoint is enabled
    suppression: Suppression | None = None  # stored in the same transaction
    note: str | None = None  # for the timeline: what suppression did to this attempt, or would have done
    elapsed: Elapsed | None = None  # the provider call; None: there was none
    by: By = By.PROVIDER
    reports: bool = False  # sent: the vendor was asked to report what became of it
    raw_sha256: str | None = None  # of the receipt that tells, as TimelineEntry has it

    @property
    def answered_at(self) -> datetime | None:
        """When the provider call ended: the database's time at the claim, and the worker's clock from there."""
        if self.elapsed is None or self.claims.elapsed is None:
            return None
        return self.claims.at + timedelta(seconds=max(self.elapsed.ended - self.claims.elapsed.ended, 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """What a sweep found. The next sweep does not see it for some seconds."""

    wake: Sequence[Notification] = ()  # publish these again
    abandoned: Claims | None = None  # lease expired; now leased to the sweep, which settles them as ambiguous
    dead_letters_owed: Sequence[Notification] = ()  # failed, and their dead letter is still owed
    expired: int = 0  # past expires_at, and now `expired`
    at: datetime  # the database's time
    more: bool = False  # the limit was reached


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """The result of a change that a caller or an operator asked for."""

    notification: Notification  # as it is afterwards
    by_this_call: bool  # False: its state did not allow it, or it was done before


@dataclass(frozen=True, kw_only=True, slots=True)
class Purged:
    """What one page of the retention deleted."""

    rows: int
    last: str | None  # its highest id; None: there is no more


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which rows. Every field that is not None narrows the selection."""

    tenant: str
    ids: Sequence[str] | None = None
    statuses: Sequence[Status] | None = None
    channel: str | None = None
    recipient: str | None = None
    provider_message_ids: Sequence[str] | None = None
    error_class: str | None = None  # of the last attempt
    lasts: timedelta | None = None  # only those that will not have expired after this time, on the database's clock
    expires_within: timedelta | None = None  # only those that will have expired by then
    error_code: str | None = None
    since: datetime | None = None  # created at or after
    until: datetime | None = None  # created before
    before_id: str | None = None  # cursor: ids below this one
    after_id: str | None = None  # cursor of a list that has the oldest first: ids above this one

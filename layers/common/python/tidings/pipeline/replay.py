"""Replay dead letters from the database, which is the truth."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidings.config import failpoints
from tidings.domain.errors import BrokerUnavailable, InvalidMessage, StoreUnavailable
from tidings.domain.notification import OPERATOR, REPLAYABLE, Notification, Status, TimelineEntry
from tidings.domain.receipt import By
from tidings.messaging import topology
from tidings.messaging.envelope import Message, is_newer, parse, unchanged_headers
from tidings.observability import events
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.pipeline.queueing import queue
from tidings.ports import PAGE, Broker, Outgoing, Received, Selection, Store

log = logging.getLogger(__name__)

DRAIN_WAIT = timedelta(seconds=5)
"""How long a drain waits for the next dead letter that the queue has announced."""


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a replay would do."""

    count: int
    may_double: int  # of the `limit` oldest, how many may have been sent: an attempt was ambiguous
    expired: int  # left out, because no new expiry was given
    unknown: int  # left out, because the status `unknown` was not asked for
    sample: Sequence[Notification]  # the first ones, without content
    newest: str | None  # the id of the last one


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay did."""

    ids: Sequence[str]  # back to pending, oldest first
    queued: int  # of these, how many messages are confirmed; the sweep publishes the others when they are due
    expired: int  # left out, as in a dry run
    unknown: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The result of an operator's decision on an unknown notification."""

    notification: Notification  # as it is afterwards
    stands: bool  # the row is as the decision leaves it: made by this call or an earlier one, whose answer was lost


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Set dead letters back to pending, one generation later. A second replay is harmless: it finds nothing.

    A selection without statuses means failed ones. An unknown one may have arrived: it is replayed only if the
    selection names that status. An expired one is replayed only with a new expiry."""

    store: Store
    broker: Broker
    observers: Observers = LOG_ONLY

    def dry_run(
        self, selection: Selection, *, limit: int, sample: int = 10, expires_at: datetime | None = None
    ) -> DryRun:
        dead = _dead(selection)
        ready = dead if expires_at is not None else replace(dead, lasts=timedelta(0))
        newest = self.store.find(ready, 1)
        # One query, however many rows. Timelines are read only of the `limit` oldest.
        count, expired = (self.store.count(dead), 0) if expires_at is not None else self.store.count_by_expiry(dead)
        return DryRun(
            count=count,
            may_double=self.store.count_doubtful(ready, limit),
            expired=expired,
            unknown=self._unknown(selection),
            sample=self.store.find(ready, sample, oldest_first=True),
            newest=newest[0].id if newest else None,
        )

    def replay(
        self, selection: Selection, *, limit: int, rate: int | None = None, expires_at: datetime | None = None
    ) -> Replayed:
        """Oldest first, at most `limit`. `rate`: notifications per second; each becomes due in its second, so this call
        does not wait and a crash loses nothing. `expires_at`: the new expiry of those that have expired."""
        dead = _dead(selection)
        ids: list[str] = []
        channels: set[str] = set()
        queued = second = 0
        while len(ids) < limit:
            page = min(limit - len(ids), PAGE if rate is None else rate)
            # After the last one: what has failed again meanwhile is not replayed twice by one call.
            after = ids[-1] if ids else ""
            reset = self.store.reset_for_replay(
                dead, page, timedelta(seconds=second), after=after, expires_at=expires_at
            )
            failpoints.step("replay.after_reset")
            ids += [notification.id for notification in reset]
            if reset:
                self.observers.emit(events.Replayed(notifications=reset))
            if second == 0:
                queued += self._queue(reset)
            if rate is not None:
                second += 1
            channels.update(notification.channel for notification in reset)
            if len(reset) < page:
                break
        for channel in sorted(channels):
            self.drain(channel, at_most=2 * len(ids) + PAGE)
        expired = self._expired(dead, timedelta(seconds=second)) if expires_at is None else 0
        return Replayed(ids=ids, queued=queued, expired=expired, unknown=self._unknown(selection))

    def mark_sent(self, tenant: str, id: str) -> Decision | None:
        """An operator says that an unknown one was sent. Repeating it is harmless. None: no such notification."""
        found = self.store.resolve(tenant, id)
        if found is None:
            return None
        row = found.notification
        if found.by_this_call:
            self.observers.emit(events.Resolved(notification=row, outcome="sent"))
        return Decision(notification=row, stands=row.status is Status.SENT and row.provider == OPERATOR)

    def again(self, tenant: str, id: str, *, expires_at: datetime | None = None) -> Decision | None:
        """An operator says that an unknown one is to be sent again. Repeating it is harmless: until a worker claims it,
        the answer is the same. None: no such notification."""
        unknown = Selection(tenant=tenant, ids=[id], statuses=[Status.UNKNOWN])
        reset = self.store.reset_for_replay(unknown, 1, timedelta(0), expires_at=expires_at)
        if not reset:
            found = self.store.get_with_timeline(tenant, id)
            return None if found is None else Decision(notification=found[0], stands=_stands(*found, expires_at))
        self.observers.emit(events.Resolved(notification=reset[0], outcome="replay"))
        self._queue(reset)
        return Decision(notification=reset[0], stands=True)

    def _expired(self, dead: Selection, within: timedelta) -> int:
        return self.store.count(replace(dead, expires_within=within))

    def _unknown(self, selection: Selection) -> int:
        if selection.statuses is not None:
            return 0
        return self.store.count(replace(selection, statuses=[Status.UNKNOWN]))

    def drain(self, channel: str, *, at_most: int) -> int:
        """Drop stale dead letters, whose row was replayed or is gone, so that the queue's depth is true. Return their
        number.

        It reads the oldest. A dead letter that is not stale is published again before it is acknowledged, so none is
        lost. If the broker or the database fails, stale ones stay, which is harmless."""
        dropped = looked_at = 0
        try:
            dead = topology.dead_queue(channel)
            at_most = min(at_most, self.broker.depth(dead))
            consumer = self.broker.consume([dead])
            try:
                while looked_at < at_most and (batch := consumer.receive(PAGE, DRAIN_WAIT)):
                    looked_at += len(batch)
                    dead_letters = {_message(item, channel).message_id: item for item in batch}
                    failed = self.store.filter_failed([_message(item, channel) for item in batch])
                    kept = [dead_letters[message.message_id] for message in failed]
                    kept += [item for item in batch if is_newer(item.headers)]  # its own release decides about it
                    self.broker.publish([_republished(item, channel) for item in kept])
                    consumer.acknowledge(batch)
                    dropped += len(batch) - len(kept)
            finally:
                consumer.close()
        except (BrokerUnavailable, StoreUnavailable) as error:
            log.warning("drain_stopped", extra={"channel": channel, "error": str(error)})
        return dropped

    def _queue(self, notifications: Sequence[Notification]) -> int:
        """How many messages are confirmed: all or none."""
        if not notifications or not queue(
            notifications, store=self.store, broker=self.broker, observers=self.observers
        ):
            return 0
        failpoints.step("replay.after_publish")
        return len(notifications)


def _message(item: Received, channel: str) -> Message:
    try:
        return parse(item.body, item.headers, channel)
    except InvalidMessage:
        return Message(id="", channel=channel, generation=0)  # matches no row, so it is dropped


def _republished(item: Received, channel: str) -> Outgoing:
    return Outgoing(to=topology.dead(channel), raw=item.body, headers=unchanged_headers(item.headers))


def _stands(row: Notification, timeline: Sequence[TimelineEntry], expires_at: datetime | None) -> bool:
    """True: the row is as the decision to send it again, with this expiry, has left it, and no worker has claimed it.
    An expiry that had not passed was kept. A different expiry is a different decision."""
    told = [event for event in timeline if event.by != By.RECEIPT]
    last = [(event.status, event.generation) for event in told[-2:]]
    decided = [(Status.UNKNOWN, row.generation - 1), (Status.PENDING, row.generation)]
    is_waiting = row.status is Status.PENDING and row.attempt == 0
    return is_waiting and last == decided and (expires_at is None or row.expires_at in (None, expires_at))


def _dead(selection: Selection) -> Selection:
    wanted = {Status.FAILED} if selection.statuses is None else REPLAYABLE & set(selection.statuses)
    return replace(selection, statuses=sorted(wanted))

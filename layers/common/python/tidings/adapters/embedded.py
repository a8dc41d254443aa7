"""The embedded Broker: a table with `visible_at` and a holder, in the database of the notifications.

For trying Tidings and for one small machine. It keeps RabbitMQ's promises: at least once, retry steps, parking at the
delivery limit, high priority first. Messages of a consumer that dies return when their visibility time-out ends.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from tidings.adapters.sql.database import Database, reading, transaction
from tidings.adapters.sql.schema import messages
from tidings.domain.errors import BrokerUnavailable, StoreUnavailable
from tidings.domain.timing import VISIBILITY
from tidings.messaging import topology
from tidings.messaging.topology import DELIVERY_LIMIT, EXCHANGE, PARKING, Destination
from tidings.ports import Depth, Outgoing, Received

FIRST_POLL, LONGEST_POLL = 0.02, 0.25  # seconds between polls of an empty table, growing until something comes
m = messages.c

# Built once: it is asked several times a second, for nothing.
_WITH_MESSAGES = (
    select(m.queue)
    .where(m.queue.in_(bindparam("queues", expanding=True)), m.visible_at <= bindparam("now", type_=m.visible_at.type))
    .distinct()
)


class EmbeddedBroker:
    """Broker."""

    def __init__(self, database: Database, *, visibility: timedelta = VISIBILITY) -> None:
        self.database = database
        self._visibility = visibility
        self._queues = {(q.exchange, q.routing_key): q.name for q in topology.queues() if q.delay is None}
        self._steps = {q.exchange: q.delay for q in topology.queues() if q.delay is not None}

    def publish(self, wave: Sequence[Outgoing]) -> None:
        if wave:
            _as_broker(self._publish, wave)

    @transaction
    def _publish(self, connection: Connection, wave: Sequence[Outgoing]) -> None:
        now = self.database.now(connection)
        connection.execute(insert(messages), [self._row(outgoing, now) for outgoing in wave])

    def _row(self, outgoing: Outgoing, now: datetime) -> dict[str, Any]:
        queue, delay = self._route(outgoing.to)
        return {
            "queue": queue,
            "routing_key": outgoing.to.routing_key,
            "message_id": outgoing.message_id,
            "headers": json.dumps(outgoing.all_headers),
            "body": outgoing.body,
            "visible_at": now + delay,
            "deliveries": 0,
        }

    def _route(self, to: Destination) -> tuple[str, timedelta]:
        """A retry step has no queue here: its message waits, invisible, in its destination."""
        delay = self._steps.get(to.exchange)
        exchange = to.exchange if delay is None else EXCHANGE
        try:
            return self._queues[exchange, to.routing_key], delay or timedelta(0)
        except KeyError:
            raise BrokerUnavailable(f"{exchange} has no queue for {to.routing_key}") from None

    def depth(self, queue: str) -> int:
        depth: int = _as_broker(self._depth, queue)
        return depth

    @reading
    def _depth(self, connection: Connection, queue: str) -> int:
        waiting = select(func.count()).where(m.queue == queue, m.visible_at <= self.database.now(connection))
        return connection.scalar(waiting) or 0

    def depths(self, queues: Sequence[str]) -> Mapping[str, Depth]:
        found: Mapping[str, Depth] = _as_broker(self._depths, queues)
        return found

    @reading
    def _depths(self, connection: Connection, queues: Sequence[str]) -> Mapping[str, Depth]:
        """A message on a retry step waits in its destination. It counts for the shortest step that it can be on."""
        now = self.database.now(connection)
        ready = dict.fromkeys(queues, 0)
        visible = select(m.queue, func.count().label("number")).where(m.queue.in_(queues), m.visible_at <= now)
        for row in connection.execute(visible.group_by(m.queue)):
            ready[row.queue] = row.number
        hidden = m.queue.in_([*self._queues.values()]), m.holder.is_(None), m.visible_at > now
        shorter = now
        for queue, delay in sorted(self._steps.items(), key=itemgetter(1)):
            if queue in ready:
                between = m.visible_at > shorter, m.visible_at <= now + delay
                ready[queue] = connection.scalar(select(func.count()).where(*hidden, *between)) or 0
            shorter = now + delay
        return {queue: Depth(ready=count) for queue, count in ready.items()}

    def declare(self) -> None:
        """The migrations create the table."""

    def check(self) -> None:
        self.depth(PARKING)

    def consume(self, queues: Sequence[str]) -> "EmbeddedConsumer":
        return EmbeddedConsumer(self.database, queues, self._visibility)

    def close(self) -> None:
        self.database.close()


class EmbeddedConsumer:
    """Consumer."""

    def __init__(self, database: Database, queues: Sequence[str], visibility: timedelta) -> None:
        self.database = database
        self._queues = tuple(queues)
        self._visibility = visibility
        self._holder = uuid.uuid4().hex
        self._mine: set[int] = set()
        self._woken = threading.Event()
        self._pause = FIRST_POLL

    def receive(self, limit: int, wait: timedelta, *, first: int | None = None) -> Sequence[Received]:
        deadline = time.monotonic() + wait.total_seconds()
        queues = self._queues[:first]
        while True:
            found = _as_broker(self._poll, queues) if queues else set()
            for queue in queues:
                if queue in found and (received := _as_broker(self._take, queue, limit)):
                    self._mine.update(item.receipt for item in received)
                    self._pause = FIRST_POLL
                    return received  # type: ignore[no-any-return]
            left = deadline - time.monotonic()
            if left <= 0 or self._woken.wait(min(left, self._pause)):
                self._woken.clear()
                return []
            self._pause = min(self._pause * 1.5, LONGEST_POLL)

    def wake(self) -> None:
        self._woken.set()

    @reading
    def _poll(self, connection: Connection, queues: Sequence[str]) -> set[str]:
        """The queues that have messages. An idle poll takes no write lock."""
        asked = {"queues": queues, "now": self.database.now(connection)}
        return set(connection.scalars(_WITH_MESSAGES, asked))

    @transaction
    def _take(self, connection: Connection, queue: str, limit: int) -> Sequence[Received]:
        now = self.database.now(connection)
        rows = connection.execute(
            select(messages)
            .where(m.queue == queue, m.visible_at <= now)
            .order_by(m.visible_at, m.seq)
            .limit(limit)
            .with_for_update(skip_locked=True)
        ).all()
        exhausted = [row.seq for row in rows if row.deliveries >= DELIVERY_LIMIT]
        taken = [row for row in rows if row.deliveries < DELIVERY_LIMIT]
        if exhausted:
            parked = update(messages).where(m.seq.in_(exhausted))
            connection.execute(parked.values(queue=PARKING, holder=None, deliveries=0))
        connection.execute(
            update(messages)
            .where(m.seq.in_([row.seq for row in taken]))
            .values(holder=self._holder, visible_at=now + self._visibility, deliveries=m.deliveries + 1)
        )
        return [
            Received(
                receipt=row.seq,
                queue=queue,
                body=row.body,
                message_id=row.message_id,
                content_type="application/json",
                headers=json.loads(row.headers),
                redelivered=row.deliveries > 0,
                deliveries=row.deliveries + 1,
            )
            for row in taken
        ]

    def acknowledge(self, received: Iterable[Received]) -> None:
        self._release(self._acknowledge, [item.receipt for item in received])

    @transaction
    def _acknowledge(self, connection: Connection, receipts: Sequence[int]) -> None:
        # Only messages that are still ours: after the visibility time-out another consumer may have them.
        connection.execute(delete(messages).where(m.seq.in_(receipts), m.holder == self._holder))

    def give_back(self, received: Iterable[Received]) -> None:
        self._release(self._give_back, [item.receipt for item in received])

    @transaction
    def _give_back(self, connection: Connection, receipts: Sequence[int]) -> None:
        ours = update(messages).where(m.seq.in_(receipts), m.holder == self._holder)
        connection.execute(ours.values(holder=None, visible_at=self.database.now(connection)))

    def _release(self, work: Any, receipts: Sequence[int]) -> None:
        if receipts:  # else it would take the write lock for nothing
            _as_broker(work, receipts)
            self._mine.difference_update(receipts)

    def close(self) -> None:
        try:
            self._release(self._give_back, sorted(self._mine))
        except BrokerUnavailable:
            return  # they return when their visibility time-out ends


def _as_broker(work: Any, *args: Any) -> Any:
    try:
        return work(*args)
    except StoreUnavailable as error:
        raise BrokerUnavailable(f"the embedded broker: {error}") from error

"""Intake, simulated: requests are gathered into batches by the rule of tidings.pipeline.coalescer."""

from collections import deque
from collections.abc import Callable

from tidings.pipeline.coalescer import LONGEST, PAUSE

from tests.capacity.agenda import SECOND
from tests.capacity.hall import Hall, Message

PAUSED, AT_LONGEST = round(PAUSE * SECOND), round(LONGEST * SECOND)

Group = tuple[int, int]
"""Requests that came together: when, and how many."""


class Intake:
    """One process."""

    def __init__(self, hall: Hall, answered: Callable[[int], None]) -> None:
        """`answered` is told how many callers have just had their answers."""
        self._hall = hall
        self._answered = answered
        self.process = hall.process()
        self._waiting: deque[Group] = deque()
        self._queued = 0
        self._under_way: list[int] = []
        self._came_at = self._answered_at = 0
        self._expected = 0
        self._has_timer = False

    def take(self, count: int) -> None:
        """So many requests arrive now."""
        created = self._hall.agenda.now
        self._hall.came(count)

        def read() -> None:
            self._waiting.append((created, count))
            self._queued += count
            self._came_at = self._hall.agenda.now
            self._begin()

        self.process.submit(round(self._hall.setup.costs.request * count), read)

    def _begin(self) -> None:
        if not (self._waiting and self._may_flush()):
            return
        now = self._hall.agenda.now
        due = min(max(self._came_at, self._answered_at) + PAUSED, self._answered_at + AT_LONGEST)
        if self._queued >= min(self._expected, self._hall.setup.gather) or now >= due:
            while self._waiting and self._may_flush():
                self._flush(self._next())
        elif not self._has_timer:
            self._has_timer = True
            self._hall.agenda.at(due, self._begin_again)

    def _begin_again(self) -> None:
        self._has_timer = False
        self._begin()

    def _may_flush(self) -> bool:
        if not self._under_way:
            return True
        return len(self._under_way) == 1 and max(self._queued, *self._under_way) >= self._hall.setup.gather

    def _next(self) -> list[Group]:
        batch: list[Group] = []
        room = self._hall.setup.gather
        while self._waiting and room:
            created, count = self._waiting.popleft()
            taken = min(count, room)
            batch.append((created, taken))
            room -= taken
            if taken < count:
                self._waiting.appendleft((created, count - taken))
        self._queued -= sum(count for _, count in batch)
        return batch

    def _flush(self, batch: list[Group]) -> None:
        """Insert, publish, answer."""
        hall, costs = self._hall, self._hall.setup.costs
        size = sum(count for _, count in batch)
        self._under_way.append(size)
        hall.counts.flushes += 1

        def insert() -> None:
            hall.transaction("insert", size, prepare)

        def prepare() -> None:
            self.process.submit(costs.publish.here(size), publish)

        def publish() -> None:
            messages = [Message(created) for created, count in batch for _ in range(count)]
            hall.publish(messages, lambda: self._finish(batch, size))

        self.process.submit(costs.insert.here(size), insert)

    def _finish(self, batch: list[Group], size: int) -> None:
        self._under_way.remove(size)
        for created, count in batch:
            self._hall.answered(created, count)
        self._expected, self._answered_at = self._queued + size, self._hall.agenda.now
        self._answered(size)
        self._begin()

"""What intake and functions share: the database, the broker's queue, and what is counted."""

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.capacity.agenda import MILLISECOND, SECOND, Agenda, Log, Process, Server, Then
from tests.capacity.setup import Setup

TENTH = SECOND // 10


@dataclass(slots=True)
class Message:
    """A notification on its way."""

    created: int
    attempt: int = 0
    due: int = 0


@dataclass(kw_only=True)
class Counts:
    """What came of it; times in whole milliseconds, except `last`."""

    accepted: int = 0
    sent: int = 0
    retried: int = 0
    dead: int = 0
    last: int = 0  # microsecond of the last `sent`
    posts: Counter[int] = field(default_factory=Counter)  # from the POST to its answer: how often
    whole: Counter[int] = field(default_factory=Counter)  # from the POST to the provider's answer
    came_in: Counter[int] = field(default_factory=Counter)  # by tenth of a second
    sent_in: Counter[int] = field(default_factory=Counter)
    depth: list[int] = field(default_factory=list)  # of the queue, each tenth of a second
    flushes: int = 0
    batches: int = 0
    claimed: int = 0


class Hall:
    """One stack's servers. Where all is on one machine, everything takes its CPU from the same cores."""

    def __init__(self, setup: Setup, agenda: Agenda) -> None:
        self.setup = setup
        self.agenda = agenda
        self.chance = random.Random(setup.seed)
        self.counts = Counts()
        self.queue: deque[Message] = deque()
        self.cores = Server(agenda, setup.machine) if setup.machine is not None else None
        self._database = self.cores or Server(agenda, setup.database)
        self._disk = Server(agenda, setup.reads_at_once)
        self._log = Log(agenda, setup.costs.flush)
        self._leader = self.process()
        self._awake: Callable[[], None] = lambda: None
        self._delay = setup.costs.hop // 2

    def process(self) -> Process:
        return Process(self.cores or Server(self.agenda, 1))

    def woken_by(self, awake: Callable[[], None]) -> None:
        """`awake` is called when the queue has something."""
        self._awake = awake

    # --- the database -------------------------------------------------------------------------------------------------

    def transaction(self, step: str, size: int, then: Then) -> None:
        """There, its CPU, the pages that are not in memory, the commit, and back."""
        there: Callable[[int], int] = getattr(self.setup.costs, step).there
        reads = round(self.setup.reads.get(step, 0.0) * size * self.setup.read)

        def answer() -> None:
            self.agenda.after(self._delay, then)

        def commit() -> None:
            self._log.commit(answer)

        def read() -> None:
            if reads:
                self._disk.submit(reads, commit)
            else:
                commit()

        self.agenda.after(self._delay, lambda: self._database.submit(there(size), read))

    # --- the broker ---------------------------------------------------------------------------------------------------

    def publish(self, messages: list[Message], then: Then, *, later: int = 0) -> None:
        """One confirmed wave. `later`: it comes to the work queue so many microseconds after that, down the ladder."""
        work = self.setup.costs.publish.there(len(messages))

        def queued() -> None:
            self.queue.extend(messages)
            self._awake()

        def confirmed() -> None:
            if later:
                self.agenda.after(later, queued)
            else:
                queued()
            self.agenda.after(self._delay, then)

        def logged() -> None:
            self.agenda.after(self.setup.costs.confirm, confirmed)

        self.agenda.after(self._delay, lambda: self._leader.submit(work, logged))

    def hand_out(self, size: int, then: Then) -> None:
        """And take the acknowledgement, which is counted here."""
        self._leader.submit(round(self.setup.costs.deliver * size), then)

    # --- counting -----------------------------------------------------------------------------------------------------

    def is_counted(self, created: int) -> bool:
        return created >= self.setup.load.warm * SECOND

    def came(self, count: int) -> None:
        self.counts.came_in[self.agenda.now // TENTH] += count

    def answered(self, created: int, count: int) -> None:
        self.counts.accepted += count
        if self.is_counted(created):
            self.counts.posts[(self.agenda.now - created) // MILLISECOND] += count

    def sent(self, message: Message, at: int) -> None:
        self.counts.sent += 1
        self.counts.last = max(self.counts.last, at)
        self.counts.sent_in[at // TENTH] += 1
        if self.is_counted(message.created):
            self.counts.whole[(at - message.created) // MILLISECOND] += 1

    def watch(self) -> None:
        """Look at the queue's length each tenth of a second, from now on."""
        self.counts.depth.append(len(self.queue))
        self.agenda.after(TENTH, self.watch)

    def utilisations(self, over: int) -> dict[str, float]:
        found = {"the log": self._log.utilisation(over), "the queue's leader": self._leader.utilisation(over)}
        if self.cores is not None:
            return {"the machine": self.cores.utilisation(over), **found}
        return {
            "the database's cores": self._database.utilisation(over),
            **found,
            "its disk": self._disk.utilisation(over),
        }

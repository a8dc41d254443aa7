"""A discrete-event simulation's tools: a clock, servers, and distributions. Times are whole microseconds, so that a
seed gives the same on every machine."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

SECOND, MILLISECOND = 1_000_000, 1000
STEPS = 1024  # values of a distribution's table

Then = Callable[[], None]


class Agenda:
    """What is to happen, in the order of time, and of planning where the time is the same."""

    def __init__(self) -> None:
        self.now = 0
        self._planned: list[tuple[int, int, Then]] = []
        self._number = 0

    def at(self, time: int, then: Then) -> None:
        self._number += 1
        heapq.heappush(self._planned, (max(time, self.now), self._number, then))

    def after(self, wait: int, then: Then) -> None:
        self.at(self.now + wait, then)

    def run(self, until: int) -> None:
        """Everything that is due by then."""
        while self._planned and self._planned[0][0] <= until:
            self.now, _, then = heapq.heappop(self._planned)
            then()


class Server:
    """So many places, one queue, first come first served: cores of a processor, or reads that a disk does at once."""

    def __init__(self, agenda: Agenda, places: int) -> None:
        self._agenda = agenda
        self._free = [0] * places  # when each place is free: a heap
        self.busy = 0  # microseconds of all places together, of what was begun

    def submit(self, work: int, then: Then) -> None:
        begins = max(self._agenda.now, self._free[0])
        heapq.heapreplace(self._free, begins + work)
        self.busy += work
        self._agenda.at(begins + work, then)

    def utilisation(self, over: int) -> float:
        return self.busy / (over * len(self._free))


class Process:
    """Something that does one thing at a time, on cores that others may use as well: a Python process, a queue's
    leader."""

    def __init__(self, cores: Server) -> None:
        self._cores = cores
        self._waiting: deque[tuple[int, Then]] = deque()
        self._runs = False
        self.busy = 0

    def submit(self, work: int, then: Then) -> None:
        self._waiting.append((work, then))
        if not self._runs:
            self._next()

    def _next(self) -> None:
        self._runs = bool(self._waiting)
        if not self._waiting:
            return
        work, then = self._waiting.popleft()
        self.busy += work

        def done() -> None:
            then()
            self._next()

        self._cores.submit(work, done)

    def utilisation(self, over: int) -> float:
        return self.busy / over


class Log:
    """A database's log: one flush at a time, and the next takes along everybody who came meanwhile (group commit)."""

    def __init__(self, agenda: Agenda, flush: int) -> None:
        self._agenda = agenda
        self._flush = flush
        self._waiting: list[Then] = []
        self._runs = False
        self.busy = 0

    def commit(self, then: Then) -> None:
        self._waiting.append(then)
        if not self._runs:
            self._next()

    def _next(self) -> None:
        together, self._waiting = self._waiting, []
        self._runs = bool(together)
        if not together:
            return
        self.busy += self._flush

        def done() -> None:
            for then in together:
                then()
            self._next()

        self._agenda.after(self._flush, done)

    def utilisation(self, over: int) -> float:
        return self.busy / over


class Draws:
    """Random values from a table of equally likely ones."""

    def __init__(self, table: Sequence[int], chance: random.Random) -> None:
        assert len(table) == STEPS
        self._table = table
        self._bits = chance.getrandbits

    def one(self) -> int:
        return self._table[self._bits(10)]


def lognormal(median: int, p99: int) -> list[int]:
    """Times with this median and this 99th percentile; never over sixteen medians, as a table ends somewhere."""
    if median == p99:
        return [median] * STEPS
    normal = NormalDist()
    stretch = p99 / median
    exponents = (normal.inv_cdf((step + 0.5) / STEPS) / normal.inv_cdf(0.99) for step in range(STEPS))
    return [min(round(median * stretch**exponent), 16 * median) for exponent in exponents]


def poisson(mean: float) -> list[int]:
    """Arrivals in an interval; the mean of the table is that of the distribution, to a thousandth."""
    table: list[int] = []
    count, chance, below = 0, 2.718281828459045**-mean, 0.0
    while len(table) < STEPS:
        below += chance
        while len(table) < STEPS and (len(table) + 0.5) / STEPS <= below:
            table.append(count)
        count += 1
        chance *= mean / count
        if count > 50 * mean + 50:
            table += [count] * (STEPS - len(table))
    missing = round(mean * STEPS) - sum(table)
    table[-1] += max(missing, 0)
    return table


def at_share(counted: Mapping[int, int], share: float) -> int:
    """The value that this share of what was counted (value: how often) does not exceed; 0 of none."""
    wanted, seen = share * sum(counted.values()), 0
    for value in sorted(counted):
        seen += counted[value]
        if seen >= wanted:
            return value
    return 0

"""Run one stack: arrivals, and what came of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.capacity.agenda import MILLISECOND, SECOND, Agenda, Draws, at_share, poisson
from tests.capacity.hall import Counts, Hall, Message
from tests.capacity.intake import Intake
from tests.capacity.sender import Senders
from tests.capacity.setup import Setup

TICK = MILLISECOND  # arrivals are counted by it


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one simulated stack did."""

    setup: Setup
    counts: Counts
    seconds: float  # of the load
    utilisation: Mapping[str, float]

    @property
    def accepted_rate(self) -> float:
        return self.counts.accepted / self.seconds

    @property
    def sent_rate(self) -> float:
        """In the second half of the load: what it had come to."""
        first, last = round(5 * self.seconds), round(10 * self.seconds)
        return 10 * sum(self.counts.sent_in[tenth] for tenth in range(first, last)) / (last - first)

    @property
    def depth(self) -> Sequence[int]:
        return self.counts.depth

    @property
    def rows_a_batch(self) -> float:
        return self.counts.claimed / max(self.counts.batches, 1)

    @property
    def rows_an_insert(self) -> float:
        return self.counts.accepted / max(self.counts.flushes, 1)

    def post(self, share: float) -> float:
        """Seconds from the POST to its answer."""
        return at_share(self.counts.posts, share) / 1000

    def whole(self, share: float) -> float:
        """Seconds from the POST to the provider's answer."""
        return at_share(self.counts.whole, share) / 1000


def simulate(setup: Setup, *, after: float = 0.0) -> Outcome:
    """`after`: seconds that are simulated once the load has ended."""
    agenda = Agenda()
    hall = Hall(setup, agenda)
    senders = Senders(hall)
    intakes = _arrivals(hall)
    hall.watch()
    end = round(setup.load.seconds * SECOND)
    agenda.run(end)
    utilisation = hall.utilisations(end)
    for name, processes in {
        "intake": [intake.process for intake in intakes],
        "a trigger": [sender.trigger for sender in senders.all],
        "a function": [sender.process for sender in senders.all],
    }.items():
        utilisation[name] = max((process.utilisation(end) for process in processes), default=0.0)
    agenda.run(end + round(after * SECOND))
    return Outcome(setup=setup, counts=hall.counts, seconds=setup.load.seconds, utilisation=utilisation)


def _arrivals(hall: Hall) -> list[Intake]:
    load = hall.setup.load
    if load.backlog:
        hall.queue.extend(Message(0) for _ in range(load.backlog))
        hall.agenda.at(0, hall._awake)
        return []
    return _closed(hall) if load.connections else _open(hall)


def _open(hall: Hall) -> list[Intake]:
    setup, agenda = hall.setup, hall.agenda
    end = round(setup.load.seconds * SECOND)
    draws = Draws(poisson(setup.load.rate / setup.intakes * TICK / SECOND), hall.chance)

    def come(intake: Intake) -> None:
        if count := draws.one():
            intake.take(count)
        if agenda.now + TICK < end:
            agenda.after(TICK, lambda: come(intake))

    intakes = [Intake(hall, lambda _: None) for _ in range(setup.intakes)]
    for number, intake in enumerate(intakes):
        agenda.at(number * TICK // setup.intakes, lambda intake=intake: come(intake))  # type: ignore[misc]
    return intakes


def _closed(hall: Hall) -> list[Intake]:
    """Each process has its share of the connections."""
    setup, agenda, intakes = hall.setup, hall.agenda, list[Intake]()
    generator = hall.process()

    def again(number: int, count: int) -> None:
        work = round(setup.costs.generator * count)
        generator.submit(work, lambda: intakes[number].take(count))

    for number in range(setup.intakes):
        intakes.append(Intake(hall, lambda count, number=number: again(number, count)))  # type: ignore[misc]
        agenda.at(0, lambda number=number: again(number, setup.load.connections // setup.intakes))  # type: ignore[misc]
    return intakes

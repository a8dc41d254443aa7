"""A mail server that is slow for a few: every hundredth mail is answered after ten seconds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.load import peer
from tests.load.figures import Figure, Report, shown
from tests.load.generator import Generator
from tests.load.plan import Plan, array, percentile
from tests.load.sizes import Sizes
from tests.load.world import World
from tests.wait import eventually

EVERY, SECONDS = 100, 10.0
ARRAY = 500


@dataclass(frozen=True, kw_only=True)
class Ran:
    """Mails that were submitted in arrays, and all answered by the mail server."""

    rate: float  # mails a second, from the first POST to the last answer
    quick: Sequence[float]  # seconds from the POST to the arrival of each that is not slow
    problems: Sequence[str]


def uneven(world: World, sizes: Sizes) -> Report:
    ours: list[Ran] = []
    theirs: list[Ran] = []
    notes = []
    for _ in range(sizes.rounds):
        world.cleared()
        ours.append(_ran(world, world.generator, sizes.uneven))
        eventually("sent", lambda: world.rows("status = 'sent'") >= sizes.uneven, within=60)
        try:
            with peer.express(world) as generator:
                theirs.append(_ran(world, generator, sizes.uneven))
        except peer.Missing as missing:
            notes = [f"Express was not measured: {missing}"]
    rate, reference = median(ran.rate for ran in ours), median([ran.rate for ran in theirs] or [float("nan")])
    return Report(
        title="A mail server that is slow for a few",
        how=f"""{sizes.uneven:,} mails in arrays of {ARRAY}, with the default settings, and a mail server that
answers every {EVERY}th final dot after {SECONDS:g} s, and the others at once. The reference ran in turns, on the
same servers: a plain Express API and two workers with a prefetch of 50 each (`tests/load/express`); medians of
{sizes.rounds} round(s). A rate counts from the first POST to the mail server's last answer; the time of a quick
mail from its POST to its arrival.""",
        figures=[
            Figure(what="reference: Express", value=reference, unit="/s"),
            Figure(
                what="Tidings",
                value=rate,
                unit="/s",
                at_least=reference if theirs else None,
                compared=f"{shown(rate / reference)} of Express" if theirs else "",
            ),
            *_quick("Express", theirs),
            *_quick("Tidings", ours, at_median=1, at_90=3),
        ],
        problems=[problem for ran in ours for problem in ran.problems],
        notes=notes,
    )


def _ran(world: World, generator: Generator, count: int) -> Ran:
    world.sink.take()
    world.sink.delay(SECONDS, every=EVERY)
    answers = generator.run(Plan(body=array(ARRAY), connections=4, count=count // ARRAY))
    eventually("answered mails", lambda: world.sink.answered() >= count, within=300)
    world.sink.delay(0)
    mails, begun = world.sink.take(), dict(zip(answers.numbers, answers.begun, strict=True))
    arrived = [*zip(mails.numbers, mails.at, mails.delays, strict=True)]
    seconds = max(at + delay for _, at, delay in arrived) - min(answers.begun)
    return Ran(
        rate=count / seconds,
        quick=[at - begun[number] for number, at, delay in arrived if not delay and number in begun],
        problems=[*answers.problems(), *([f"{len(arrived)} mails of {count}"] if len(arrived) != count else [])],
    )


def _quick(
    who: str, runs: Sequence[Ran], *, at_median: float | None = None, at_90: float | None = None
) -> list[Figure]:
    def of(what: Callable[[Sequence[float]], float]) -> float:
        return median([what(ran.quick) for ran in runs] or [float("nan")])

    return [
        Figure(what=f"{who}: quick mails, median", value=of(median), unit="s", at_most=at_median),
        Figure(
            what=f"{who}: quick mails, 90th percentile",
            value=of(lambda it: percentile(it, 0.9)),
            unit="s",
            at_most=at_90,
        ),
    ]

"""From the POST to the arrival at the mail server: idle, under load, and past a backlog."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.load import pictures, plain
from tests.load.endtoend import sent
from tests.load.figures import Figure, Report, milliseconds, shown
from tests.load.plan import Answers, Plan, array, mail, percentile
from tests.load.sizes import Sizes
from tests.load.world import World
from tests.wait import eventually

ARRAY = 1000
CONNECTIONS = 16  # of what is paced: one is always free
WARM = 200  # mails
IDLE_EVERY, HIGH_EVERY = 0.05, 0.1  # seconds


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """Mails that were submitted one by one, at a pace."""

    latencies: Sequence[float]  # seconds from before the POST to the final dot
    problems: Sequence[str]


def latency(world: World, sizes: Sizes) -> Report:
    warmed(world)
    idle = arrived(world, Plan(body=mail(), connections=CONNECTIONS, count=sizes.idle, every=IDLE_EVERY))
    commit = 1 / plain.one_by_one(world.mariadb.url, plain.rows(world.mariadb.url, WARM), threads=1)
    most = sent(world, sizes.end_to_end)
    loaded = _loaded(world, sizes, most.rate / 2)
    past, waiting = _past_backlog(world, sizes)
    rate = shown(most.rate / 2, "/s")
    return Report(
        title="Latency",
        how=f"""From before the POST to the arrival of that mail's final dot at the mail server, both on the machine's
monotonic clock. Idle: one every {milliseconds(IDLE_EVERY):.0f} ms. Under load: {rate} at an even pace, half of what
{sizes.end_to_end:,} mails end to end reached just before. Past a backlog: {sizes.backlog:,} normal ones in arrays, then
one of `priority: high` every {milliseconds(HIGH_EVERY):.0f} ms while they drain.""",
        figures=[
            Figure(what="reference: a plain insert and its commit", value=milliseconds(commit), unit="ms"),
            *_figures("idle", idle, at_median=25, at_99=80),
            *_figures(f"under load of {rate}", loaded, at_99=500),
            *_figures("`priority: high` past a backlog", past, at_99=1000),
            Figure(what="`priority: high` past a backlog: the slowest", value=_slowest(past), unit="ms", at_most=1000),
            Figure(
                what="the backlog when the last of high priority was sent", value=waiting, at_least=1, unit="pending"
            ),
        ],
        problems=[*idle.problems, *most.problems, *loaded.problems, *past.problems],
        pictures={
            "latency": pictures.histogram(
                "From the POST to the mail server",
                {
                    "idle": idle.latencies,
                    f"under load, {rate}": loaded.latencies,
                    f"high priority past {sizes.backlog:,} normal ones": past.latencies,
                },
            )
        },
    )


def _figures(what: str, arrived: Arrived, *, at_99: float, at_median: float | None = None) -> list[Figure]:
    median, late = (milliseconds(percentile(arrived.latencies, share)) for share in (0.5, 0.99))
    return [
        Figure(what=f"{what}: median", value=median, unit="ms", at_most=at_median),
        Figure(what=f"{what}: 99th percentile", value=late, unit="ms", at_most=at_99),
    ]


def _slowest(arrived: Arrived) -> float:
    return milliseconds(percentile(arrived.latencies, 1))


def warmed(world: World) -> None:
    """The first mails warm up the processes and are not measured."""
    arrived(world, Plan(body=mail(), connections=CONNECTIONS, count=WARM))


def _loaded(world: World, sizes: Sizes, rate: float) -> Arrived:
    world.cleared()
    warmed(world)
    plan = Plan(body=mail(), connections=CONNECTIONS * 4, seconds=sizes.loaded_seconds, every=1 / rate)
    return arrived(world, plan)


def _past_backlog(world: World, sizes: Sizes) -> tuple[Arrived, int]:
    """Also returns how many of the backlog were still pending when the last one of high priority had arrived."""
    world.cleared()
    backlog = world.generator.run(Plan(body=array(ARRAY), connections=3, count=sizes.backlog // ARRAY))
    plan = Plan(body=mail(priority="high"), connections=CONNECTIONS, seconds=sizes.high_seconds, every=HIGH_EVERY)
    high = arrived(world, plan)
    waiting = world.rows("status = 'pending'")
    return Arrived(latencies=high.latencies, problems=[*backlog.problems(), *high.problems]), waiting


def arrived(world: World, plan: Plan) -> Arrived:
    """Run it, and wait for its mails; others may arrive meanwhile."""
    answers = world.generator.run(plan)
    at: dict[int, float] = {}

    def all_there() -> bool:
        at.update(world.sink.take().by_number)
        return all(number in at for number in answers.numbers)

    eventually("all mails at the sink", all_there, within=60, every=0.2)
    return Arrived(latencies=_latencies(answers, at), problems=answers.problems())


def _latencies(answers: Answers, at: dict[int, float]) -> list[float]:
    return [at[number] - begun for number, begun in zip(answers.numbers, answers.begun, strict=True)]

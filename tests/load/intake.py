"""Submitting: one notification per POST, and arrays of 1,000."""

from dataclasses import dataclass, replace
from statistics import median

from tests.load import plain
from tests.load.figures import Figure, Report, milliseconds, shown
from tests.load.plan import Answers, Plan, array, mail, percentile
from tests.load.sizes import Sizes
from tests.load.usage import Cpu
from tests.load.world import World

CONNECTIONS = (64, 1000)
PROCESSES = (1, 2)  # of the intake: gunicorn's workers
ARRAY = 1000  # the API's most
ARRAY_CONNECTIONS = 4
RATIO = 0.6


@dataclass(frozen=True, kw_only=True)
class Handed:
    """One round of submissions."""

    answers: Answers
    notifications: int
    cpu: Cpu
    problems: list[str]

    @property
    def rate(self) -> float:
        return self.notifications / self.answers.seconds


def handed_in(world: World, plan: Plan, *, size: int = 1) -> Handed:
    """Run it, and check that there is exactly one row per 202."""
    rows, before = world.rows(), world.cpu()
    answers = world.generator.run(plan)
    cpu, notifications = world.cpu().since(before), answers.accepted * size
    problems, new = answers.problems(), world.rows() - rows
    if not notifications <= new <= notifications + answers.failed * size:  # a request without an answer may have a row
        problems.append(f"{notifications} were accepted, and {new} rows came into the table")
    return Handed(answers=answers, notifications=notifications, cpu=cpu, problems=problems)


def singles(world: World, sizes: Sizes) -> Report:
    one, many = [], []
    rounds: dict[tuple[int, int], list[Handed]] = {(count, number): [] for count in PROCESSES for number in CONNECTIONS}
    with world.paused():
        handed_in(world, Plan(body=mail(), connections=64, count=max(sizes.reference_rows, 1000)))
        given = plain.rows(world.mariadb.url, sizes.reference_rows)  # such as these
        for _ in range(sizes.rounds):
            one.append(plain.one_by_one(world.mariadb.url, given))
            many.append(plain.by_the_thousand(world.mariadb.url, given))
            for count in PROCESSES:
                world.stack.processes.restart("intake", WORKERS=str(count))
                handed_in(world, Plan(body=mail(), connections=64, count=1000))  # warms it up
                for number in CONNECTIONS:
                    plan = Plan(body=mail(), connections=number, seconds=sizes.intake_seconds)
                    rounds[count, number].append(handed_in(world, plan))
        world.stack.processes.restart("intake")
    figures = [
        Figure(what="reference: plain inserts, one commit a row, 2 threads", value=median(one), unit="/s"),
        Figure(what="reference: plain inserts, 1,000 a statement", value=median(many), unit="/s"),
    ]
    for (count, number), ran in rounds.items():
        what = f"{number:,} connections, {count} process{'es' if count > 1 else ''}"
        figures += _figures(what, ran, one=median(one), many=median(many))
    return Report(
        title="Intake, one notification a POST",
        how=f"""Keep-alive connections, each with the next POST as soon as the last is answered, for
{sizes.intake_seconds:g} s; every notification has an idempotency key. No queue is read meanwhile. Every answer is
checked, and the table is counted. {sizes.rounds} round(s), in turns with plain PyMySQL inserts of such rows into a copy
of the table; medians of the rounds.""",
        figures=figures,
        problems=[problem for ran in rounds.values() for handed in ran for problem in handed.problems],
    )


def _figures(what: str, ran: list[Handed], *, one: float, many: float) -> list[Figure]:
    rate = median(handed.rate for handed in ran)
    accepted = sum(handed.notifications for handed in ran)
    cpu = Cpu({name: sum(handed.cpu.of(name) for handed in ran) for name in ran[0].cpu.seconds})
    latencies = [latency for handed in ran for latency in handed.answers.latencies]
    compared = f"{shown(rate / one)} of one commit a row, {shown(rate / many)} of 1,000 a statement"
    return [
        Figure(what=f"{what}: accepted", value=rate, unit="/s", compared=compared),
        *cpu.per_thousand(accepted, what, cpu.of("intake"), "intake"),
        Figure(what=f"{what}: median", value=milliseconds(percentile(latencies, 0.5)), unit="ms"),
        Figure(what=f"{what}: 99th percentile", value=milliseconds(percentile(latencies, 0.99)), unit="ms"),
    ]


def arrays(world: World, sizes: Sizes) -> Report:
    plan = Plan(body=array(ARRAY), connections=ARRAY_CONNECTIONS, count=sizes.arrays)
    references: list[float] = []
    rounds: dict[int, list[Handed]] = {count: [] for count in PROCESSES}
    with world.paused():
        handed_in(world, plan, size=ARRAY)
        given = plain.rows(world.mariadb.url, sizes.arrays * ARRAY)  # such as these
        for _ in range(sizes.rounds):
            references.append(plain.by_the_thousand(world.mariadb.url, given))
            for count in PROCESSES:
                world.stack.processes.restart("intake", WORKERS=str(count))
                handed_in(world, replace(plan, count=4), size=ARRAY)  # warms it up
                rounds[count].append(handed_in(world, plan, size=ARRAY))
        world.stack.processes.restart("intake")
    figures = [Figure(what="reference: plain inserts, 1,000 a statement", value=median(references), unit="/s")]
    for count, ran in rounds.items():
        figures += _array_figures(f"{count} process{'es' if count > 1 else ''}", ran, references)
    return Report(
        title="Intake, arrays of 1,000",
        how=f"""{sizes.arrays} arrays from {ARRAY_CONNECTIONS} connections, {sizes.rounds} round(s), in turns with plain
PyMySQL inserts of the same rows into a copy of the table, 1,000 a statement and one commit each. Tidings reads, checks
and stores them, publishes each to RabbitMQ and waits for its confirm. The target is 8,000/s where the plain insert does
13,000/s.""",
        figures=figures,
        problems=[problem for ran in rounds.values() for handed in ran for problem in handed.problems],
    )


def _array_figures(what: str, ran: list[Handed], references: list[float]) -> list[Figure]:
    cpu = Cpu({name: sum(handed.cpu.of(name) for handed in ran) for name in ran[0].cpu.seconds})
    ratios = [handed.rate / plainly for handed, plainly in zip(ran, references, strict=True)]
    return [
        Figure(what=f"{what}: accepted", value=median(handed.rate for handed in ran), unit="/s"),
        Figure(what=f"{what}: share of the plain insert's rate", value=median(ratios), at_least=RATIO),
        *cpu.per_thousand(sum(handed.notifications for handed in ran), what, cpu.of("intake"), "intake"),
    ]

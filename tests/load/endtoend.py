"""From the POST to `sent`: everything at once."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.load import pictures, plain
from tests.load.figures import Figure, Report
from tests.load.plan import Answers, Plan, mail
from tests.load.sizes import Sizes
from tests.load.usage import Cpu
from tests.load.world import World
from tests.wait import eventually

CONNECTIONS = 64
STEP = 0.5  # seconds of the picture's


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A number of mails, each handed in by a POST of its own, and all sent."""

    answers: Answers
    seconds: float  # from the first POST to the last `sent`
    at: Sequence[float]  # seconds after the first POST, of each `sent`
    cpu: Cpu
    lost: int  # accepted, and never at the mail server
    doubled: int
    problems: Sequence[str]

    @property
    def rate(self) -> float:
        return len(self.at) / self.seconds


def sent(world: World, count: int) -> Sent:
    world.cleared()
    offset, before = time.time() - time.monotonic(), world.cpu()
    answers = world.generator.run(Plan(body=mail(), connections=CONNECTIONS, count=count))
    # The sink is asked first: it answers without taking CPU from what is measured.
    eventually("mails at the sink", lambda: world.sink.count() >= answers.accepted, within=120 + count / 50)
    eventually("sent", lambda: world.rows("status = 'sent'") >= answers.accepted, within=60)
    cpu, begun = world.cpu().since(before), min(answers.begun) + offset
    events = world.query("SELECT at FROM events WHERE status = 'sent'")
    at = sorted(_seconds(event[0]) - begun for event in events)
    mails, problems = world.sink.take(), answers.problems()
    lost = len(set(answers.numbers) - set(mails.numbers))
    if len(events) != answers.accepted:
        problems.append(f"{len(events)} events say sent, of {answers.accepted} notifications")
    return Sent(answers=answers, seconds=at[-1], at=at, cpu=cpu, lost=lost, doubled=mails.doubled, problems=problems)


def _seconds(at: datetime) -> float:
    return at.replace(tzinfo=UTC).timestamp()


def end_to_end(world: World, sizes: Sizes) -> Report:
    ran = sent(world, sizes.end_to_end)
    count, what = len(ran.at), "from POST to sent"
    per_step = Counter(int(at / STEP) for at in ran.at)
    rates = [per_step[step] / STEP for step in range(int(ran.at[-1] / STEP) + 1)]
    handed, beside = ran.answers.rate, plain.beside(world.mariadb.url, ran.rate)
    return Report(
        title=f"End to end: {sizes.end_to_end:,} mails",
        how=f"""Handed in one a POST from {CONNECTIONS} keep-alive connections, each with an idempotency key; one email
function with the settings that are the default, one trigger, and a mail server that answers at once. The time ends with
the last `sent` of the timelines in the database. The mails that arrived are compared with what was accepted.""",
        figures=[
            Figure(what="from the first POST to the last `sent`", value=ran.seconds, unit="s"),
            Figure(what="throughput", value=ran.rate, unit="/s", compared=beside),
            Figure(what="handed in meanwhile", value=handed, unit="/s"),
            *ran.cpu.per_thousand(count, what, ran.cpu.services, "Tidings"),
            *(
                Figure(what=f"of these, {name}", value=1000 * ran.cpu.of(name) / count, unit="s")
                for name in ("intake", "trigger", "email")
            ),
            Figure(what="accepted, and not at the mail server", value=ran.lost, at_most=0),
            Figure(what="at the mail server twice", value=ran.doubled, at_most=0),
        ],
        problems=ran.problems,
        pictures={"throughput": pictures.over_time("Mails sent a second", rates, STEP)},
    )

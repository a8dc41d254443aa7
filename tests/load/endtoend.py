"""End to end: from the POST to `sent`."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.load import bare, pictures, plain
from tests.load.figures import Figure, Report
from tests.load.plan import Answers, Plan, mail, push, sms
from tests.load.sizes import Sizes
from tests.load.usage import Cpu
from tests.load.world import World
from tests.wait import eventually

CONNECTIONS = 64
STEP = 0.5  # seconds of the picture's
WARM = 200  # messages
BODIES: Mapping[str, Callable[[], str]] = {"email": mail, "sms": sms, "push": push}
SDKS = {"sms": "twilio", "push": "firebase-admin"}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A number of messages, each submitted by its own POST, and all sent."""

    answers: Answers
    seconds: float  # from the first POST to the last `sent`
    at: Sequence[float]  # seconds after the first POST, of each `sent`
    cpu: Cpu
    lost: int  # accepted, and never at the sink
    doubled: int
    problems: Sequence[str]

    @property
    def rate(self) -> float:
        return len(self.at) / self.seconds


def sent(world: World, count: int, channel: str = "email") -> Sent:
    world.cleared()
    offset, before = time.time() - time.monotonic(), world.cpu()
    answers = world.generator.run(Plan(body=BODIES[channel](), connections=CONNECTIONS, count=count))
    # The sink is polled first: it takes no CPU from the measured processes.
    eventually("messages at the sink", lambda: world.sink.count() >= answers.accepted, within=120 + count / 50)
    eventually("sent", lambda: world.rows("status = 'sent'") >= answers.accepted, within=60)
    cpu, begun = world.cpu().since(before), min(answers.begun) + offset
    events = world.query("SELECT at FROM events WHERE status = 'sent'")
    at = sorted(_seconds(event[0]) - begun for event in events)
    taken, problems = world.sink.take(), answers.problems()
    lost = len(set(answers.numbers) - set(taken.numbers))
    if len(events) != answers.accepted:
        problems.append(f"{len(events)} events say sent, of {answers.accepted} notifications")
    return Sent(answers=answers, seconds=at[-1], at=at, cpu=cpu, lost=lost, doubled=taken.doubled, problems=problems)


def _seconds(at: datetime) -> float:
    return at.replace(tzinfo=UTC).timestamp()


def end_to_end(world: World, sizes: Sizes) -> Report:
    ran = sent(world, sizes.end_to_end)
    per_step = Counter(int(at / STEP) for at in ran.at)
    rates = [per_step[step] / STEP for step in range(int(ran.at[-1] / STEP) + 1)]
    return Report(
        title=f"End to end: {sizes.end_to_end:,} mails",
        how=f"""One mail per POST, from {CONNECTIONS} keep-alive connections, each with an idempotency key. There
are one email function with the default settings, one trigger, and a mail server that answers at once. The time ends
with the last `sent` in the timelines. The mails that arrived are compared with those that were accepted.""",
        figures=_figures(world, ran, "email", "the mail server"),
        problems=ran.problems,
        pictures={"throughput": pictures.over_time("Mails sent a second", rates, STEP)},
    )


def end_to_end_sms(world: World, sizes: Sizes) -> Report:
    return _by_sdk(world, sizes, "sms", "SMS", "Twilio")


def end_to_end_push(world: World, sizes: Sizes) -> Report:
    return _by_sdk(world, sizes, "push", "push messages", "FCM")


def _by_sdk(world: World, sizes: Sizes, channel: str, what: str, vendor: str) -> Report:
    sent(world, WARM, channel)  # the first call loads certificates, or fetches an access token
    ran = sent(world, sizes.end_to_end, channel)
    sdk, alone = SDKS[channel], bare.per_thousand(channel, sizes.end_to_end, world.stack.processes.environment)
    function = 1000 * ran.cpu.of(channel) / len(ran.at)
    return Report(
        title=f"End to end: {sizes.end_to_end:,} {what}",
        how=f"""As for the mails, with a server in place of {vendor} that accepts each message at once. The function
calls it through {sdk}. Just after, {sdk} alone sends as many messages to the same server, as its documentation
shows, in one thread and over one kept connection. The rest of the function's CPU is Tidings' own: the claim, the
threads, the timeline and the log, minus what the SDK does by default and Tidings prevents: it searches the
environment for a proxy at every call.""",
        figures=[
            *_figures(world, ran, channel, vendor),
            Figure(what=f"reference: {sdk} alone, CPU per 1,000", value=alone, unit="s"),
            Figure(what=f"Tidings' own: {channel} minus that reference", value=function - alone, unit="s"),
        ],
        problems=ran.problems,
    )


def _figures(world: World, ran: Sent, channel: str, vendor: str) -> list[Figure]:
    count, beside = len(ran.at), plain.beside(world.mariadb.url, ran.rate)
    return [
        Figure(what="from the first POST to the last `sent`", value=ran.seconds, unit="s"),
        Figure(what="throughput", value=ran.rate, unit="/s", compared=beside),
        Figure(what="submitted meanwhile", value=ran.answers.rate, unit="/s"),
        *ran.cpu.per_thousand(count, "from POST to sent", ran.cpu.services, "Tidings"),
        *(
            Figure(what=f"of these, {name}", value=1000 * ran.cpu.of(name) / count, unit="s")
            for name in ("intake", "trigger", channel)
        ),
        Figure(what=f"accepted, and not at {vendor}", value=ran.lost, at_most=0),
        Figure(what=f"at {vendor} twice", value=ran.doubled, at_most=0),
    ]

"""Receipts: what one costs, how many a second, alone and while SMS are sent."""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

from tidings.domain.channels import SmsContent
from tidings.ports import SendRequest
from tidings.providers.callbacks import CallbackAddresses

from local.emulators.twilio_callbacks import sign
from local.stack.processes import Processes, ProcessSpec
from tests.load import plain
from tests.load.figures import Figure, Report, milliseconds
from tests.load.filling import fill_ended
from tests.load.generator import Generator
from tests.load.plan import Answers, Plan, percentile, sms, sms_array
from tests.load.sizes import Sizes
from tests.load.usage import Cpu
from tests.load.world import World
from tests.wait import eventually

CONNECTIONS = 400
"""As many requests a vendor makes at once where it reports 2,000 a second and waits 0.2 s for each answer."""
TARGET = 2000  # a second
SMS, ARRAY = 100, 25  # a second, at an even pace, and in each array
CALLERS = 64  # of intake, at full speed
SECRET = "of-the-benchmark-and-nobody-else"
WARM = 500
TEXT = SmsContent(text="Your order is on its way.")
SENT = {
    "channel": "'sms'",
    "recipient": "CONCAT('+1555', LPAD(seq, 7, '0'))",
    "status": "'sent'",
    "provider": "'twilio'",
    "provider_message_id": "CONCAT('SM', LPAD(seq, 32, '0'))",
    "error_class": "NULL",
    "error_code": "NULL",
}


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A number of receipts, each of a message of its own, and what was sent meanwhile."""

    answers: Answers
    cpu: Cpu
    problems: Sequence[str]
    beside: str = ""  # the reference, in words
    submitted: float = 0  # SMS a second
    sent: float = 0

    @property
    def cores(self) -> float:
        """Busy with Tidings, MariaDB and RabbitMQ."""
        return sum(self.cpu.seconds.values()) / self.answers.seconds


def receipts(world: World, sizes: Sizes) -> Report:
    count, alone = sizes.receipts, dict[int, Taken]()
    paced = Plan(body=sms_array(ARRAY), connections=CALLERS, every=ARRAY / SMS)
    unpaced = Plan(body=sms(), connections=CALLERS)
    with tempfile.TemporaryDirectory() as folder, _reporting(world) as processes:
        file = Path(folder) / "requests"
        with world.paused():
            for workers in (1, 2):
                processes.restart("receipts", WORKERS=str(workers))
                alone[workers] = _alone(world, file, count)
        # Twice as long, so that the last answers, which come when all were due, are a small part of the time.
        paced_taken = _beside_sending(world, file, 2 * count, paced)
        unpaced_taken = _beside_sending(world, file, count, unpaced)
    return Report(
        title="Receipts",
        how=f"""{count:,} of Twilio's status callbacks, each with its signature and its sealed address, and each about
another SMS, which becomes `delivered`. They are POSTed from {CONNECTIONS} keep-alive connections: first while nothing
is sent, as fast as they are answered; then {TARGET:,} a second at an even pace, {2 * count:,} of them, to two
processes of the function, while SMS are submitted, and one function sends them with the default settings: {SMS} a
second, in arrays of {ARRAY}, and at last from {CALLERS} connections as fast as those are answered. Every answer is
checked, and the rows and their timelines are counted.""",
        figures=[
            *_figures("1 process, nothing sent", alone[1]),
            *_figures("2 processes, nothing sent", alone[2]),
            *_figures(f"2 processes, beside {SMS} SMS a second", paced_taken, target=TARGET),
            *_meanwhile(paced_taken),
            *_figures("2 processes, beside as many as possible", unpaced_taken),
            *_meanwhile(unpaced_taken),
        ],
        problems=[problem for taken in (*alone.values(), paced_taken, unpaced_taken) for problem in taken.problems],
    )


def _meanwhile(taken: Taken) -> list[Figure]:
    return [
        Figure(what="SMS submitted meanwhile", value=taken.submitted, unit="/s"),
        Figure(what="SMS sent meanwhile", value=taken.sent, unit="/s"),
    ]


def _figures(what: str, taken: Taken, *, target: float | None = None) -> list[Figure]:
    answers, cores = taken.answers, f"{taken.cores:.2f} cores busy with Tidings, MariaDB and RabbitMQ"
    compared = f"{taken.beside}; {cores}" if taken.beside else cores
    # Beside sending, MariaDB works for both.
    parts = ["receipts", "MariaDB"] if taken.beside else ["receipts"]
    return [
        # Its last answers come some tenths of a second after all were due.
        Figure(what=what, value=answers.rate, unit="/s", at_least=target and 0.97 * target, compared=compared),
        *(
            Figure(
                what=f"{what}: CPU of {name} per 1,000",
                value=1000 * taken.cpu.of(name) / max(answers.accepted, 1),
                unit="s",
            )
            for name in parts
        ),
        Figure(what=f"{what}: median", value=milliseconds(percentile(answers.latencies, 0.5)), unit="ms"),
        Figure(what=f"{what}: 99th percentile", value=milliseconds(percentile(answers.latencies, 0.99)), unit="ms"),
    ]


@contextmanager
def _reporting(world: World) -> Iterator[Processes]:
    """The function `receipts`, and SMS that ask for reports. What is yielded restarts them with these settings."""
    processes, port = world.stack.processes, world.stack.ports.receipts
    settings = {"TIDINGS_RECEIPTS_URL": _base(world), "TIDINGS_RECEIPTS_SECRET": SECRET}
    reporting = replace(processes, environment={**processes.environment, **settings})
    command = ["tidings.runtime.server", "receipts", "--port", str(port)]
    reporting.add("receipts", ProcessSpec(command=command, health=f"{_base(world)}/readyz"))
    try:
        with world.paused():  # a function that a trigger calls takes long to stop
            reporting.restart("sms")
        yield reporting
    finally:
        with world.paused():
            processes.remove("receipts")
            processes.restart("sms")


def _alone(world: World, file: Path, count: int) -> Taken:
    with Generator(port=world.stack.ports.receipts, key="") as client:
        client.run(_prepared(world, file, WARM))
        plan, before = _prepared(world, file, count), world.cpu()
        answers = client.run(plan)
        cpu, problems = world.cpu().since(before), _problems(world, answers)
    return Taken(answers=answers, cpu=cpu, problems=problems, beside=plain.beside(world.mariadb.url, answers.rate))


def _beside_sending(world: World, file: Path, count: int, sending: Plan) -> Taken:
    world.cleared()
    seconds = 5 * count / TARGET + 5
    with Generator(port=world.stack.ports.receipts, key="") as client, ThreadPoolExecutor(1) as thread:
        plan = replace(_prepared(world, file, count), every=1 / TARGET)
        submitting = thread.submit(world.generator.run, replace(sending, seconds=seconds))
        eventually("a message at the sink", world.sink.count, within=60)
        before, arrived = world.cpu(), world.sink.count()
        answers = client.run(plan)
        cpu, arrived = world.cpu().since(before), world.sink.count() - arrived
        submitted, problems = submitting.result(), _problems(world, answers)
    first, last = min(answers.begun), max(answers.ended)
    each = ARRAY if sending.every else 1
    return Taken(
        answers=answers,
        cpu=cpu,
        problems=[*submitted.problems(), *problems],
        submitted=each * sum(first <= at <= last for at in submitted.ended) / answers.seconds,
        sent=arrived / answers.seconds,
    )


def _problems(world: World, answers: Answers) -> list[str]:
    delivered = world.rows("status = 'delivered'")
    told = world.query("SELECT COUNT(DISTINCT notification_id), COUNT(*) FROM events WHERE status = 'delivered'")[0]
    if (delivered, *told) == (answers.accepted,) * 3:
        return answers.problems()
    wrong = f"{answers.accepted} receipts were accepted, {delivered} rows are delivered, {told} timelines and entries"
    return [*answers.problems(), wrong]


# --- the requests -----------------------------------------------------------------------------------------------------


def _base(world: World) -> str:
    return f"http://127.0.0.1:{world.stack.ports.receipts}"


def _prepared(world: World, file: Path, count: int) -> Plan:
    """Write a request for each of as many rows, which are the only ones."""
    for table in ("notifications", "events", "receipts"):
        world.query(f"TRUNCATE {table}")
    fill_ended(world.mariadb.url, count, columns=SENT)
    rows = world.query("SELECT id, recipient, provider_message_id FROM notifications ORDER BY id")
    addresses = CallbackAddresses(base=_base(world), secrets=[SECRET.encode()])
    token = world.stack.settings["TIDINGS_TWILIO_AUTH_TOKEN"]
    file.write_bytes(b"".join(_request(addresses, token, *row) for row in rows))
    return Plan(prepared=str(file), connections=CONNECTIONS, count=count)


def _request(addresses: CallbackAddresses, token: str, id: str, recipient: str, sid: str) -> bytes:
    request = SendRequest(id=id, generation=1, attempt=1, recipient=recipient, content=TEXT)
    url = addresses.for_attempt("twilio", request)
    form = {
        "AccountSid": "AC" + "0" * 32,
        "ApiVersion": "2010-04-01",
        "From": "+15005550006",
        "MessageSid": sid,
        "MessageStatus": "delivered",
        "RawDlrDoneDate": "2611300102",
        "SmsSid": sid,
        "SmsStatus": "delivered",
        "To": recipient,
    }
    body = urlencode(form)
    head = (
        f"POST {url.removeprefix(addresses.base)} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: TwilioProxy/1.1\r\n"
        f"Accept: */*\r\nI-Twilio-Idempotency-Token: {id}\r\nX-Twilio-Signature: {sign(token, url, form)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode()

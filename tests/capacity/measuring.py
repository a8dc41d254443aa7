"""What the capacity page needs and the speed page does not say: measured here, on the bench's own world.

`python -m tests.capacity --measure` prints it as TOML, for `inputs.toml`. It takes five minutes.
"""

import os
import platform
import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from local.services import mariadb, rabbitmq
from tests.capacity.cold import cold
from tests.capacity.embedded import sqlite
from tests.capacity.steps import steps
from tests.load.memory import publish
from tests.load.plan import Plan, mail, percentile
from tests.load.senders import rate_of
from tests.load.sizes import FULL
from tests.load.usage import Cpu, cpu_seconds, megabytes
from tests.load.world import World, world
from tests.wait import eventually

CONNECTIONS = 64
MAILS = 5000
ROUNDS = 3
STORED = 40_000
QUEUED = 200_000
STATUS = ("Questions", "Com_commit", "Innodb_data_fsyncs", "Innodb_os_log_written")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """Mails that were handed in and sent."""

    count: int
    seconds: float
    cpu: Cpu
    status: Mapping[str, float]  # MariaDB's counters

    def per_thousand(self, *names: str) -> float:
        return 1000 * self.cpu.of(*names) / self.count


def measured(only: str = "") -> Iterator[tuple[str, float]]:
    """Each figure's name in `inputs.toml`, and its value; `only` of the measures whose name holds this."""
    in_the_world = [measure for name, measure in MEASURES.items() if only in name]
    if in_the_world:
        with world() as ready:
            for measure in in_the_world:
                yield from measure(ready)
    if only in "sqlite":
        yield from sqlite()
    if only in "cold":
        yield from cold()


def machine() -> str:
    with open("/proc/meminfo", encoding="ascii") as file:
        gigabytes = round(int(file.readline().split()[1]) / 1024**2)
    return (
        f"a virtual machine of {os.cpu_count()} cores and {gigabytes} GB, Python {platform.python_version()}, "
        f"{rabbitmq.program_version()}, {mariadb.program_version()}"
    )


def _whole(ready: World) -> Iterator[tuple[str, float]]:
    _run(ready, 1000)
    rounds = [_run(ready, MAILS) for _ in range(ROUNDS)]

    def median(of: Callable[[Ran], float]) -> float:
        return statistics.median(of(ran) for ran in rounds)

    yield "end_to_end.rate", median(lambda ran: ran.count / ran.seconds)
    for name in ("intake", "trigger", "email", "replay", "schedule", "MariaDB", "RabbitMQ", "generator", "sink"):
        yield f"end_to_end.cpu.{name.lower()}", median(lambda ran, name=name: ran.per_thousand(name))  # type: ignore[misc]
    for name in STATUS:
        yield f"end_to_end.{name.lower()}", median(lambda ran, name=name: ran.status[name] / ran.count)  # type: ignore[misc]


def _run(ready: World, count: int) -> Ran:
    ready.cleared()
    before, status = _cpu(ready), _status(ready)
    answers = ready.generator.run(Plan(body=mail(), connections=CONNECTIONS, count=count))
    eventually("mails at the sink", lambda: ready.sink.count() >= answers.accepted, within=300)
    ended = max(ready.sink.take().at)
    eventually("sent", lambda: ready.rows("status = 'sent'") >= answers.accepted, within=60)
    assert answers.accepted == count, answers.statuses
    return Ran(
        count=count,
        seconds=ended - min(answers.begun),
        cpu=_cpu(ready).since(before),
        status={name: value - status[name] for name, value in _status(ready).items()},
    )


def _cpu(ready: World) -> Cpu:
    helpers = {"generator": ready.generator.pid, "sink": ready.sink.pid}
    return Cpu({**ready.cpu().seconds, **{name: cpu_seconds(pid) for name, pid in helpers.items()}})


def _status(ready: World) -> dict[str, float]:
    rows = ready.query("SHOW GLOBAL STATUS")
    return {name: float(value) for name, value in rows if name in STATUS}


def _one_at_a_time(ready: World) -> Iterator[tuple[str, float]]:
    """What an environment of Lambda does, which has one request at a time: nothing is gathered."""
    with ready.paused():
        ready.generator.run(Plan(body=mail(), connections=1, count=200))
        before, status = _cpu(ready), _status(ready)
        answers = ready.generator.run(Plan(body=mail(), connections=1, count=2000))
        ran = Ran(
            count=answers.accepted,
            seconds=answers.seconds,
            cpu=_cpu(ready).since(before),
            status={name: value - status[name] for name, value in _status(ready).items()},
        )
    for name in ("intake", "MariaDB", "RabbitMQ"):
        yield f"one_at_a_time.cpu.{name.lower()}", ran.per_thousand(name)
    yield "one_at_a_time.questions", ran.status["Questions"] / ran.count
    for share in (0.1, 0.5):
        yield f"one_at_a_time.milliseconds.p{share * 100:g}", 1000 * percentile(answers.latencies, share)


def _calls(ready: World) -> Iterator[tuple[str, float]]:
    """Mails a second where the mail server takes 100 ms: of so many functions with so many calls at once."""
    for instances, calls in ((1, 16), (1, 32), (1, 64), (1, 100), (4, 8)):
        rate, _ = rate_of(ready, FULL, instances, calls)
        yield f"calls.i{instances}c{calls}", rate


def _busiest(ready: World) -> Iterator[tuple[str, float]]:
    """The share of RabbitMQ's work (Erlang's reductions) that its busiest process does, which can use one core only."""
    ready.cleared()
    before = _reductions(ready)
    answers = ready.generator.run(Plan(body=mail(), connections=CONNECTIONS, count=10_000))
    eventually("mails at the sink", lambda: ready.sink.count() >= answers.accepted, within=300)
    after = _reductions(ready)
    spent = sorted((now - before[process] for process, now in after.items() if process in before), reverse=True)
    yield "broker.busiest_share", spent[0] / sum(spent)


def _reductions(ready: World) -> dict[str, int]:
    asked = "[{pid_to_list(P), R} || P <- processes(), {reductions, R} <- [process_info(P, reductions)]]."
    told = ready.rabbitmq.control("eval", asked)
    return {process: int(count) for process, count in re.findall(r'\{"(<[\d.]+>)",\s*(\d+)\}', told)}


def _stored(ready: World) -> Iterator[tuple[str, float]]:
    _run(ready, STORED)
    for table in ("notifications", "events"):
        ready.query(f"ANALYZE TABLE {table}")
        asked = "SELECT data_length, index_length FROM information_schema.tables WHERE table_name = %s"
        data, index = ready.query(asked + " AND table_schema = DATABASE()", (table,))[0]
        yield f"bytes.{table}.data", data / STORED
        yield f"bytes.{table}.index", index / STORED
    asked = (
        "SELECT SUM(stat_value) FROM mysql.innodb_index_stats WHERE table_name = 'notifications' AND stat_name = 'size'"
    )
    random = " AND database_name = DATABASE() AND index_name IN (%s, %s)"
    pages = ready.query(asked + random, ("ux_notifications_idempotency", "ix_notifications_recipient"))[0][0]
    yield "bytes.random_indexes", float(pages) * 16384 / STORED
    for name in ("intake", "trigger", "email", "replay", "schedule"):
        yield f"megabytes.{name}", megabytes(ready.stack.processes.running[name].pid)
    yield "megabytes.mariadb", megabytes(ready.mariadb.pid)
    yield "megabytes.rabbitmq", megabytes(ready.rabbitmq.pid)


def _queued(ready: World) -> Iterator[tuple[str, float]]:
    with ready.paused(), ready.broker() as broker:
        before = megabytes(ready.rabbitmq.pid), _on_disk(ready)
        publish(broker, QUEUED)
        after = megabytes(ready.rabbitmq.pid), _on_disk(ready)
    yield "broker.memory_per_message", (after[0] - before[0]) * 1024**2 / QUEUED
    yield "broker.disk_per_message", (after[1] - before[1]) / QUEUED


def _on_disk(ready: World) -> int:
    return sum(file.stat().st_blocks * 512 for file in ready.rabbitmq.state.rglob("*") if file.is_file())


MEASURES: Mapping[str, Callable[[World], Iterator[tuple[str, float]]]] = {
    "end_to_end": _whole,
    "one_at_a_time": _one_at_a_time,
    "steps": steps,
    "calls": _calls,
    "broker": _busiest,
    "stored": _stored,
    "queued": _queued,
}

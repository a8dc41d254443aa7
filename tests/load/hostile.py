"""Hostile callers beside a load: their effect on the others."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from local.stack.stack import ROOT
from tests.load.figures import Figure, Report, milliseconds, shown
from tests.load.intake import Handed, handed_in
from tests.load.plan import Plan, mail, percentile
from tests.load.sizes import Sizes
from tests.load.world import World

CONNECTIONS = 64


def hostile(world: World, sizes: Sizes) -> Report:
    plan = Plan(body=mail(), connections=CONNECTIONS, seconds=sizes.intake_seconds)
    alone: list[Handed] = []
    beside: list[Handed] = []
    with world.paused():
        handed_in(world, Plan(body=mail(), connections=CONNECTIONS, count=1000))  # warms it up
        for _ in range(sizes.rounds):
            alone.append(handed_in(world, plan))
            with _strangers(world):
                beside.append(handed_in(world, plan))
    rates = [median(handed.rate for handed in ran) for ran in (alone, beside)]
    return Report(
        title="Hostile callers beside a load",
        how=f"""{CONNECTIONS} keep-alive connections, each with the next POST as soon as the last is answered, for
{sizes.intake_seconds:g} s, in turns alone and beside six others, each as fast as it is answered: bodies of 16 MB and
heads of 8 MB without a key, readiness, wrong keys, 200 requests that are never finished, and with a key a mail of
200,000 recipients in 1 MB. These are one process of their own, and cost CPU on the same machine too. Medians of
{sizes.rounds} round(s).""",
        figures=[
            Figure(what="alone: accepted", value=rates[0], unit="/s"),
            Figure(
                what="beside hostile callers: accepted",
                value=rates[1],
                unit="/s",
                compared=f"{shown(rates[1] / rates[0])} of alone",
            ),
            *_latency("alone", alone),
            *_latency("beside hostile callers", beside),
        ],
        problems=[problem for handed in (*alone, *beside) for problem in handed.problems],
    )


def _latency(what: str, ran: list[Handed]) -> list[Figure]:
    values = [latency for handed in ran for latency in handed.answers.latencies]
    return [
        Figure(what=f"{what}: median", value=milliseconds(percentile(values, 0.5)), unit="ms"),
        Figure(what=f"{what}: 99th percentile", value=milliseconds(percentile(values, 0.99)), unit="ms"),
    ]


@contextmanager
def _strangers(world: World) -> Iterator[None]:
    command = [
        sys.executable,
        "-m",
        "tests.load.hostile_callers",
        str(world.stack.ports.intake),
        world.stack.secrets.api_key,
    ]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        try:
            yield
        finally:
            running.terminate()

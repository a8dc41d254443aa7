"""The cold start of each function: what a scaled-up instance, or a Lambda, does before its first request."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from local.stack.stack import ROOT
from tests.load.figures import Figure, Report, shown
from tests.load.sizes import Sizes
from tests.load.world import World

OWN = {"intake": (), "email": ("smtplib",), "sms": ("twilio",), "push": ("firebase_admin",), "replay": ()}
VENDORS = ("smtplib", "twilio", "firebase_admin", "boto3")
OTHERS = ("sqlalchemy", "pymysql", "pika", "flask", "starlette", "functions_framework", "requests", "httpx")


@dataclass(frozen=True, kw_only=True)
class Start:
    seconds: float  # from before the process is made
    cpu: float  # seconds
    modules: Sequence[str]

    def has(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self.modules]


def cold_start(world: World, sizes: Sizes) -> Report:
    found = {name: [_started(world, name) for _ in range(sizes.starts)] for name in OWN}
    alone = median(_started(world).cpu for _ in range(sizes.starts))
    return Report(
        title="Cold start",
        how=f"""Each function in a fresh process, from its exec until its module is imported, its settings are read and
its routes or its delivery are built, as on Lambda; median of {sizes.starts}. The files are compiled and in the page
cache.""",
        figures=[
            Figure(what="reference: Python alone, CPU", value=alone, unit="s"),
            *(figure for name, starts in found.items() for figure in _figures(name, starts)),
        ],
        notes=[
            f"{name} imports {', '.join(starts[0].has([*VENDORS, *OTHERS])) or 'none of them'}"
            for name, starts in found.items()
        ],
    )


def _figures(name: str, starts: list[Start]) -> list[Figure]:
    foreign = [sdk for sdk in starts[0].has(VENDORS) if sdk not in OWN[name]]
    wall, cpu = median(start.seconds for start in starts), median(start.cpu for start in starts)
    return [
        Figure(what=f"{name}: CPU", value=cpu, unit="s", at_most=1, compared=f"{shown(wall, 's')} on the clock"),
        Figure(what=f"{name}: modules imported", value=len(starts[0].modules)),
        Figure(what=f"{name}: SDKs that are not its own", value=len(foreign), at_most=0, compared=", ".join(foreign)),
    ]


def _started(world: World, *name: str) -> Start:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.cold", *name],
        cwd=ROOT,
        env=dict(world.stack.processes.environment),
        stdout=subprocess.PIPE,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    return Start(seconds=told["ended"] - begun, cpu=told["cpu"], modules=told["modules"])

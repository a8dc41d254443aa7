"""The benchmark: `tests/load/bench [--only NAME] [--quick] [--write FILE]`."""

import argparse
import sys
import time
from pathlib import Path

from local.services import packages
from local.services.process import ServiceError
from tests.load import page
from tests.load.figures import Report
from tests.load.measures import MEASURES
from tests.load.sizes import FULL, QUICK, Sizes
from tests.load.world import World, world


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/load/bench", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME", help=f"measures whose name holds this: {_names()}")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that all of it works, and no more")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there, and its pictures beside it")
    options = parser.parse_args()
    chosen = [name for name in MEASURES if options.only in name]
    if not chosen:
        parser.error(f"no measure is named so; there are: {_names()}")
    if options.write is not None and not options.write.parent.is_dir():
        parser.error(f"there is no folder {options.write.parent}")
    try:
        packages.install(packages.missing())
        with world() as measured:
            reports = [_measured(measured, name, QUICK if options.quick else FULL) for name in chosen]
            machine = measured.machine
    except ServiceError as error:
        print(f"tests/load/bench: {error}", file=sys.stderr)
        return 1
    if options.write is not None:
        command = " ".join(["tests/load/bench", *sys.argv[1:]])
        page.write(reports, machine=machine, command=command, file=options.write)
    return 1 if any(report.problems for report in reports) else 0


def _names() -> str:
    return ", ".join(MEASURES)


def _measured(measured: World, name: str, sizes: Sizes) -> Report:
    """A measure that fails does not affect the others."""
    begun = time.monotonic()
    try:
        measured.cleared()
        report = MEASURES[name](measured, sizes)
    except Exception as error:
        report = Report(title=name, how="It broke.", problems=[f"{type(error).__name__}: {error}"[:500]])
    print(f"{page.section(report)}\n({name}: {time.monotonic() - begun:.0f} s)\n", flush=True)
    return report


if __name__ == "__main__":
    sys.exit(main())

"""Capacity on paper: `python -m tests.capacity` writes the page, `--measure` measures its inputs."""

import argparse
from datetime import UTC, datetime

from tests.capacity.inputs import inputs
from tests.capacity.page import pages
from tests.pages import DOCS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.capacity", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="print [measured] for inputs.toml: ten minutes")
    parser.add_argument("--only", default="", metavar="NAME", help="measures whose name holds this")
    options = parser.parse_args()
    if options.measure:
        _measure(options.only)
        return
    for name, text in pages(inputs()).items():
        (DOCS / name).write_text(text, encoding="utf-8")


def _measure(only: str) -> None:
    from tests.capacity.measuring import machine, measured

    print(f'[measured]\ndate = "{datetime.now(UTC):%Y-%m-%d}"\nmachine = "{machine()}"', flush=True)
    for name, value in measured(only):
        print(f"{name} = {value:.4g}", flush=True)


if __name__ == "__main__":
    main()

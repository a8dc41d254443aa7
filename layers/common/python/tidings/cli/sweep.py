"""The command `tidings sweep`."""

import argparse

from tidings.cli.api_client import operator
from tidings.cli.options import Commands, Parents
from tidings.cli.output import progress, show, table


def sweep(options: argparse.Namespace) -> None:
    with operator(options) as server, progress("sweeping", None):
        counts = server.post("/v1/sweep", {})
    rows = [[name, str(count)] for name, count in counts.items() if count]
    show(options, counts, table(rows) if rows else "Nothing was overdue.")


def add(commands: Commands, parents: Parents) -> None:
    swept = commands.add_parser(
        "sweep",
        parents=[parents.output, parents.operator],
        help="queue overdue notifications and publish owed dead letters now",
    )
    swept.set_defaults(run=sweep)

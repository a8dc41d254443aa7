"""Look at everything that must be right, where the functions run, and name the remedy."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tidings.cli.api_client import IntakeSettings, OperatorSettings, chosen, intake, operator
from tidings.cli.exit_codes import REFUSED, Failed
from tidings.cli.options import Commands, Parents
from tidings.cli.output import plain, progress, show
from tidings.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from tidings.cli import diagnostics


def doctor(options: argparse.Namespace) -> int:
    try:
        # Loaded only here: no other command needs a database's driver.
        from tidings.cli import diagnostics
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"doctor is run where the functions run: {error.name} is not installed here; install tidings[server]"
        ) from None

    looked = (
        diagnostics.functions(options.functions, options.parts),
        diagnostics.keys(),
        diagnostics.services(),
        _addresses(options),
        diagnostics.proxies(),
    )
    found = []
    with progress("looking", None) as advance:
        for finding in chain.from_iterable(looked):
            found.append(finding)
            advance(0, finding.name)
    shown = [{name: value for name, value in asdict(one).items() if value is not None} for one in found]
    lines = [f"{one.state:<8} {plain(one.name)}: {plain(one.text)}" + _remedy(one.remedy) for one in found]
    count = sum(one.state == "wrong" for one in found)
    show(options, {"ok": count == 0, "checks": shown}, "\n".join(lines))
    return REFUSED if count else 0


def _remedy(text: str | None) -> str:
    return f"\n         -> {plain(text)}" if text is not None else ""


def _addresses(options: argparse.Namespace) -> Iterator["diagnostics.Finding"]:
    """The two HTTP functions and our key, where their addresses are set."""
    from tidings.cli import diagnostics

    for name, settings, ask in (("intake", IntakeSettings, _intake), ("operator", OperatorSettings, _operator)):
        try:
            chosen(settings, options)
        except ConfigurationError:
            continue
        try:
            yield diagnostics.ok(f"address: {name}", ask(options))
        except Failed as failed:
            yield diagnostics.wrong(f"address: {name}", str(failed), "see the line itself")


def _intake(options: argparse.Namespace) -> str:
    with intake(options, deadline=0) as client:
        client.page(limit=1)
    return "answers, and knows the key"


def _operator(options: argparse.Namespace) -> str:
    with operator(options) as server:
        me = server.get("/v1/me")
    return f"answers, and knows the key: {me['tenant']}, {' '.join(me['scopes'])}"


def add(commands: Commands, parents: Parents) -> None:
    one = commands.add_parser(
        "doctor",
        parents=[parents.output],
        help="check settings, database, migrations, broker, topology, providers, clock; run it where the functions run",
    )
    one.add_argument("parts", metavar="FUNCTION", nargs="*", help="only these; all that are there if not given")
    one.add_argument("--functions", type=Path, default=Path("functions"), metavar="FOLDER", help="default: functions")
    one.set_defaults(run=doctor)

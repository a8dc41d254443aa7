"""The command `tidings doctor`: checks the deployment where the functions run, and names remedies."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tidings.cli.api_client import IntakeSettings, OperatorSettings, intake, load_settings, operator
from tidings.cli.exit_codes import REFUSED, CommandFailed
from tidings.cli.options import Commands, Parents
from tidings.cli.output import plain, progress, show
from tidings.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from tidings.cli import diagnostics


def doctor(options: argparse.Namespace) -> int:
    try:
        # Imported here: no other command needs a database driver.
        from tidings.cli import diagnostics
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"doctor must run where the functions run: {error.name} is not installed here; install tidings[server]"
        ) from None

    checks = (
        diagnostics.functions(options.functions, options.names),
        diagnostics.keys(),
        diagnostics.services(),
        diagnostics.unsubscribing(options.functions, options.names),
        _urls(options),
        diagnostics.proxies(),
    )
    found = []
    with progress("checking", None) as advance:
        for finding in chain.from_iterable(checks):
            found.append(finding)
            advance(0, finding.name)
    shown = [{name: value for name, value in asdict(one).items() if value is not None} for one in found]
    lines = [f"{one.state:<8} {plain(one.name)}: {plain(one.text)}" + _remedy(one.remedy) for one in found]
    count = sum(one.state == "wrong" for one in found)
    show(options, {"ok": count == 0, "checks": shown}, "\n".join(lines))
    return REFUSED if count else 0


def _remedy(text: str | None) -> str:
    return f"\n         -> {plain(text)}" if text is not None else ""


def _urls(options: argparse.Namespace) -> Iterator["diagnostics.Finding"]:
    """Call the two HTTP APIs with our API key, if their URLs are set."""
    from tidings.cli import diagnostics

    for name, settings, check in (
        ("intake", IntakeSettings, _check_intake),
        ("operator", OperatorSettings, _check_operator),
    ):
        try:
            load_settings(settings, options)
        except ConfigurationError:
            continue
        try:
            yield diagnostics.ok(f"address: {name}", check(options))
        except CommandFailed as failed:
            yield diagnostics.wrong(f"address: {name}", str(failed), "do as the message says")


def _check_intake(options: argparse.Namespace) -> str:
    with intake(options, deadline=0) as client:
        client.page(limit=1)
    return "answers, and accepts the API key"


def _check_operator(options: argparse.Namespace) -> str:
    with operator(options) as server:
        me = server.get("/v1/me")
    return f"answers, and accepts the API key: {me['tenant']}, {' '.join(me['scopes'])}"


def add(commands: Commands, parents: Parents) -> None:
    one = commands.add_parser(
        "doctor",
        parents=[parents.output],
        help="check settings, database, migrations, broker, topology, providers, clock; run it where the functions run",
    )
    one.add_argument("names", metavar="FUNCTION", nargs="*", help="check these only; default: all in the folder")
    one.add_argument(
        "--functions",
        type=Path,
        default=Path("functions"),
        metavar="FOLDER",
        help="the functions' folder; default: functions",
    )
    one.set_defaults(run=doctor)

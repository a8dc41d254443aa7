"""The parser of all commands. `docs/cli.md` is generated from it."""

import argparse
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from tidings.cli import (
    books,
    channels,
    dead_letters,
    doctor,
    keys,
    load_test,
    proof,
    reconcile,
    send,
    suppressions,
    sweep,
    webhooks,
)
from tidings.cli.api_client import ENV_FILE
from tidings.cli.exit_codes import EXIT_CODES, USAGE
from tidings.cli.options import Commands, Parents


def _epilog() -> str:
    codes = "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())
    return f"""settings: TIDINGS_URL (the intake), TIDINGS_OPS_URL (the replay function) and TIDINGS_API_KEY, from the
environment, else from {ENV_FILE} in the working folder (KEY=value lines). Flags override both.

exit codes:
{codes}"""


class OneLineParser(argparse.ArgumentParser):
    """Reports wrong usage in one line. argparse uses the same class for the subcommands."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"tidings: {message}; see `{self.prog} --help`\n")


def _version() -> str:
    try:
        return version("tidings")
    except PackageNotFoundError:  # not installed as a package
        return "unknown version"


def parser() -> argparse.ArgumentParser:
    made = OneLineParser(
        prog="tidings",
        description="Send notifications, follow them, and operate Tidings.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"tidings {_version()}")
    commands: Commands = made.add_subparsers(required=True, metavar="COMMAND")
    parents = Parents.create()
    for group in (
        send,
        dead_letters,
        suppressions,
        webhooks,
        sweep,
        books,
        proof,
        reconcile,
        channels,
        keys,
        doctor,
        load_test,
    ):
        group.add(commands, parents)
    return made

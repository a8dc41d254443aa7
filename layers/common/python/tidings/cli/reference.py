"""Generates docs/cli.md from the parser: `python -m tidings.cli.reference > docs/cli.md`."""

import argparse
import sys
from collections.abc import Iterator

from tidings.cli.exit_codes import EXIT_CODES
from tidings.cli.parser import parser

HEAD = """# The command `tidings`

Install it with the layer: `pip install 'layers/common[cli]'`. The extra `cli` adds progress bars. `doctor` also needs
the extra `server`. This page is generated from the command: `python -m tidings.cli.reference > docs/cli.md`.

Settings come from the environment, or from `.tidings/env` in the working folder (KEY=value lines, written by
`local/up`): `TIDINGS_URL` for the intake, `TIDINGS_OPS_URL` for the replay function, and `TIDINGS_API_KEY`. `doctor`
runs where the functions run and reads their settings. It loads each function in its own process, as its runtime does,
checks its provider without sending anything, and prints a remedy for each problem. `keys` reads `TIDINGS_API_KEYS` and
prints the new value.

`tidings --version` prints the version. Every command takes `--json`. Notes and progress bars go to standard error; a
progress bar is shown on a terminal only. On a terminal, a list is as wide as the terminal; in a pipe nothing is cut.
Requests to the intake are retried for 20 s if they are lost; that cannot send twice, because `send` makes an
idempotency key. Requests to the replay function are not retried; repeating a replay or a decision whose answer was lost
is harmless. No proxy is used, and no redirect is followed.

Beside a status stands whether the notification may have been sent all the same: `canceled (may have been sent)` had an
attempt that the provider may have accepted. In JSON that is `may_have_been_sent`.
"""


def page() -> str:
    """Markdown."""
    made = parser()
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    return "\n".join([HEAD, f"## Exit codes\n\n| Code | Meaning |\n|---|---|\n{codes}", *_sections(made)]) + "\n"


def _sections(command: argparse.ArgumentParser, help_text: str = "") -> Iterator[str]:
    nested = [action for action in command._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        yield f"\n## {command.prog}\n\n{help_text[:1].upper()}{help_text[1:]}.\n"
        rows = [_row(action) for action in command._actions if not isinstance(action, argparse._HelpAction)]
        yield "\n".join(["| | |", "|---|---|", *rows])
    for action in nested:
        helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, subcommand in action.choices.items():
            yield from _sections(subcommand, helps[name])


def _row(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    shown = " ".join([*action.option_strings[:1], *([str(value)] if action.nargs != 0 else [])])
    help_text = action.help or (", ".join(map(str, action.choices)) if action.choices else "")
    return f"| `{_cell(shown)}` | {_cell(help_text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())

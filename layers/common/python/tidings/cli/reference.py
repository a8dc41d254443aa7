"""The page of all commands, made from the parser: `python -m tidings.cli.reference > docs/cli.md`."""

import argparse
import sys
from collections.abc import Iterator

from tidings.cli.exit_codes import EXIT_CODES
from tidings.cli.parser import parser

HEAD = """# The command `tidings`

It comes with the layer: `pip install 'layers/common[cli]'`. The extra `cli` is for the progress bars; without it, all
else is the same. `doctor` also needs what the functions need: the extra `server`. This page is made from the command
itself: `python -m tidings.cli.reference > docs/cli.md`.

What it needs comes from the environment, or from `.tidings/env` in the working folder (KEY=value lines, as `local/up`
writes them): `TIDINGS_URL` for the intake, `TIDINGS_OPS_URL` for the operator's side, and `TIDINGS_API_KEY`. `doctor`
reads the functions' own settings, and is run where they run; it loads each function as its runtime does, in a process
of its own, asks its provider without sending anything, and names the remedy of what is wrong. `keys` reads
`TIDINGS_API_KEYS` and prints it as it should be.

`tidings --version` prints the version. Every command takes `--json`. What is said beside the answer goes to standard
error, as does a progress bar, which is only shown on a terminal. There, a list is made as wide as the terminal; through
a pipe it is whole. What goes to the intake is tried again for 20 s where it is lost on the way, which cannot
double: `send` makes an idempotency key. What goes to the operator's side is asked once; a replay or a decision whose
answer was lost may be given again, which is harmless. No proxy is asked, and no redirect is followed.

A status has its doubt beside it, wherever it is shown: `canceled (may have been sent)` had an attempt that the provider
may have accepted. In JSON that is `may_have_been_sent`.
"""


def page() -> str:
    """Markdown."""
    made = parser()
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    return "\n".join([HEAD, f"## Exit codes\n\n| Code | Meaning |\n|---|---|\n{codes}", *_sections(made)]) + "\n"


def _sections(of: argparse.ArgumentParser, told: str = "") -> Iterator[str]:
    nested = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        yield f"\n## {of.prog}\n\n{told[:1].upper()}{told[1:]}.\n"
        rows = [_row(action) for action in of._actions if not isinstance(action, argparse._HelpAction)]
        yield "\n".join(["| | |", "|---|---|", *rows])
    for action in nested:
        helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, command in action.choices.items():
            yield from _sections(command, helps[name])


def _row(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    shown = " ".join([*action.option_strings[:1], *([str(value)] if action.nargs != 0 else [])])
    told = action.help or (", ".join(map(str, action.choices)) if action.choices else "")
    return f"| `{_cell(shown)}` | {_cell(told)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())

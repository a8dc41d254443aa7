"""The command `tidings` as a real process. It is forked from one that has imported the command, which saves each half a
second of processor time; tests/tidings/test_cli.py also starts it as people do."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidings.cli import main

from tests import forks

WITHIN = 120.0  # seconds; generous, for a busy machine


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def environment(settings: Mapping[str, str] | None) -> dict[str, str]:
    """These settings and no others."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    return {**mine, **(settings or {})}


def tidings(*arguments: str, folder: Path, settings: Mapping[str, str] | None = None, typed: str = "") -> Ended:
    """Run it with these settings and no others."""
    with tempfile.TemporaryDirectory() as streams:
        (Path(streams) / "in").write_text(typed)
        process = forks.Fork(_run, arguments, folder, environment(settings), streams)
        try:
            code = process.wait(WITHIN)
        finally:
            process.kill()
        out, err = (Path(streams, name).read_text() for name in ("out", "err"))
        return Ended(code=code, out=out, err=err)


def _run(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], streams: str) -> None:
    """In the forked process: what the shell and the interpreter do."""
    for number, (name, flags) in enumerate(
        [("in", os.O_RDONLY), ("out", os.O_CREAT | os.O_WRONLY), ("err", os.O_CREAT | os.O_WRONLY)]
    ):
        os.dup2(os.open(Path(streams, name), flags), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115 - the process's own
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.exit(main(arguments))

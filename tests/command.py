"""The command `tidings` as a real process."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WITHIN = 120.0  # seconds; generous, for a busy machine


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def tidings(*arguments: str, folder: Path, settings: Mapping[str, str] | None = None, typed: str = "") -> Ended:
    """Run it with these settings and no others."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    done = subprocess.run(
        [sys.executable, "-m", "tidings.cli", *arguments],
        cwd=folder,
        env={**mine, **(settings or {})},
        input=typed,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)

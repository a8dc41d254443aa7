"""A wrong wall clock for one process: a preloaded library, and a clock that can be changed while it runs."""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.services import packages
from local.services.process import ServiceError


@dataclass(frozen=True, kw_only=True)
class SettableClock:
    """The clock of processes with this environment. Correct until it is set."""

    library: Path
    file: Path  # which the library maps into the process

    @classmethod
    def made(cls, folder: Path) -> "SettableClock":
        made = cls(library=library(folder), file=folder / "clock")
        made.set_off(0)
        return made

    @property
    def environment(self) -> Mapping[str, str]:
        return {"LD_PRELOAD": str(self.library), "WRONG_CLOCK_FILE": str(self.file)}

    def set_off(self, seconds: int) -> None:
        """Set how many seconds it is ahead; negative: behind. A single write, because it may be read at any moment."""
        with open(self.file, "r+b" if self.file.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("=q", seconds))


def library(folder: Path) -> Path:
    """Compile the library if needed. Fail if that is not possible."""
    made = folder / "wrong_clock.so"
    if not made.exists():
        _compile(made)
    return made


def _compile(made: Path) -> None:
    source = Path(__file__).with_name("wrong_clock.c")
    try:
        if shutil.which("cc") is None:
            packages.install(["gcc", "libc6-dev"])
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, source], check=True, capture_output=True)
    except (ServiceError, OSError, subprocess.CalledProcessError) as problem:
        raise AssertionError(f"NOT RUN: a wrong clock needs a C compiler: {problem}") from None

"""Failpoints: named steps at which tests kill the process.

`TIDINGS_FAILPOINT=delivery.after_send@/path/to/flag` kills the first process that reaches the step while the flag file
exists, as `kill -9` would. That process removes the file, so it happens once, however many processes there are. Several
are separated by spaces. Outside tests the variable is unset, and a step is a call of an empty function.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

VARIABLE = "TIDINGS_FAILPOINT"


def _armed(setting: str) -> Callable[[str], None]:
    flags = {name: Path(flag) for name, _, flag in (pair.partition("@") for pair in setting.split())}

    def step(reached: str) -> None:
        if reached not in flags:
            return
        try:
            flags[reached].unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return step


def _unarmed(reached: str) -> None:
    """Does nothing."""


step: Callable[[str], None] = _armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _unarmed
"""Call it when this step is reached."""

"""Failpoints: named steps at which tests kill the process.

`TIDINGS_FAILPOINT=delivery.after_send@/path/to/flag` kills the first process that reaches the step while the flag file
exists, as `kill -9` would. That process removes the file, so it happens once, however many processes there are. Several
are separated by spaces. Outside tests the variable is unset, and a step costs a microsecond.
"""

import os
import signal
from pathlib import Path

VARIABLE = "TIDINGS_FAILPOINT"


def step(reached: str) -> None:
    """Call it when this step is reached."""
    for pair in os.environ.get(VARIABLE, "").split():
        name, _, flag = pair.partition("@")
        if name == reached:
            try:
                Path(flag).unlink()
            except FileNotFoundError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

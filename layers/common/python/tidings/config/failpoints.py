"""Named steps at which a process can be made to die, for the tests of what then happens.

`TIDINGS_FAILPOINT=delivery.after_send@/path/to/flag` kills the process that first reaches the step while the flag file
is there, as `kill -9` would: it takes the file away, so it happens once, however many processes there are. Several are
separated by spaces. Unset, which is always but in those tests, a step is a call of an empty function.
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
    """Nothing happens here."""


step: Callable[[str], None] = _armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _unarmed
"""Say that this step is reached."""

"""How a thread that works on something large lets the event loop run."""

import time


def give_way() -> None:
    """Let a waiting thread run. Call it in each step of a loop that releases the interpreter's lock now and then, as a
    socket, `urandom` and `sha256` do: such a thread takes the lock again before others wake, and because it released
    it, they do not ask for it either. An event loop then had no turn for 0.1 s. It takes 0.05 to 0.1 ms."""
    time.sleep(0)

"""Run one command and leave nothing of it behind. Used by `process.Guarded`, as a script of its own.

    python guard.py GRACE_SECONDS COMMAND...

stdout: one line, the command's process id. stdin: the lifeline, which nobody writes to. It closes when the owner closes
it or dies, by whatever signal; the command then gets SIGTERM, GRACE_SECONDS to end, and SIGKILL. When the command has
ended, for whatever reason, so has everything that it started, daemons included (RabbitMQ's epmd is one).
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(grace: float, command: list[str]) -> int:
    wakeup = _listen()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # a daemon's parent is then this process, which can find and end it
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        process_group=0,
        # If the guard itself is killed. Safe here: this process has one thread, which lives as long as the process.
        preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
    )
    # The lifeline may be cut before anybody reads the line.
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{child.pid}\n".encode())
    _wait(child, wakeup)
    _end(child, grace)
    _end_descendants(child.pid)
    return child.returncode


def _listen() -> int:
    """Make the ending of the child and requests to end readable: one byte a signal."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGCHLD, *END):
        signal.signal(number, lambda *_: None)
    return readable


def _wait(child: subprocess.Popen[bytes], wakeup: int) -> None:
    """Return when the child has ended or is to be ended."""
    lifeline = sys.stdin.fileno()
    while child.poll() is None:
        ready, _, _ = select.select([lifeline, wakeup], [], [])
        if lifeline in ready or any(number in END for number in os.read(wakeup, 64)):
            return
        _bury_adopted(child.pid)


def _bury_adopted(child: int) -> None:
    """Wait for dead processes but the child: RabbitMQ leaves two a minute, by looking after its epmd."""
    with contextlib.suppress(ChildProcessError):
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and dead.si_pid != child:
            os.waitpid(dead.si_pid, 0)


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    child.send_signal(signal.SIGCONT)  # a paused process cannot end
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _end_descendants(group: int) -> None:
    if sys.platform != "linux":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        return
    # A killed process hands its children on to us, so this works its way down until there are none.
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.01)


def _children() -> list[int]:
    """Processes whose parent is this one. They stay there, dead or alive, until waited for, so their ids are safe."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # A process may end while we look. The name, in brackets, may hold anything; the parent is two fields after it.
        with contextlib.suppress(OSError):
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))

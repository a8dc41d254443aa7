"""Run one command, and end it with all its descendants. A script, used by `process.SupervisedProcess`.

    python supervisor.py GRACE_SECONDS COMMAND...

stdout: one line, the command's process id. stdin: a pipe from the owner; it closes when the owner closes it or dies.
The command then gets SIGTERM, and SIGKILL after GRACE_SECONDS. When the command has ended, for whatever reason, all its
descendants are killed, daemons included (such as RabbitMQ's epmd).
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
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # a daemon then becomes a child of this process, which can find and end it
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        process_group=0,
        # In case the supervisor is killed. Safe, because this process has only one thread.
        preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
    )
    # The owner may have died already.
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{child.pid}\n".encode())
    _wait(child, wakeup)
    _end(child, grace)
    _end_descendants(child.pid)
    return child.returncode


def _listen() -> int:
    """A pipe that gets one byte per signal: the child's end, or a request to stop."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGCHLD, *END):
        signal.signal(number, lambda *_: None)
    return readable


def _wait(child: subprocess.Popen[bytes], wakeup: int) -> None:
    """Return when the child has ended or must be stopped."""
    owner = sys.stdin.fileno()
    while child.poll() is None:
        ready, _, _ = select.select([owner, wakeup], [], [])
        if owner in ready or any(number in END for number in os.read(wakeup, 64)):
            return
        _reap_orphans(child.pid)


def _reap_orphans(child: int) -> None:
    """Reap dead processes except the child: RabbitMQ's checks of epmd leave two per minute."""
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
    # The children of a killed process become ours: repeat until there are none.
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.01)


def _children() -> list[int]:
    """Our child processes. Their ids cannot be reused before they are reaped."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # A process may end meanwhile. The name in brackets may contain anything; the parent is the 2nd field after it.
        with contextlib.suppress(OSError):
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))

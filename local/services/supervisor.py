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
import sys
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

OWNER_LIVES, OWNER_READS = 0, 1  # descriptors


def main(grace: float, command: list[str]) -> int:
    if not any(os.access(Path(folder, command[0]), os.X_OK) for folder in os.get_exec_path()):
        print(f"{command[0]}: command not found", file=sys.stderr)
        return 127
    return supervise(lambda: os.execvp(command[0], command), grace)  # noqa: S606 - a shell is not wanted


def supervise(run: Callable[[], object], grace: float) -> int:
    """Run this in a child process. Return its exit code when it and its descendants have ended."""
    wakeup = _listen()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # a daemon then becomes a child of this process, which can find and end it
    # Before its exec, the child would handle a signal with our handler, and lose it.
    signal.pthread_sigmask(signal.SIG_BLOCK, END)
    child = os.fork()  # safe, because this process has only one thread
    if child == 0:
        _be_child(run)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, END)
    # The owner may have died already.
    with contextlib.suppress(BrokenPipeError):
        os.write(OWNER_READS, f"{child}\n".encode())
    _wait(child, wakeup)
    code = _end(child, grace)
    _end_descendants(child)
    return code


def _be_child(run: Callable[[], object]) -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # in case the supervisor is killed
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, *END):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, END)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.closerange(3, 65_536)  # the lock is the supervisor's alone
    try:
        run()
    finally:
        os._exit(1)


def _listen() -> int:
    """A pipe that gets one byte per signal: the child's end, or a request to stop."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGCHLD, *END):
        signal.signal(number, lambda *_: None)
    return readable


def _wait(child: int, wakeup: int) -> None:
    """Return when the child has ended or must be stopped."""
    while not _has_ended(child):
        ready, _, _ = select.select([OWNER_LIVES, wakeup], [], [])
        if OWNER_LIVES in ready or any(number in END for number in os.read(wakeup, 64)):
            return
        _reap_orphans(child)


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reap_orphans(child: int) -> None:
    """Reap dead processes except the child: RabbitMQ's checks of epmd leave two per minute."""
    with contextlib.suppress(ChildProcessError):
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and dead.si_pid != child:
            os.waitpid(dead.si_pid, 0)


def _end(child: int, grace: float) -> int:
    """End it if it runs, and return its exit code."""
    if not _has_ended(child):
        os.kill(child, signal.SIGTERM)
        os.kill(child, signal.SIGCONT)  # a paused process cannot end
        deadline = time.monotonic() + grace
        while not _has_ended(child) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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

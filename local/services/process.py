"""One process of a service: started under a guard, waited for by condition, and never left behind."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

GUARD = Path(__file__).with_name("supervisor.py")


class ServiceError(RuntimeError):
    """A service cannot be had. The message says why, and what would help."""


class Guarded:
    """A running command. It ends, with all that it started, by `stop`, by `kill`, or when this process dies."""

    def __init__(self, guard: subprocess.Popen[bytes], pid: int, grace: timedelta) -> None:
        self.pid = pid
        self._guard = guard
        self._grace = grace

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        lock: int,
        grace: timedelta,
        folder: Path | None = None,
    ) -> "Guarded":
        """Start the command in `folder` (this process's); its output goes to `log`. The guard holds the descriptor
        `lock` as long as it lives."""
        with log.open("wb") as output:
            guard = subprocess.Popen(
                # -I and -S: the guard needs nothing but the standard library, and starts in 30 ms that way.
                [sys.executable, "-I", "-S", str(GUARD), str(grace.total_seconds()), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=folder,
                env=dict(environment),
                pass_fds=[lock],
                start_new_session=True,  # Ctrl-C in a terminal is for the owner, who then stops its services in order
            )
        if guard.stdout is None:  # for the type checker: it is a pipe
            raise ServiceError("the guard has no output")
        try:
            with guard.stdout as told:
                line = told.readline()
            if not line:
                raise ServiceError(f"{command[0]} cannot be started:\n{tail(log)}")
        except BaseException:  # also an interrupt: nothing of it is left
            cls(guard, 0, grace).stop()
            raise
        return cls(guard, int(line), grace)

    @property
    def running(self) -> bool:
        return self._guard.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(self.pid, number)

    def pause(self) -> None:
        """SIGSTOP. Return when all of it stands still: after the signal its threads may run on for a moment."""
        self.signal(signal.SIGSTOP)
        while self.running and not _stands_still(self.pid):
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, as the kernel or a power cut would. Return when nothing of it is left."""
        self.signal(signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        """SIGTERM, the grace, SIGKILL. Return when nothing of it is left."""
        self._guard.terminate()
        self._ended()

    def _ended(self) -> None:
        try:
            self._guard.wait((self._grace + timedelta(seconds=10)).total_seconds())
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()


@contextlib.contextmanager
def locked(path: Path, within: timedelta) -> Iterator[int]:
    """Lock a file, and give its descriptor. A process that inherits the descriptor holds the lock after us."""
    with path.open("a") as file:
        deadline = time.monotonic() + within.total_seconds()
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServiceError(f"{path.parent} is in use by another process: stop that one first") from None
                time.sleep(0.1)
        yield file.fileno()


def wait_until(ready: Callable[[], bool], process: Guarded, *, name: str, within: timedelta, log: Path) -> None:
    """Return when `ready` says so. Raise ServiceError, with the end of the log, if the process ends or time is up."""
    deadline = time.monotonic() + within.total_seconds()
    while not ready():
        if not process.running:
            raise ServiceError(f"{name} ended while it was starting:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise ServiceError(f"{name} was not ready after {within.total_seconds():.0f} s:\n{tail(log)}")
        time.sleep(0.05)


def _stands_still(pid: int) -> bool:
    """Whether no thread of the process runs. Where there is no /proc nobody can tell, and it is taken for granted."""
    with contextlib.suppress(OSError):  # a thread has ended while we look
        threads = [stat.read_text(errors="replace") for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        return all(thread.rpartition(")")[2].split()[0] in "TZX" for thread in threads)  # the last two: it is dead
    return False


def tail(log: Path, lines: int = 20) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return f"(no log at {log})"

"""A process under a supervisor that ends it, with its descendants, when its owner ends."""

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
from typing import Protocol

SUPERVISOR = Path(__file__).with_name("supervisor.py")


class ServiceError(RuntimeError):
    """A service is not available. The message says why and names a remedy."""


class Supervisor(Protocol):
    """A process that runs supervisor.py. It is used as a `subprocess.Popen`."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


class _Supervisor(subprocess.Popen[bytes]):
    def close(self) -> None:
        """Close the pipe by which it knows that its owner lives."""
        if self.stdin is not None:
            self.stdin.close()


class SupervisedProcess:
    """A running command. It ends, with its descendants, by `stop`, by `kill`, or when this process dies."""

    def __init__(self, supervisor: Supervisor, pid: int, grace: timedelta) -> None:
        self.pid = pid
        self._supervisor = supervisor
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
    ) -> "SupervisedProcess":
        """Start the command in `folder` (default: this process's); its output goes to `log`. The supervisor holds the
        descriptor `lock` while it runs."""
        with log.open("wb") as output:
            supervisor = _Supervisor(
                # -I and -S: the supervisor needs only the standard library, and starts in 30 ms this way.
                [sys.executable, "-I", "-S", str(SUPERVISOR), str(grace.total_seconds()), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=folder,
                env=dict(environment),
                pass_fds=[lock],
                start_new_session=True,  # Ctrl-C reaches the owner only, which then stops its services in order
            )
        if supervisor.stdout is None:  # for the type checker: it is a pipe
            raise ServiceError("the supervisor has no output")
        try:
            with supervisor.stdout as output:
                line = output.readline()
            if not line:
                raise ServiceError(f"{command[0]} cannot be started:\n{tail(log)}")
        except BaseException:  # also an interrupt: leave no process behind
            cls(supervisor, 0, grace).stop()
            raise
        return cls(supervisor, int(line), grace)

    @property
    def running(self) -> bool:
        return self._supervisor.poll() is None

    def wait(self, within: timedelta) -> int:
        """Wait for its end by itself, and return its exit code."""
        return self._supervisor.wait(within.total_seconds())

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def pause(self) -> None:
        """SIGSTOP. Return when all threads have stopped; they may run on for a moment after the signal."""
        self.signal(signal.SIGSTOP)
        while self.running and not _is_stopped(self.pid):
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, like the kernel or a power cut. Return when all its processes have ended."""
        self.signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after the grace. Return when all its processes have ended."""
        self._supervisor.terminate()
        self._wait()

    def _wait(self) -> None:
        try:
            self._supervisor.wait((self._grace + timedelta(seconds=10)).total_seconds())
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait(self._grace.total_seconds())
        self._supervisor.close()


@contextlib.contextmanager
def locked(path: Path, within: timedelta) -> Iterator[int]:
    """Lock a file and yield its descriptor. A process that inherits the descriptor holds the lock after us."""
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


def wait_until(
    ready: Callable[[], bool], process: SupervisedProcess, *, name: str, within: timedelta, log: Path
) -> None:
    """Return when `ready` is true. Raise ServiceError, with the end of the log, if the process ends or time is up."""
    deadline = time.monotonic() + within.total_seconds()
    while not ready():
        if not process.running:
            raise ServiceError(f"{name} ended while it was starting:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise ServiceError(f"{name} was not ready after {within.total_seconds():.0f} s:\n{tail(log)}")
        time.sleep(0.05)


def _is_stopped(pid: int) -> bool:
    """Whether no thread of the process runs; assumed if there is no /proc."""
    with contextlib.suppress(OSError):  # a thread ended meanwhile
        threads = [stat.read_text(errors="replace") for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        return all(thread.rpartition(")")[2].split()[0] in "TZX" for thread in threads)  # stopped, zombie, dead
    return False


def tail(log: Path, lines: int = 20) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return f"(no log at {log})"

"""Python processes forked from one that has imported what they import: a function then starts with a tenth of the
processor time. Whether processes start as people start them is told by tests/local/test_up.py and tests/functions."""

import atexit
import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from local.services import supervisor
from local.services.process import SupervisedProcess
from tests import certificates

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "layers" / "common" / "python"
OURS = ("tidings", "functions", "local")


def _imported() -> list[str]:
    """All modules of the package but those that are started, which run as `__main__`."""
    files = [file.relative_to(PACKAGE) for file in sorted((PACKAGE / "tidings").rglob("*.py"))]
    started = [file for file in files if '__name__ == "__main__"' in (PACKAGE / file).read_text(encoding="utf-8")]
    ours = [".".join(file.with_suffix("").parts) for file in files if file not in started and file.stem != "__init__"]
    servers = ["functions_framework._http.gunicorn", "gunicorn.workers.gthread", "local.emulators.server"]
    return [*ours, *servers, "email_validator", "tests.forks", "tests.command"]


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(_imported())

_server: Any = multiprocessing.forkserver._forkserver
"""The fork server of this process. multiprocessing has no public way to share it with the forks."""

_lock = threading.Lock()
"""multiprocessing's list of child processes is not made for threads."""


class Fork:
    """A forked process that runs this function. It is used as a `subprocess.Popen`."""

    def __init__(self, run: Callable[..., object], *arguments: object) -> None:
        _server.ensure_running()
        self._process = _FORKS.Process(target=_begin, args=(_server._forkserver_address, run, *arguments))
        with _lock:
            self._process.start()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with _lock:
            return self._process.exitcode

    def wait(self, timeout: float = 120.0) -> int:
        """Seconds. Raise subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.005)
        return code

    @property
    def pid(self) -> int:
        return int(self._process.pid or 0)

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _begin(address: str, run: Callable[..., object], *arguments: object) -> None:
    """In the new process, whose own processes are forked from the same server."""
    _server._forkserver_address, _server.ensure_running = address, lambda: None
    run(*arguments)


class _Supervisor(Fork):
    def __init__(self, run: Callable[..., object], *arguments: object, owner: int) -> None:
        super().__init__(run, *arguments)
        self._owner: int | None = owner

    def close(self) -> None:
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None


def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    lock: int,
    grace: timedelta,
    folder: Path | None = None,
) -> SupervisedProcess:
    """As `SupervisedProcess.start`, for `python -m MODULE` in this repository, or in a copy of it."""
    python, option, *module = command
    if (python, option) != (sys.executable, "-m") or folder is None:
        raise ValueError(f"only `python -m MODULE` in a tree can be forked, not {command} in {folder}")
    owner_reads, owner_writes = os.pipe()
    pid_reads, pid_writes = os.pipe()
    with open(log, "wb") as output, open(pid_reads, encoding="ascii") as pid:
        theirs = [Connection(os.dup(end)) for end in (owner_reads, pid_writes, output.fileno(), lock)]
        os.close(owner_reads)
        os.close(pid_writes)
        process = _Supervisor(
            _supervise, module, _completed(environment), folder, grace.total_seconds(), *theirs, owner=owner_writes
        )
        for end in theirs:
            end.close()
        return SupervisedProcess(process, int(pid.readline()), grace)


def popen(
    module: Sequence[str], *, environment: Mapping[str, str], log: Path, folder: Path = ROOT, is_code: bool = False
) -> Fork:
    """As `subprocess.Popen` of `python -m MODULE` in this repository, with its output in a file. `is_code`: of
    `python -c CODE`."""
    with open(log, "wb") as output, Connection(os.dup(output.fileno())) as theirs:
        return Fork(_logged, module, _completed(environment), folder, theirs, is_code)


def ended(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path = ROOT, within: float = 120.0
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run` of `python -m MODULE` or `python -c CODE` in this repository. `within`: seconds."""
    with tempfile.TemporaryDirectory() as made:
        files = [Path(made, name) for name in ("out", "err")]
        process = Fork(_written, command[1:], _completed(environment), folder, files)
        try:
            code = process.wait(within)
        finally:
            process.kill()
        out, err = (file.read_text(encoding="utf-8") for file in files)
        return subprocess.CompletedProcess(command, code, out, err)


def _written(words: Sequence[str], environment: Mapping[str, str], folder: Path, files: Sequence[Path]) -> None:
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY), number)
    option, *rest = words
    run(rest, environment, folder, is_code=option == "-c")


def _completed(environment: Mapping[str, str]) -> dict[str, str]:
    """With one certificate: these processes call servers on this machine only."""
    return {certificates.VARIABLE: certificates.only_one(), **environment}


def _logged(
    module: Sequence[str], environment: Mapping[str, str], folder: Path, log: Connection, is_code: bool
) -> None:
    for number in (1, 2):
        os.dup2(log.fileno(), number)
    log.close()
    run(module, environment, folder, is_code=is_code)


def _supervise(
    module: Sequence[str], environment: Mapping[str, str], folder: Path, grace: float, *ends: Connection
) -> None:
    """Of the ends, the fourth is the lock, which is held until this process ends."""
    os.setsid()
    for number, end in enumerate(ends[:3]):
        os.dup2(end.fileno(), number)
        end.close()
    sys.exit(supervisor.supervise(lambda: run(module, environment, folder), grace))


def _import_from(tree: Path) -> None:
    """Take our modules, and only ours, from this copy of the repository."""
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    sys.path[:0] = [str(tree / PACKAGE.relative_to(ROOT)), str(tree)]


def run(module: Sequence[str], environment: Mapping[str, str], folder: Path, *, is_code: bool = False) -> None:
    """Run a module or code in this process as a new interpreter would, and end the process. `module`: the words after
    `python -m`, or after `python -c` if it `is_code`."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if folder != ROOT:
        _import_from(folder)
    sys.argv = list(module)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1) for number in (1, 2))  # noqa: SIM115 - the process's own
    try:
        if is_code:
            exec(module[0], {"__name__": "__main__"})
        else:
            runpy.run_module(module[0], run_name="__main__", alter_sys=True)
        code: object = 0
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as at the end of every interpreter
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))

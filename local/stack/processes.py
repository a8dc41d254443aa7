"""The stack's processes, started and stopped in groups."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Protocol

from local.services.process import ServiceError, SupervisedProcess, tail
from local.stack import no_proxy

START_WITHIN = timedelta(seconds=120)  # 2 s on an idle machine
RUN_WITHIN = timedelta(hours=1)  # the migration of a large database
STOP_WITHIN = timedelta(seconds=40)  # longer than a function's drain


class Start(Protocol):
    """`SupervisedProcess.start`, or what starts a command in another way."""

    def __call__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        lock: int,
        grace: timedelta,
        folder: Path | None = None,
    ) -> SupervisedProcess: ...


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """How to start a process: `python -m` with these arguments. Ready when `health` answers 200; None: at once."""

    command: list[str]
    health: str | None = None


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The running processes, by name."""

    environment: Mapping[str, str]
    folder: Path  # working directory
    logs: Path
    lock: int  # a descriptor that their supervisors hold
    start: Start = SupervisedProcess.start
    running: dict[str, SupervisedProcess] = field(default_factory=dict)
    specs: dict[str, ProcessSpec] = field(default_factory=dict)

    @contextlib.contextmanager
    def group(self, specs: Mapping[str, ProcessSpec]) -> Iterator[None]:
        """Run these for the block. They are ready after `wait_until_ready`."""
        over = threading.Event()

        def start(name: str, spec: ProcessSpec) -> None:
            self._start(name, spec)
            if over.is_set():  # a signal came while the executor made this thread, so nobody waits for it
                self.running[name].stop()

        try:
            # In threads, because a signal interrupts the main thread only: no process is started but not recorded.
            with ThreadPoolExecutor(len(specs)) as threads:
                list(threads.map(start, specs, specs.values()))
            yield
        finally:
            over.set()
            ours = [self.running[name] for name in specs if name in self.running]
            with ThreadPoolExecutor(len(specs)) as threads:
                list(threads.map(SupervisedProcess.stop, ours))

    def run(self, name: str, command: list[str]) -> None:
        """Run it to its end. Raise ServiceError if it fails."""
        with self.group({name: ProcessSpec(command=command)}):
            code = self.running[name].wait(RUN_WITHIN)
        del self.running[name], self.specs[name]
        if code != 0:
            raise ServiceError(f"{name} failed:\n{tail(self.log(name))}")

    def wait_until_ready(self) -> None:
        """Wait for all. Raise ServiceError if one does not start."""
        self._wait_until_ready(self.specs)

    def ended(self) -> str | None:
        """The name of a process that ended unexpectedly, or None."""
        running = list(self.running.items())  # a copy: other threads may be starting more
        return next((name for name, process in running if not process.running), None)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def restart(self, name: str, **more: str) -> None:
        """Stop it if it runs, start it with a new log, and wait until it is ready. `more`: environment variables for
        this start. Raise ServiceError."""
        self.running[name].stop()  # also stops the supervisor of a process that has ended
        spec = self.specs[name]
        self._start(name, spec, more)
        self._wait_until_ready({name: spec})

    def add(self, name: str, spec: ProcessSpec) -> None:
        """Start one more process, until `remove`. Raise ServiceError."""
        self._start(name, spec)
        self._wait_until_ready({name: spec})

    def remove(self, name: str) -> None:
        """Stop it and forget it."""
        self.running[name].stop()
        del self.running[name], self.specs[name]

    def _start(self, name: str, spec: ProcessSpec, more: Mapping[str, str] | None = None) -> None:
        self.specs[name] = spec
        self.running[name] = self.start(
            [sys.executable, "-m", *spec.command],
            environment={**self.environment, **(more or {})},
            log=self.log(name),
            lock=self.lock,
            grace=STOP_WITHIN,
            folder=self.folder,
        )

    def _wait_until_ready(self, specs: Mapping[str, ProcessSpec]) -> None:
        deadline = time.monotonic() + START_WITHIN.total_seconds()
        waiting = {name: spec.health for name, spec in specs.items() if spec.health is not None}
        while waiting:
            if (ended := self.ended()) is not None:
                raise ServiceError(f"{ended} ended while the stack was starting:\n{tail(self.log(ended))}")
            waiting = {name: url for name, url in waiting.items() if not _answers(url)}
            if waiting and time.monotonic() > deadline:
                late = next(iter(waiting))
                raise ServiceError(f"{late} was not ready in time:\n{tail(self.log(late))}")
            time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with no_proxy.open_url(url, timeout=5) as answer:
            return answer.status == 200
    except (OSError, HTTPException):  # not running, or stopping
        return False

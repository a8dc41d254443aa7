"""The stack's processes: a group of them is started at once, waited for, and stopped at once."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path

from local.services.process import Guarded, ServiceError, tail
from local.stack import direct

START_WITHIN = timedelta(seconds=120)  # two, unless the machine is busy
STOP_WITHIN = timedelta(seconds=40)  # longer than a function's drain


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process: `python -m` these words. It is ready when `health` answers 200; None: once it runs."""

    command: list[str]
    health: str | None = None


@dataclass(frozen=True, kw_only=True)
class Processes:
    """What runs, by name."""

    environment: Mapping[str, str]
    folder: Path  # where they run
    logs: Path
    lock: int  # a descriptor that their guards hold
    running: dict[str, Guarded] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)  # how each was started

    @contextlib.contextmanager
    def group(self, parts: Mapping[str, Part]) -> Iterator[None]:
        """These run for the length of the block. They are ready after `wait_until_ready`."""
        try:
            # In threads, also because a signal interrupts this one only: none is lost between start and entry.
            with ThreadPoolExecutor(len(parts)) as threads:
                list(threads.map(self._start, parts, parts.values()))
            yield
        finally:
            ours = [self.running[name] for name in parts if name in self.running]
            with ThreadPoolExecutor(len(parts)) as threads:
                list(threads.map(Guarded.stop, ours))

    def wait_until_ready(self) -> None:
        """All that run. Raise ServiceError if one does not start."""
        self._wait_until_ready(self.parts)

    def ended(self) -> str | None:
        """The name of one that ended by itself, or None."""
        running = list(self.running.items())  # at once: other threads may be starting more
        return next((name for name, process in running if not process.running), None)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def again(self, name: str, **more: str) -> None:
        """Start one that has ended, or end it first, with a new log, and wait until it is ready. `more`: variables of
        its environment, for this start. Raise ServiceError."""
        self.running[name].stop()  # of one that ended by itself, its guard is left
        part = self.parts[name]
        self._start(name, part, more)
        self._wait_until_ready({name: part})

    def add(self, name: str, part: Part) -> None:
        """One more, beside the groups, until `remove`. Raise ServiceError."""
        self._start(name, part)
        self._wait_until_ready({name: part})

    def remove(self, name: str) -> None:
        """Stop it. It will not be missed."""
        self.running[name].stop()
        del self.running[name], self.parts[name]

    def _start(self, name: str, part: Part, more: Mapping[str, str] | None = None) -> None:
        self.parts[name] = part
        self.running[name] = Guarded.start(
            [sys.executable, "-m", *part.command],
            environment={**self.environment, **(more or {})},
            log=self.log(name),
            lock=self.lock,
            grace=STOP_WITHIN,
            folder=self.folder,
        )

    def _wait_until_ready(self, parts: Mapping[str, Part]) -> None:
        deadline = time.monotonic() + START_WITHIN.total_seconds()
        waiting = {name: part.health for name, part in parts.items() if part.health is not None}
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
        with direct.ask(url, timeout=5) as answer:
            return answer.status == 200
    except (OSError, HTTPException):  # not there, or just ending
        return False

"""A private server instance: start, stop, and the faults that tests need."""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Self

from local.services.access import Access, load_or_create
from local.services.process import ServiceError, SupervisedProcess, locked, wait_until


class Service(ABC):
    """One server in its own folder, on ports of 127.0.0.1. Its data, password and ports are kept.

    It can be started again after `stop`, `kill` or a crash. As a context manager it runs for the block.
    """

    name: ClassVar[str]
    port_names: ClassVar[Iterable[str]] = ("main",)
    start_within: ClassVar[timedelta] = timedelta(seconds=90)
    stop_within: ClassVar[timedelta] = timedelta(seconds=30)

    def __init__(self, state: Path, port: int | None = None, *, beside: Self | None = None) -> None:
        """`state`: its own folder, created if missing. `port`: the main one; None: the last one, or any free one.
        `beside`: an instance that was started before, whose password this one shares."""
        self.state = state.absolute()
        self._fixed = {} if port is None else {"main": port}
        self._beside = beside
        self._access: Access | None = None
        self._process: SupervisedProcess | None = None

    def start(self) -> Self:
        """Return when the server accepts requests. Raise ServiceError, with the end of its log, if it does not."""
        if self._process is not None and self._process.running:
            return self
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A previous instance whose owner has just died may still be stopping.
        with locked(self.state / "lock", within=self.stop_within) as lock:
            # Tests keep the URL, so the ports must not change on a restart.
            if self._access is None:
                password = self._beside._reached_by.password if self._beside is not None else None
                self._access = load_or_create(
                    self.state / "access.json", self.port_names, self._fixed, password=password
                )
            self._prepare()
            self._process = SupervisedProcess.start(
                self._command(), environment=self._environment(), log=self.log, lock=lock, grace=self.stop_within
            )
        try:
            wait_until(self._is_ready, self._process, name=self.name, within=self.start_within, log=self.log)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Stop it gracefully, else kill it. Return when all its processes have ended."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """SIGKILL: data that were not on disk are lost. Return when all its processes have ended."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, as if the machine hangs."""
        self._running().pause()

    def resume(self) -> None:
        self._running().signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def port(self) -> int:
        return self._reached_by.ports["main"]

    @property
    def log(self) -> Path:
        return self.state / "server.log"

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    @abstractmethod
    def version(self) -> str: ...

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _reached_by(self) -> Access:
        if self._access is None:
            raise ServiceError(f"{self.name} was never started")
        return self._access

    def _running(self) -> SupervisedProcess:
        if self._process is None or not self._process.running:
            raise ServiceError(f"{self.name} is not running")
        return self._process

    @abstractmethod
    def _prepare(self) -> None:
        """Write the server's files; called before each start, with the folder locked."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _environment(self) -> dict[str, str]: ...

    @abstractmethod
    def _is_ready(self) -> bool: ...

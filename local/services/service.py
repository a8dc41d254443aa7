"""The life of a private instance: start, stop, and the faults that tests want of it."""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Self

from local.services.access import Access, remembered
from local.services.process import Guarded, ServiceError, locked, wait_until


class Service(ABC):
    """One server in its own folder, on ports of 127.0.0.1. Its data, password and ports outlive it.

    It may be started again after any ending. As a context manager it runs for the length of the block.
    """

    name: ClassVar[str]
    port_names: ClassVar[Iterable[str]] = ("main",)
    start_within: ClassVar[timedelta] = timedelta(seconds=90)
    stop_within: ClassVar[timedelta] = timedelta(seconds=30)

    def __init__(self, state: Path, port: int | None = None, *, beside: Self | None = None) -> None:
        """`state`: a folder of its own, made if missing. `port`: the main one; None: last time's, or any free one.
        `beside`: one that was started before, whose data this one shares, and therefore its password."""
        self.state = state.absolute()
        self._fixed = {} if port is None else {"main": port}
        self._beside = beside
        self._access: Access | None = None
        self._process: Guarded | None = None

    def start(self) -> Self:
        """Return when the server takes requests. Raise ServiceError, with the end of its log, if it does not."""
        if self._process is not None and self._process.running:
            return self
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        # An instance that lost its owner a moment ago may still be ending.
        with locked(self.state / "lock", within=self.stop_within) as lock:
            # Tests hold on to the URL, so the ports stay over a restart.
            if self._access is None:
                password = self._beside._reached_by.password if self._beside is not None else None
                self._access = remembered(self.state / "access.json", self.port_names, self._fixed, password=password)
            self._prepare()
            self._process = Guarded.start(
                self._command(), environment=self._environment(), log=self.log, lock=lock, grace=self.stop_within
            )
        try:
            wait_until(self._is_ready, self._process, name=self.name, within=self.start_within, log=self.log)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Ask it to end, wait, and make sure: nothing of it runs afterwards."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """SIGKILL: what was not on disk is lost. Nothing of it runs afterwards."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, as when a machine hangs."""
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

    def _running(self) -> Guarded:
        if self._process is None or not self._process.running:
            raise ServiceError(f"{self.name} is not running")
        return self._process

    @abstractmethod
    def _prepare(self) -> None:
        """Write the files that the server needs; called before each start, under the lock of the folder."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _environment(self) -> dict[str, str]: ...

    @abstractmethod
    def _is_ready(self) -> bool: ...

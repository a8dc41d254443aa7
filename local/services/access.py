"""The password and the ports of a private instance, kept in its state folder."""

import contextlib
import fcntl
import json
import os
import random
import secrets
import socket
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

USER = "tidings"


@dataclass(frozen=True, kw_only=True)
class Access:
    password: str
    ports: dict[str, int]


def load_or_create(path: Path, ports: Iterable[str], fixed: dict[str, int], *, password: str | None = None) -> Access:
    """Read the access stored at `path`, or create it with this password or a random one, and store it.

    `fixed` ports are taken as they are. The others are the stored ones if they are still free, else new ones.
    """
    known = Access(password=password or secrets.token_hex(16), ports={})
    with contextlib.suppress(FileNotFoundError):
        known = Access(**json.loads(path.read_text()))
    chosen = dict(fixed)
    for port in ports:
        last = known.ports.get(port)
        if port not in chosen:
            usable = last is not None and last not in chosen.values() and is_free(last)
            chosen[port] = last if usable and last is not None else free_port()
    access = Access(password=known.password, ports=chosen)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(access), file)
    return access


def free_port() -> int:
    """A free port of 127.0.0.1, reserved for this process until it ends, so that a server may start there later.

    It is below 32768, so that the kernel does not use it for an outgoing connection while our server is down.
    """
    while not (_reservations().add(port := random.randrange(20_000, 32_768)) and is_free(port)):  # noqa: S311 - no secret
        pass
    return port


class _Reservations:
    """Ports reserved by processes of this user. A reservation ends with its process."""

    def __init__(self) -> None:
        # Never written to: a record lock on the byte at the port's offset is its reservation.
        path = Path(tempfile.gettempdir()) / f"tidings-ports-{os.getuid()}"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._ours: set[int] = set()  # a process does not conflict with its own locks
        self._lock = threading.Lock()

    def add(self, port: int) -> bool:
        """Reserve the port. False: it is reserved already."""
        with self._lock:
            if port in self._ours:
                return False
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            except (BlockingIOError, PermissionError):  # POSIX allows either
                return False
            self._ours.add(port)
            return True


@cache
def _reservations() -> _Reservations:
    return _Reservations()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def accepts(port: int) -> bool:
    """Whether a server accepts connections at this port of 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False

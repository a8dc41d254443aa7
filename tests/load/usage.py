"""CPU and memory of processes and their descendants, from /proc."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.load.figures import Figure

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpu:
    """CPU seconds by part: each process of Tidings, `MariaDB` and `RabbitMQ`."""

    seconds: Mapping[str, float]

    def since(self, before: "Cpu") -> "Cpu":
        """Of those that ran all the while."""
        return Cpu({name: now - before.seconds[name] for name, now in self.seconds.items() if name in before.seconds})

    def of(self, *names: str) -> float:
        return sum(self.seconds.get(name, 0.0) for name in names)

    @property
    def services(self) -> float:
        """All of Tidings' own processes."""
        return sum(self.seconds.values()) - self.of("MariaDB", "RabbitMQ")

    def per_thousand(self, count: int, what: str, services: float, called: str) -> list[Figure]:
        """Figures: CPU seconds per 1,000 of these."""
        parts = {called: services, "MariaDB": self.of("MariaDB"), "RabbitMQ": self.of("RabbitMQ")}
        return [
            Figure(what=f"{what}: CPU of {name} per 1,000", value=1000 * seconds / max(count, 1), unit="s")
            for name, seconds in parts.items()
        ]


def cpu_seconds(pid: int) -> float:
    """User and system time of this process, of those that run below it, and of those below it that have ended."""
    ticks = 0
    for one in _tree(pid):
        with contextlib.suppress(OSError):  # it has just ended
            # The name in brackets may contain anything. After it, fields 12 to 15 are utime to cstime of proc(5).
            after = Path(f"/proc/{one}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            ticks += sum(map(int, after[11:15]))
    return ticks / TICKS


def megabytes(pid: int, line: str = "VmRSS") -> float:
    """Resident memory, of this process and those below it, in MiB. `VmHWM`: the most that each ever had."""
    return sum(megabytes_of_each(pid, line))


def megabytes_of_each(pid: int, line: str = "VmRSS") -> list[float]:
    """The same, of each process."""
    found = []
    for one in _tree(pid):
        with contextlib.suppress(OSError):
            for told in Path(f"/proc/{one}/status").read_text(encoding="utf-8", errors="replace").splitlines():
                name, _, value = told.partition(":")
                found += [int(value.split()[0]) / 1024] if name == line else []
    return found


def refused_at_the_door() -> int:
    """Connection attempts that the kernel has dropped since it started, because the backlog was full. The client's
    kernel retries after 1, 3, 7 and 15 s."""
    names, values = (line.split() for line in Path("/proc/net/netstat").read_text(encoding="ascii").splitlines()[:2])
    return int(values[names.index("ListenOverflows")])


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text(encoding="ascii").split():
                yield from _tree(int(child))

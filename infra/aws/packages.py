"""The packages of a zip: which ones, and where they come from."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Protocol

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

GLIBC = (17, 24, 26, 27, 28, 31, 34)
"""Wheels for glibc 2.17 and later; Amazon Linux 2023, on which Lambda's Python 3.12 runs, has 2.34."""


class BuildError(Exception):
    """One line that says what to do."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the zip will run."""

    python: str  # 3.12
    machine: str  # x86_64, aarch64

    @property
    def markers(self) -> dict[str, str]:
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "platform_machine": self.machine,
            "sys_platform": "linux",
            "platform_system": "Linux",
            "os_name": "posix",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }


def needed(requirements: Iterable[str], target: Target) -> dict[str, Distribution]:
    """These and whatever they need there, by name. What is installed here tells. Raise BuildError."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    open_ones = [Requirement(text) for text in requirements]
    while open_ones:
        requirement = open_ones.pop()
        name, extras = str(canonicalize_name(requirement.name)), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            raise BuildError(f"{name} is needed on Python {target.python}, and not installed here") from None
        open_ones += _of(found[name], extras, target)
    return found


def _of(package: Distribution, extras: frozenset[str], target: Target) -> Iterator[Requirement]:
    for text in package.requires or ():
        requirement = Requirement(text)
        cases = [{**target.markers, "extra": extra} for extra in ("", *extras)]
        if requirement.marker is None or any(requirement.marker.evaluate(case) for case in cases):
            yield requirement


class Source(Protocol):
    """Where packages come from."""

    def put(self, packages: dict[str, Distribution], folder: Path) -> None:
        """As they are to be found on sys.path. Raise BuildError."""


@dataclass(frozen=True)
class Installed:
    """Those of this environment: for this machine and this Python."""

    def put(self, packages: dict[str, Distribution], folder: Path) -> None:
        for package in packages.values():
            for file in package.files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    to = folder / file
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(str(file.locate()), to)


@dataclass(frozen=True)
class Locked:
    """Those of the lock file, for the target, by pip: wheels alone, each by its hash."""

    lock: Path
    target: Target

    def put(self, packages: dict[str, Distribution], folder: Path) -> None:
        if not packages:
            return
        platforms = [f"manylinux_2_{minor}_{self.target.machine}" for minor in GLIBC]
        platforms.append(f"manylinux2014_{self.target.machine}")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as chosen:
            chosen.write("".join(locked(self.lock.read_text(), packages)))
            chosen.flush()
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--require-hashes", "--only-binary=:all:", "--no-compile", "--target", str(folder)]
            command += [word for platform in platforms for word in ("--platform", platform)]
            command += ["--implementation", "cp", "--python-version", self.target.python, "--requirement", chosen.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"pip: {done.stderr.strip()[-2000:]}")
        shutil.rmtree(folder / "bin", ignore_errors=True)


def locked(lock: str, packages: Iterable[str]) -> Iterator[str]:
    """The lock file's entries of these, with their hashes. Raise BuildError if it has none of one."""
    entries = {
        str(canonicalize_name(entry[1])): entry[0]
        for entry in re.finditer(r"^([A-Za-z0-9._-]+)==.*(?:\n .*)*\n", lock, re.MULTILINE)
    }
    for name in sorted(packages):
        if name not in entries:
            raise BuildError(f"{name} is not in the lock file")
        yield entries[name]

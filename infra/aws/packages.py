"""Install the packages of a zip."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Protocol

GLIBC = (17, 24, 26, 27, 28, 31, 34)
"""Wheels for glibc 2.17 and later; Amazon Linux 2023, on which Lambda's Python 3.12 runs, has 2.34."""


class BuildError(Exception):
    """The build failed. The message is one line with a remedy."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The Python and the machine of the zip."""

    python: str  # 3.12
    machine: str  # x86_64, aarch64


class Source(Protocol):
    """A source of packages."""

    def put(self, packages: Mapping[str, str], folder: Path) -> None:
        """Install these entries of the lock file, by name, into the folder. Raise BuildError."""


@dataclass(frozen=True)
class Installed:
    """Copies the packages of this environment: for this machine and this Python."""

    def put(self, packages: Mapping[str, str], folder: Path) -> None:
        for name, entry in packages.items():
            try:
                package = distribution(name)
            except PackageNotFoundError:
                if " ; " in entry:  # for another system or another Python
                    continue
                raise BuildError(f"{name} is not installed here: run local/setup") from None
            for file in package.files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    to = folder / file
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(str(file.locate()), to)


@dataclass(frozen=True)
class Locked:
    """Installs wheels for the target with pip, checked by hash."""

    target: Target

    def put(self, packages: Mapping[str, str], folder: Path) -> None:
        if not packages:
            return
        platforms = [f"manylinux_2_{minor}_{self.target.machine}" for minor in GLIBC]
        platforms.append(f"manylinux2014_{self.target.machine}")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as chosen:
            chosen.write("".join(packages.values()))
            chosen.flush()
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--require-hashes", "--only-binary=:all:", "--no-compile", "--target", str(folder)]
            command += [word for platform in platforms for word in ("--platform", platform)]
            command += ["--implementation", "cp", "--python-version", self.target.python, "--requirement", chosen.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"pip: {done.stderr.strip()[-2000:]}")
        shutil.rmtree(folder / "bin", ignore_errors=True)

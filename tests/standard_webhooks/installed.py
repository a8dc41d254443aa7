"""The library `standardwebhooks` of npm, in the one Node that newman's tests install, as it is locked here."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.newman.installed import NotInstalled, newman

HERE = Path(__file__).parent
LOCKS = [HERE / name for name in ("package.json", "package-lock.json")]
PROGRAM = "verify.js"


def verified_by_npm(cases: Sequence[Mapping[str, Any]], folder: Path = Path(sys.prefix) / "standard_webhooks") -> Any:
    """The library's verdict on each case (`secret`, `headers`, `body` in base64), from one process. Without npm, the
    test is skipped with the reason, and fails in CI."""
    try:
        node = newman()[0]
        _install(Path(node), folder)
    except NotInstalled as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    command = [node, str(folder / PROGRAM)]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _install(node: Path, folder: Path) -> None:
    """Once; again when a lock changes."""
    folder.mkdir(exist_ok=True)
    wanted, stamp = hashlib.sha256(b"".join(lock.read_bytes() for lock in LOCKS)).hexdigest(), folder / "installed"
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)  # tests run in several processes
        (folder / PROGRAM).write_bytes((HERE / PROGRAM).read_bytes())
        if stamp.exists() and stamp.read_text() == wanted:
            return
        for lock in LOCKS:
            (folder / lock.name).write_bytes(lock.read_bytes())
        npm = node.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
        command = [str(node), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise NotInstalled(
                f"`npm ci` failed: {' '.join(said[-3:])[:500]}. registry.npmjs.org must be reachable once."
            )
        stamp.write_text(wanted)
    finally:
        os.close(opened)

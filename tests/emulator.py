"""The emulated providers as a real process, for any suite that needs them."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from local.emulators.client import Emulator
from tests import forks

DEADLINE = 60.0  # seconds to start, and to stop; a second, unless the machine is busy


@dataclass(frozen=True, kw_only=True)
class Running:
    smtp_url: str  # smtp://127.0.0.1:PORT
    http_url: str  # http://127.0.0.1:PORT
    service_account: Path
    client: Emulator
    process: forks.Fork

    @property
    def smtp_port(self) -> int:
        return int(self.smtp_url.rpartition(":")[2])

    @property
    def http_port(self) -> int:
        return int(self.http_url.rpartition(":")[2])

    def account(self) -> dict[str, Any]:
        return dict(json.loads(self.service_account.read_text(encoding="utf-8")))


@contextmanager
def emulator(tmp_path: Path, *options: str) -> Iterator[Running]:
    """Start it on free ports with these further options; stop it at the end, and fail if it does not stop cleanly."""
    output, service_account = tmp_path / "emulator.out", tmp_path / "service-account.json"
    command = ["local.emulators", "--smtp-port", "0", "--http-port", "0", "--service-account", str(service_account)]
    process = forks.popen([*command, *options], environment=os.environ, log=output)
    try:
        smtp_url, http_url = _ready(process, output)
        yield Running(
            smtp_url=smtp_url,
            http_url=http_url,
            service_account=service_account,
            client=Emulator(url=http_url),
            process=process,
        )
    finally:
        process.terminate()
        try:
            code = process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert code == 0, f"the emulator ended with {code}:\n{output.read_text()}"


def _ready(process: forks.Fork, output: Path) -> tuple[str, str]:
    """The two URLs it prints, once it answers."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        first, newline, _ = output.read_text().partition("\n")
        if newline and first.startswith("smtp://"):
            smtp_url, http_url = first.split()
            try:
                with urlopen(f"{http_url}/healthz", timeout=DEADLINE):
                    return smtp_url, http_url
            except OSError:
                pass
        time.sleep(0.02)
    raise AssertionError(f"the emulator did not start:\n{output.read_text()}")

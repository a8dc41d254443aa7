"""RabbitMQ and MySQL of local/compose.yaml, if a Docker engine is running."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from local.services.access import USER, Access, load_or_create
from local.services.process import ServiceError

COMPOSE = Path(__file__).parent.parent / "compose.yaml"
SERVICES = ("rabbitmq", "mysql")


def engine_answers() -> bool:
    """Whether a Docker engine answers and Compose is installed; many machines have only the client."""
    if shutil.which("docker") is None:
        return False
    try:
        return all(
            subprocess.run(
                ["docker", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False
            ).returncode
            == 0
            for arguments in (["info"], ["compose", "version"])
        )
    except (subprocess.TimeoutExpired, OSError):
        return False


class Compose:
    """RabbitMQ and MySQL in containers, on free ports of 127.0.0.1. Their volumes are kept."""

    def __init__(self, state: Path) -> None:
        self.state = state.absolute()
        self._access: Access | None = None

    @property
    def database_url(self) -> str:
        return f"mysql+pymysql://{USER}:{self._reached_by.password}@127.0.0.1:{self._reached_by.ports['mysql']}/tidings"

    @property
    def database_admin_url(self) -> str:
        """For a user who may create databases, as tests need."""
        return f"mysql+pymysql://root:{self._reached_by.password}@127.0.0.1:{self._reached_by.ports['mysql']}/tidings"

    @property
    def management_url(self) -> str:
        return f"http://{USER}:{self._reached_by.password}@127.0.0.1:{self._reached_by.ports['management']}"

    @property
    def broker_url(self) -> str:
        return f"amqp://{USER}:{self._reached_by.password}@127.0.0.1:{self._reached_by.ports['rabbitmq']}/"

    def start(self, services: Sequence[str] = SERVICES) -> None:
        """Return when they are healthy. The first start takes minutes, because it pulls images."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._access = load_or_create(self.state / "access.json", ("mysql", "rabbitmq", "management"), {})
        print("Starting RabbitMQ and MySQL with Docker Compose ...", flush=True)
        done = self._compose("up", "--detach", "--wait", *services)
        if done.returncode:
            self.stop()
            raise ServiceError(f"docker compose up failed:\n{done.stdout[-2000:]}")

    def stop(self) -> None:
        self._compose("down")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _reached_by(self) -> Access:
        if self._access is None:
            raise ServiceError("Docker Compose was never started")
        return self._access

    def _compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # One project per state folder, so that it does not affect another one or a plain `docker compose up`.
        project = "tidings-" + hashlib.sha256(str(self.state).encode()).hexdigest()[:8]
        ports = {f"TIDINGS_LOCAL_{name.upper()}_PORT": str(port) for name, port in self._reached_by.ports.items()}
        return subprocess.run(
            ["docker", "compose", "--project-name", project, "--file", str(COMPOSE), *arguments],
            env={**os.environ, **ports, "TIDINGS_LOCAL_PASSWORD": self._reached_by.password},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )

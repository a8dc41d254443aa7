"""The peer in `express`, a usual implementation on the same servers, for comparison."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from local.services.access import free_port
from local.services.database import connection
from tests.load.generator import Generator
from tests.load.world import World

FOLDER = Path(__file__).parent / "express"
WORKERS = 2
DATABASE = "express_peer"


class Missing(Exception):
    """The peer cannot run here; the text says why."""


@contextlib.contextmanager
def express(world: World) -> Iterator[Generator]:
    """One API process and two workers, with a load generator. Raise Missing without Node.js or its packages."""
    _install()
    server = urlsplit(world.mariadb.url)
    with connection(world.mariadb.url) as connected, connected.cursor() as cursor:
        cursor.execute(f"CREATE OR REPLACE DATABASE {DATABASE}")
    port = free_port()
    environment = {
        **os.environ,
        "NODE_ENV": "production",
        "DATABASE_URL": server._replace(scheme="mysql", path=f"/{DATABASE}").geturl(),
        "AMQP_URL": world.rabbitmq.url,
        "SMTP_URL": f"smtp://127.0.0.1:{world.sink.port}",
        "PORT": str(port),
    }
    with contextlib.ExitStack() as stack:
        for role in ("api", *["worker"] * WORKERS):
            stack.enter_context(_process(role, environment))
        yield stack.enter_context(Generator(port=port, key="none"))


@contextlib.contextmanager
def _process(role: str, environment: Mapping[str, str]) -> Iterator[None]:
    with subprocess.Popen(["node", "peer.js", role], cwd=FOLDER, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != b"ready":
                raise Missing(f"the peer's {role} did not start; its error is above")
            yield
        finally:
            process.terminate()


def _install() -> None:
    if (FOLDER / "node_modules").is_dir():
        return
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--omit=dev"]
    try:
        subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Missing("Node.js 20 and npm are not installed") from None
    except subprocess.CalledProcessError as error:
        raise Missing(f"npm could not install its packages: {error.stderr.strip().splitlines()[-1:]}") from None

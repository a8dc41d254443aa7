"""What suites share: a real MariaDB and a real RabbitMQ, started when the first test asks for one.

`TIDINGS_TEST_DATABASE_URL` and `TIDINGS_TEST_BROKER_URL` name running servers instead. Each test gets a database or a
virtual host of its own there, which is gone afterwards. Virtual hosts are made by the broker's management API, at port
15672 or where `TIDINGS_TEST_MANAGEMENT_URL` says. What hurts a server starts its own, whatever is given.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from local.services import docker, packages
from local.services.broker import BrokerServer, ManagedBroker
from local.services.database import DatabaseServer, GivenDatabase
from local.services.mariadb import MariaDB
from local.services.mariadb import program_version as mariadb_version
from local.services.process import ServiceError
from local.services.rabbitmq import RabbitMQ
from local.services.rabbitmq import program_version as rabbitmq_version

DATABASE = "TIDINGS_TEST_DATABASE_URL"
BROKER = "TIDINGS_TEST_BROKER_URL"
MANAGEMENT = "TIDINGS_TEST_MANAGEMENT_URL"


def pytest_configure() -> None:
    """What a test asks runs on this machine: whatever the environment says of a proxy, none is asked. And no example of
    Hypothesis's is measured: on a busy machine any takes long now and then."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    hypothesis.settings.register_profile(
        "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders whose tests start whole stacks go first: of several workers none is left with the longest at the end."""
    stacks = ("faults", "scenarios", "local", "browser")

    def rank(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return stacks.index(folder) if folder in stacks else len(stacks)

    items.sort(key=rank)


def pytest_report_header() -> list[str]:
    missing = packages.missing()

    def described(variable: str, package: str, version: str) -> str:
        if os.environ.get(variable):
            return f"given by {variable}"
        return f"{package}, to be installed" if package in missing else f"{version}, private, started on demand"

    known_mariadb = "" if "mariadb-server" in missing else mariadb_version()
    known_rabbitmq = "" if "rabbitmq-server" in missing else rabbitmq_version()
    return [
        f"database: {described(DATABASE, 'mariadb-server', known_mariadb)}",
        f"broker: {described(BROKER, 'rabbitmq-server', known_rabbitmq)}",
        "containers: no engine is asked; tests/local/engine.py runs the Dockerfile's steps",
    ]


@pytest.fixture(scope="session")
def private_servers() -> None:
    """The packages of both servers, installed if they are missing; skips, saying why, where only Docker can serve."""
    for package in ("mariadb-server", "rabbitmq-server"):
        if not _installed(package):
            pytest.skip(f"{package} cannot be installed here; a Docker engine serves instead")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseServer]:
    """The session's database server. A test that wants to hurt one starts its own `MariaDB`."""
    if url := os.environ.get(DATABASE):
        yield GivenDatabase(url)
        return
    with _short_folder() as folder:
        if not _installed("mariadb-server"):
            with _composed(folder, "mysql") as compose:
                yield GivenDatabase(compose.database_admin_url)
            return
        server = MariaDB(folder)
        try:
            yield server.start()
        finally:
            server.kill()  # its data go with it, so there is nothing to end in order


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[BrokerServer]:
    """The session's broker. A test that wants to hurt one starts its own `RabbitMQ`."""
    if url := os.environ.get(BROKER):
        yield ManagedBroker.given(url, os.environ.get(MANAGEMENT))
        return
    with _short_folder() as folder:
        if not _installed("rabbitmq-server"):
            with _composed(folder, "rabbitmq") as compose:
                yield ManagedBroker(compose.broker_url, compose.management_url)
            return
        server = RabbitMQ(folder)
        try:
            yield server.start()
        finally:
            server.kill()


@pytest.fixture
def mariadb_url(mariadb: DatabaseServer) -> Iterator[str]:
    """The URL of a fresh, empty database."""
    name = f"tidings_test_{secrets.token_hex(6)}"
    yield mariadb.create_database(name)
    mariadb.drop_database(name)


@pytest.fixture
def rabbitmq_url(rabbitmq: BrokerServer) -> Iterator[str]:
    """The URL of a fresh, empty virtual host."""
    name = f"test-{secrets.token_hex(6)}"
    yield rabbitmq.create_vhost(name)
    rabbitmq.delete_vhost(name)


def _installed(package: str) -> bool:
    """Have the package, from apt where we may. False where it cannot be had and a Docker engine answers."""
    if package not in packages.missing():
        return True
    try:
        packages.install([package])
    except ServiceError:
        if docker.engine_answers():
            return False
        raise
    return True


@contextlib.contextmanager
def _composed(folder: Path, service: str) -> Iterator[docker.Compose]:
    compose = docker.Compose(folder / "docker")
    compose.start([service])
    try:
        yield compose
    finally:
        compose.stop()


@contextlib.contextmanager
def _short_folder() -> Iterator[Path]:
    """Not pytest's own, which lies too deep, and is kept."""
    folder = Path(tempfile.mkdtemp(prefix="tidings-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Shared fixtures: a real MariaDB and a real RabbitMQ, one of each for the whole run (tests/servers.py).

`TIDINGS_TEST_DATABASE_URL` and `TIDINGS_TEST_BROKER_URL` name running servers to use instead. Each test gets its own
database or virtual host there, which is deleted afterwards. Virtual hosts are created by the broker's management API,
at port 15672 or at `TIDINGS_TEST_MANAGEMENT_URL`. A test that crashes a server always starts its own.
"""

import gc
import os
import secrets
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from local.services import packages
from local.services.broker import BrokerServer, ManagedBroker
from local.services.database import DatabaseServer, GivenDatabase
from local.services.mariadb import program_version as mariadb_version
from local.services.rabbitmq import program_version as rabbitmq_version
from tests.servers import BROKER, DATABASE, OwnServers, Servers, ServersOverSocket, SharedServers, installed

STUDY = "a study: local/test --all"
SERVERS = pytest.StashKey[Servers]()
SOCKET = pytest.StashKey[ServersOverSocket]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all", action="store_true", help="also run the studies (marked nightly), with all their examples"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Ignore proxies of the environment: all servers run on this machine. And no deadline for Hypothesis's examples: on
    a busy machine any may take long."""
    given = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[SERVERS] = SharedServers(given["servers"])
    else:
        own = config.stash[SERVERS] = OwnServers()
        config.add_cleanup(own.end)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    hypothesis.settings.register_profile(
        "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("unhurried")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist the socket for the servers."""
    config, servers = node.config, node.config.stash[SERVERS]
    if SOCKET not in config.stash:
        config.stash[SOCKET] = over_socket = ServersOverSocket(servers)
        config.add_cleanup(over_socket.end)
    node.workerinput["servers"] = config.stash[SOCKET].path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from tests import spread  # imports pytest-xdist, which a run without workers does not need

    return spread.scheduler(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Collection makes thousands of objects and no garbage: looking for it would take a third of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """The objects of collection stay to the end, so the garbage collector need not look at them again and again."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip studies without --all, and report them. Folders whose tests start whole stacks go first, so that no worker
    is left with the longest at the end."""
    if not config.getoption("--all"):
        for item in items:
            if item.get_closest_marker("nightly") is not None:
                item.add_marker(pytest.mark.skip(reason=STUDY))
    stacks = ("browser", "faults", "scenarios", "local")

    def rank(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return stacks.index(folder) if folder in stacks else len(stacks)

    items.sort(key=rank)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if left := sum(STUDY in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(f"{left} studies were left to local/test --all")


def pytest_report_header(config: pytest.Config) -> list[str]:
    missing = packages.missing()

    def described(variable: str, package: str, version: str) -> str:
        if os.environ.get(variable):
            return f"given by {variable}"
        return (
            f"{package}, to be installed"
            if package in missing
            else f"{version}, private, one for all workers, started on demand"
        )

    known_mariadb = "" if "mariadb-server" in missing else mariadb_version()
    known_rabbitmq = "" if "rabbitmq-server" in missing else rabbitmq_version()
    return [
        f"database: {described(DATABASE, 'mariadb-server', known_mariadb)}",
        f"broker: {described(BROKER, 'rabbitmq-server', known_rabbitmq)}",
        "studies: run, with all their examples"
        if config.getoption("--all")
        else "studies: left to local/test --all, and fewer examples of random input",
        "containers: no engine is asked; tests/local/engine.py runs the Dockerfile's steps",
    ]


@pytest.fixture(scope="session")
def nightly(pytestconfig: pytest.Config) -> bool:
    """Whether studies run, and random input has all of its examples."""
    return bool(pytestconfig.getoption("--all"))


@pytest.fixture(scope="session")
def private_servers() -> None:
    """Install the packages of both servers if they are missing; skip, with the reason, if only Docker is available."""
    for package in ("mariadb-server", "rabbitmq-server"):
        if not installed(package):
            pytest.skip(f"{package} cannot be installed here; a Docker engine serves instead")


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    return pytestconfig.stash[SERVERS]


@pytest.fixture(scope="session")
def mariadb(servers: Servers) -> DatabaseServer:
    """The run's database server. A test that crashes it starts its own `MariaDB`."""
    return GivenDatabase(*servers.database())


@pytest.fixture(scope="session")
def rabbitmq(servers: Servers) -> BrokerServer:
    """The run's broker. A test that crashes it starts its own `RabbitMQ`."""
    return ManagedBroker.given(*servers.broker())


@pytest.fixture(scope="session")
def sqlite_not_kept() -> Iterator[None]:
    """In this process: a commit does not wait for the disk, for no SQLite file of a test outlives its machine."""
    from tidings.adapters.sql import database  # which a run without a database does not need

    prepare = database._prepare_sqlite

    def prepared(connection: Any, record: object) -> None:
        prepare(connection, record)
        connection.execute("PRAGMA synchronous=OFF").close()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database, "_prepare_sqlite", prepared)
        yield


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

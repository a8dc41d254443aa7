"""Every adapter, behind the same fixture: one suite holds them all to the same promises."""

import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tidings.adapters.embedded import EmbeddedBroker
from tidings.adapters.rabbitmq.broker import BrokerSettings, RabbitBroker
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.store import SqlStore
from tidings.ports import Broker

from local.services.database import DatabaseServer
from tests.clock import TestClock
from tests.migrated import empty, migrated

PATIENCE = 60.0  # seconds for a broker's answer; it is far quicker, unless the machine is busy


@pytest.fixture(autouse=True, scope="session")
def quick_commits(sqlite_not_kept: None) -> None:
    """On SQLite, in all tests of this folder."""


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture(scope="module")
def on_mariadb(mariadb: DatabaseServer) -> Iterator[DatabaseSettings]:
    name = f"contracts_{secrets.token_hex(6)}"
    yield migrated(mariadb.create_database(name))
    mariadb.drop_database(name)


@pytest.fixture(params=["sqlite", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DatabaseSettings]:
    """An empty database with the schema that the migrations make."""
    if request.param == "sqlite":
        yield migrated(f"sqlite:///{tmp_path}/tidings.db")
        return
    settings: DatabaseSettings = request.getfixturevalue("on_mariadb")
    yield settings
    empty(settings.database_url)


@pytest.fixture
def store(database: DatabaseSettings, clock: TestClock) -> Iterator[SqlStore]:
    store = SqlStore(Database(database, clock=clock))
    yield store
    store.close()


def rabbit(url: str) -> RabbitBroker:
    return RabbitBroker(BrokerSettings(broker_url=url, broker_timeout=PATIENCE))


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    if request.param == "embedded":
        settings = migrated(f"sqlite:///{tmp_path}/broker.db")
        broker: Broker = EmbeddedBroker(Database(settings), visibility=timedelta(seconds=2))
    else:
        broker = rabbit(request.getfixturevalue("rabbitmq_url"))
    broker.declare()
    yield broker
    broker.close()

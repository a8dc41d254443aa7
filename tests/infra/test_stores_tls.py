"""The example's URLs, unchanged, with a real RabbitMQ and MariaDB that have certificates of their own CA: these are
verified, and those of another CA are refused."""

import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy.exc import OperationalError
from tidings.adapters.rabbitmq.broker import BrokerSettings, RabbitBroker
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.domain.errors import BrokerUnavailable
from tidings.messaging import topology
from tidings.ports import Outgoing

from local.emulators.certificate import self_signed
from local.services.mariadb import MariaDB
from tests.infra.manifests import settings_file
from tests.infra.test_manifests import EXAMPLE
from tests.servers import Servers

AUTHORITY = "/etc/tidings/authority/ca.crt"
STORES = settings_file(EXAMPLE / "secrets/stores.env")

pytestmark = pytest.mark.usefixtures("private_servers")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Which is its own authority, and its key."""
    return self_signed(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("other"))[0]


def led_to(name: str, server: str, port: int, authority: Path) -> str:
    """The example's URL of this setting, with the server's user, password and place, and this authority's file."""
    example, real = urlsplit(STORES[name]), urlsplit(server)
    place = f"{real.username}:{real.password}@127.0.0.1:{port}"
    return example._replace(netloc=place).geturl().replace(AUTHORITY, str(authority))


def test_the_broker_is_verified_by_tls(servers: Servers, other: Path) -> None:
    server, port, certificate = servers.broker_with_tls()
    url = led_to("TIDINGS_BROKER_URL", server, int(port), Path(certificate))
    with closing(RabbitBroker(BrokerSettings(broker_url=url))) as broker:
        broker.declare()
        broker.publish([Outgoing(to=topology.parking(), raw=b"by TLS", headers={})])
        with closing(broker.consume([topology.PARKING])) as consumer:
            (message,) = consumer.receive(1, timedelta(seconds=10))
            assert message.body == b"by TLS"
            consumer.acknowledge([message])
    distrusted = led_to("TIDINGS_BROKER_URL", server, int(port), other)
    with closing(RabbitBroker(BrokerSettings(broker_url=distrusted))) as broker, pytest.raises(BrokerUnavailable):
        broker.declare()


@pytest.fixture(scope="module")
def mariadb_tls(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[str]:
    options = [f"--ssl-cert={certificate[0]}", f"--ssl-key={certificate[1]}"]
    server = MariaDB(tmp_path_factory.mktemp("mariadb"), options=options)
    try:
        yield server.start().url
    finally:
        server.kill()


def test_the_database_is_verified_by_tls(mariadb_tls: str, certificate: tuple[Path, Path], other: Path) -> None:
    port = urlsplit(mariadb_tls).port
    assert port is not None
    url = led_to("TIDINGS_DATABASE_URL", mariadb_tls, port, certificate[0])
    with closing(Database(DatabaseSettings(database_url=url))) as database, database.engine.connect() as connection:
        ((_, cipher),) = connection.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'")
        assert cipher
    distrusted = led_to("TIDINGS_DATABASE_URL", mariadb_tls, port, other)
    refused = pytest.raises(OperationalError, match="certificate verify failed")
    with closing(Database(DatabaseSettings(database_url=distrusted))) as database, refused:
        database.engine.connect()


def test_a_database_that_offers_tls_is_reached_by_it_without_the_certificates_of_the_system(
    mariadb_tls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is verified then, and reading them takes 50 ms of CPU for each connection."""
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: pytest.fail("the certificates were read"))
    with closing(Database(DatabaseSettings(database_url=mariadb_tls))) as database, database.engine.connect() as one:
        ((_, cipher),) = one.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'")
        assert cipher

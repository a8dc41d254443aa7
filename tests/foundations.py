"""A stack's options on each of the two foundations: SQLite alone, or RabbitMQ and MariaDB; and on these with the
functions on Lambda."""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from local.services.broker import BrokerServer
from local.services.database import DatabaseServer
from local.stack.stack import Options
from tests import forks

FOUNDATIONS = ("embedded", "services")
LAMBDA = "lambda"

ONE_BY_DAY = (FOUNDATIONS[0], pytest.param(FOUNDATIONS[1], marks=pytest.mark.nightly))
"""For pages and commands, which know nothing of the foundation but what the API says of it."""

SERVICES_BY_DAY = (pytest.param(FOUNDATIONS[0], marks=pytest.mark.nightly), FOUNDATIONS[1])
"""For what the real services carry, as a trace's context over RabbitMQ."""

on_embedded = pytest.mark.parametrize("world", [FOUNDATIONS[0]], indirect=True)
"""For tests that do not depend on the foundation."""


@contextlib.contextmanager
def founded(
    request: pytest.FixtureRequest, foundation: str, *, environment: Mapping[str, str] | None = None
) -> Iterator[Options]:
    """With its own folder, database and virtual host, which are deleted afterwards."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="tidings-"))  # not pytest's own, which lies too deep for a socket's path
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if foundation == "embedded":
            yield Options(state=folder, first_port=0, environment=environment or {}, start=forks.start)
            return
        rabbitmq: BrokerServer = request.getfixturevalue("rabbitmq")
        mariadb: DatabaseServer = request.getfixturevalue("mariadb")
        name = f"stack_{secrets.token_hex(6)}"
        broker_url, database_url = rabbitmq.create_vhost(name), mariadb.create_database(name)
        stack.callback(rabbitmq.delete_vhost, name)
        stack.callback(mariadb.drop_database, name)
        yield Options(
            state=folder,
            first_port=0,
            use_services=True,
            on_lambda=foundation == LAMBDA,
            database_url=database_url,
            broker_url=broker_url,
            environment=environment or {},
            start=forks.start,
        )

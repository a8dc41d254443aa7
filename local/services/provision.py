"""Provide RabbitMQ and MySQL or MariaDB: given ones, in Docker, or as private instances."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local.services import docker, packages
from local.services.mariadb import MariaDB
from local.services.rabbitmq import RabbitMQ


@dataclass(frozen=True, kw_only=True)
class Services:
    database_url: str
    broker_url: str
    described: str  # one line: what they run on


@contextlib.contextmanager
def services(state: Path, database_url: str | None = None, broker_url: str | None = None) -> Iterator[Services]:
    """Provide both for the block. Given URLs are used as they are.

    Without a URL: Docker Compose if an engine answers, else private instances from this machine's packages, which are
    installed if we may. What was started is stopped at the end; its data stay in `state`, or in Docker's volumes. Raise
    ServiceError with a remedy if none works.
    """
    with contextlib.ExitStack() as stack:
        if database_url is not None and broker_url is not None:
            yield Services(database_url=database_url, broker_url=broker_url, described="the given URLs")
        elif docker.engine_answers():
            yield _composed(stack, state, database_url, broker_url)
        else:
            yield _private(stack, state, database_url, broker_url)


def _composed(stack: contextlib.ExitStack, state: Path, database_url: str | None, broker_url: str | None) -> Services:
    wanted = [name for name, given in (("rabbitmq", broker_url), ("mysql", database_url)) if given is None]
    compose = docker.Compose(state / "docker")
    compose.start(wanted)
    stack.callback(compose.stop)
    return Services(
        database_url=database_url if database_url is not None else compose.database_url,
        broker_url=broker_url if broker_url is not None else compose.broker_url,
        described=f"{_list(['RabbitMQ' if name == 'rabbitmq' else 'MySQL' for name in wanted])} in Docker",
    )


def _private(stack: contextlib.ExitStack, state: Path, database_url: str | None, broker_url: str | None) -> Services:
    needed = {"mariadb-server": database_url, "rabbitmq-server": broker_url}
    packages.install([name for name in packages.missing() if needed[name] is None])
    started: list[str] = []
    if broker_url is None:
        rabbitmq = stack.enter_context(RabbitMQ(state / "rabbitmq"))
        broker_url = rabbitmq.url
        started.append(rabbitmq.version)
    if database_url is None:
        mariadb = stack.enter_context(MariaDB(state / "mariadb"))
        database_url = mariadb.url
        started.append(mariadb.version)
    return Services(
        database_url=database_url, broker_url=broker_url, described=f"{_list(started)}, private, in {state}"
    )


def _list(names: list[str]) -> str:
    return " and ".join(names)

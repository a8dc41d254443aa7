"""A whole stack, as real processes, on each of the two foundations. Started once a module."""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.providers.client import Emulator
from local.services.broker import BrokerServer
from local.services.database import DatabaseServer
from local.stack.stack import Options, Stack, running
from tests.scenarios.caller import Caller
from tests.scenarios.queues import EmbeddedQueues, Queues, RabbitQueues


@dataclass(frozen=True, kw_only=True)
class World:
    stack: Stack
    caller: Caller
    emulator: Emulator
    queues: Queues


@pytest.fixture(scope="module", params=["embedded", "services"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        # Not pytest's own folder, which lies too deep for a socket's path.
        folder = Path(tempfile.mkdtemp(prefix="tidings-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if request.param == "embedded":
            options = Options(state=folder, first_port=0)
            queues: Queues = EmbeddedQueues(folder / "tidings.db")
        else:
            rabbitmq: BrokerServer = request.getfixturevalue("rabbitmq")
            mariadb: DatabaseServer = request.getfixturevalue("mariadb")
            name = f"scenario_{secrets.token_hex(6)}"
            broker_url, database_url = rabbitmq.create_vhost(name), mariadb.create_database(name)
            stack.callback(rabbitmq.delete_vhost, name)
            stack.callback(mariadb.drop_database, name)
            options = Options(
                state=folder, first_port=0, use_services=True, database_url=database_url, broker_url=broker_url
            )
            tap = RabbitQueues(url=broker_url)
            stack.enter_context(tap.tapped())
            queues = tap
        running_stack = stack.enter_context(running(options))
        yield World(
            stack=running_stack,
            caller=Caller(url=running_stack.url, ops_url=running_stack.ops_url, key=running_stack.secrets.api_key),
            emulator=Emulator(url=running_stack.inbox_url),
            queues=queues,
        )

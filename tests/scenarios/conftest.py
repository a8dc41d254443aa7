"""A whole stack, as real processes, on each of the two foundations. Started once a module."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from local.emulators.client import Emulator
from local.stack.stack import Stack, running
from tests.foundations import FOUNDATIONS, founded
from tests.scenarios.caller import Caller
from tests.scenarios.queues import EmbeddedQueues, Queues, RabbitQueues


@dataclass(frozen=True, kw_only=True)
class World:
    stack: Stack
    caller: Caller
    emulator: Emulator
    queues: Queues


@pytest.fixture(scope="module", params=FOUNDATIONS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with started(request, request.param) as world:
        yield world


@contextlib.contextmanager
def started(request: pytest.FixtureRequest, foundation: str) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        options = stack.enter_context(founded(request, foundation))
        queues: Queues = EmbeddedQueues(options.state / "tidings.db")
        if options.broker_url is not None:
            tap = RabbitQueues(url=options.broker_url)
            stack.enter_context(tap.tapped())
            queues = tap
        up = stack.enter_context(running(options))
        yield World(
            stack=up,
            caller=Caller(url=up.url, ops_url=up.ops_url, key=up.secrets.api_key),
            emulator=Emulator(url=up.inbox_url),
            queues=queues,
        )

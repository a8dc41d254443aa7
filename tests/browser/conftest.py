"""A whole stack on each of the two foundations, and a fresh tab a test, which is looked through at the end."""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from tidings.keys import Scope, new_key

from local.providers.client import Emulator
from local.services.broker import BrokerServer
from local.services.database import DatabaseServer
from local.stack.stack import Options, Stack, running
from local.stack.state import TENANT, State
from tests.browser.chromium import Browser, NoBrowser, browsing, chromium, host, programs
from tests.scenarios.caller import Caller


@dataclass(frozen=True, kw_only=True)
class World:
    stack: Stack
    caller: Caller
    emulator: Emulator
    key: str  # of the operator: all scopes
    narrow_key: str  # operate alone
    sender_key: str  # send alone


@pytest.fixture(scope="session", params=["embedded", "services"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="tidings-"))  # not pytest's own, which lies too deep for a socket's path
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        state = State(folder)
        state.prepare()
        narrow, kept_narrow = new_key(TENANT, [Scope.OPERATE])
        sender, kept_sender = new_key(TENANT, [Scope.SEND])
        keys = f"{state.secrets().api_key_hash} {kept_narrow} {kept_sender}"
        environment = {"TIDINGS_API_KEYS": keys}
        if request.param == "embedded":
            options = Options(state=folder, first_port=0, environment=environment)
        else:
            rabbitmq: BrokerServer = request.getfixturevalue("rabbitmq")
            mariadb: DatabaseServer = request.getfixturevalue("mariadb")
            name = f"browser_{secrets.token_hex(6)}"
            broker_url, database_url = rabbitmq.create_vhost(name), mariadb.create_database(name)
            stack.callback(rabbitmq.delete_vhost, name)
            stack.callback(mariadb.drop_database, name)
            options = Options(
                state=folder,
                first_port=0,
                use_services=True,
                database_url=database_url,
                broker_url=broker_url,
                environment=environment,
            )
        up = stack.enter_context(running(options))
        caller = Caller(url=up.url, ops_url=up.ops_url, key=up.secrets.api_key)
        emulator = Emulator(url=up.inbox_url)
        yield World(stack=up, caller=caller, emulator=emulator, key=caller.key, narrow_key=narrow, sender_key=sender)


on_embedded = pytest.mark.parametrize("world", ["embedded"], indirect=True)
"""For what the foundation cannot change."""


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    try:
        programs()
    except NoBrowser as missing:
        pytest.skip(str(missing))
    with chromium() as browser:
        yield browser


@pytest.fixture
def window(world: World, chrome: Chrome) -> Iterator[Browser]:
    """A tab at nothing yet. At the end: its log is clean, it asked this stack alone, and no address held a key."""
    with browsing(chrome, world.stack.ops_url) as browser:
        yield browser
        assert browser.complaints() == []
        browser.asked()
        asked = [url for url in browser.addresses if not url.startswith(("data:", "about:", "chrome:"))]
        assert {host(url) for url in asked} == {host(browser.base)}
        keys = (world.key, world.narrow_key, world.sender_key)
        addresses = [*asked, browser.driver.current_url]
        assert not [url for url in addresses if any(key in url for key in keys)]
    world.emulator.forgive()


@pytest.fixture
def console(world: World, window: Browser) -> Browser:
    """The same, signed in with all scopes."""
    window.open()
    window.sign_in(world.key)
    window.see("Overview", "Live.")
    return window

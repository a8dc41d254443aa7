"""A whole stack on each foundation, and a tab as if new per test, whose logs are checked at the end."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from selenium.webdriver import Chrome
from tidings.api.api_keys import Scope, new_key

from local.emulators.client import Emulator
from local.stack.stack import Stack, running
from local.stack.state import TENANT, State
from tests.browser.chromium import Browser, browsing, chrome_or_skip, host
from tests.foundations import ONE_BY_DAY, founded
from tests.scenarios.caller import Caller


@dataclass(frozen=True, kw_only=True)
class World:
    stack: Stack
    caller: Caller
    emulator: Emulator
    key: str  # all scopes
    narrow_key: str  # operate alone
    sender_key: str  # send alone


@pytest.fixture(scope="session", params=ONE_BY_DAY)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with founded(request, request.param) as options:
        state = State(options.state)
        state.prepare()
        narrow, kept_narrow = new_key(TENANT, [Scope.OPERATE])
        sender, kept_sender = new_key(TENANT, [Scope.SEND])
        keys = f"{state.secrets().api_key_hash} {kept_narrow} {kept_sender}"
        with running(replace(options, environment={"TIDINGS_API_KEYS": keys})) as up:
            caller = Caller(url=up.url, ops_url=up.ops_url, key=up.secrets.api_key)
            emulator = Emulator(url=up.inbox_url)
            yield World(
                stack=up, caller=caller, emulator=emulator, key=caller.key, narrow_key=narrow, sender_key=sender
            )


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    with chrome_or_skip() as browser:
        yield browser


@contextlib.contextmanager
def watched(world: World, chrome: Chrome, *, key: str | None = None, page: str = "") -> Iterator[Browser]:
    """The tab, as `browsing` gives it. At the end: its log is clean, it reached this stack only, and no URL held a
    key."""
    with browsing(chrome, world.stack.ops_url, key=key, page=page) as browser:
        yield browser
        assert browser.complaints() == []
        browser.asked()
        asked = [
            url for url in browser.addresses if url.startswith(("http:", "https:", "ws"))
        ]  # without the URLs of a new tab
        assert {host(url) for url in asked} == {host(browser.base)}
        keys = (world.key, world.narrow_key, world.sender_key)
        addresses = [*asked, browser.driver.current_url]
        assert not [url for url in addresses if any(key in url for key in keys)]
    world.emulator.forgive()


@pytest.fixture
def window(world: World, chrome: Chrome) -> Iterator[Browser]:
    """At the form for signing in."""
    with watched(world, chrome) as browser:
        yield browser


OVERVIEW = ("#/", "Live.")
QUIET = ("#/test", "Sends a real notification")
"""A page that loads nothing. The overview is the largest of all."""


@pytest.fixture
def first_page() -> tuple[str, str]:
    """The page that `console` is at, and what it says once it is loaded. Files about other pages have a quiet one."""
    return OVERVIEW


@pytest.fixture
def console(world: World, chrome: Chrome, first_page: tuple[str, str]) -> Iterator[Browser]:
    """Signed in with all scopes. Whether the form works is for tests of the form."""
    page, text = first_page
    with watched(world, chrome, key=world.key, page=page) as browser:
        browser.see(text)
        yield browser

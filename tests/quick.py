"""Plugin for `local/test --quick`: skips a test that needs a server, or when it is about to start a process."""

import sys
from collections.abc import Iterator

import pytest

STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})
"""Of https://docs.python.org/3/library/audit_events.html"""

SERVERS = frozenset({"mariadb", "rabbitmq"})
"""Fixtures of the run's servers, which another process than the test's starts."""


class Quick:
    """Active during tests only; between them, pytest may start processes."""

    def __init__(self) -> None:
        self.in_test = False

    def audit(self, event: str, _arguments: object) -> None:
        if self.in_test and event in STARTS:
            pytest.skip("starts a process")

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if SERVERS & set(getattr(item, "fixturenames", ())):
            pytest.skip("needs a server")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        self.in_test = True
        try:
            return (yield)
        finally:
            self.in_test = False


def pytest_configure(config: pytest.Config) -> None:
    quick = Quick()
    sys.addaudithook(quick.audit)
    config.pluginmanager.register(quick)

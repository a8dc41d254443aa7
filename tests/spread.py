"""How pytest-xdist spreads tests over workers: tests that share a started stack stay together."""

import re
from typing import Any

from xdist.scheduler import LoadScopeScheduling

FOUNDATIONS = ("embedded", "services", "lambda", "sqlite", "mariadb", "rabbitmq")
"""Words in a test's id that name its foundation. Tests of one file and foundation share a stack."""

TOGETHER = ("tests/browser/",)
"""Folders whose files share one stack per foundation, and one browser."""

APART = ("tests/local/test_up.py",)
"""Files in which each test starts its own stack."""


def scope_of(test: str) -> str:
    """The scope of a test id. One worker runs all tests of a scope."""
    path, _, name = test.partition("::")
    if path in APART:
        return test
    words = set(re.split(r"[\[\]-]", name))
    foundation = next((word for word in FOUNDATIONS if word in words), "")
    return f"{next((folder for folder in TOGETHER if path.startswith(folder)), path)} {foundation}"


class Spread(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Each worker takes the next scope when it has nearly finished its last."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scheduler(config: Any, log: Any) -> Spread:
    config.option.loadscopereorder = False  # the longest go first, as tests/conftest.py sorts them
    return Spread(config, log)

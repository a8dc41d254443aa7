"""How pytest-xdist spreads the tests over its workers: what shares a started stack stays together, the rest spreads."""

import re
from typing import Any

from xdist.scheduler import LoadScopeScheduling

FOUNDATIONS = ("embedded", "services", "lambda", "sqlite", "mariadb", "rabbitmq")
"""The words by which a test's id says what it runs on. Each foundation's tests of a file share what they start."""

TOGETHER = ("tests/browser/",)
"""Folders whose files share one stack a foundation, and one browser."""

APART = ("tests/local/test_up.py",)
"""Files whose tests share nothing: each starts a stack of its own."""


def scope_of(test: str) -> str:
    """What this test, named as pytest names it, shares with others. One worker runs all of a scope."""
    path, _, name = test.partition("::")
    if path in APART:
        return test
    words = set(re.split(r"[\[\]-]", name))
    foundation = next((word for word in FOUNDATIONS if word in words), "")
    return f"{next((folder for folder in TOGETHER if path.startswith(folder)), path)} {foundation}"


class Spread(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Each worker takes the next scope when it has nearly done its last."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scheduler(config: Any, log: Any) -> Spread:
    config.option.loadscopereorder = False  # the longest go first, as tests/conftest.py sorts them
    return Spread(config, log)

"""How every function starts: check its settings, configure its logs, build its parts."""

import sys
from collections.abc import Callable
from typing import TypeVar

from tidings.config.settings import load
from tidings.domain.errors import ConfigurationError
from tidings.observability import logging as tidings_logging

T = TypeVar("T")


def start(service: str, build: Callable[[], T]) -> T:
    """Called while a function's module is imported. A wrong setting ends the process with one line that says what to
    change. Opens nothing: gunicorn forks after the import."""
    try:
        tidings_logging.configure(service, load(tidings_logging.LogSettings))
        return build()
    except ConfigurationError as error:
        print(f"tidings: {service}: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None

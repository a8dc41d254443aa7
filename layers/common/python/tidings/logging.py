"""Logs: one JSON line a lifecycle event, by Powertools' Logger. Code below logs with the standard library's."""

import logging
import warnings

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from pydantic import Field

from tidings.settings import Settings


class LogSettings(Settings):
    """How much is said. Prefix TIDINGS_."""

    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG to ERROR")


def configure(service: str, settings: LogSettings) -> None:
    """Send what `tidings` logs to standard output, as JSON lines with this service's name. Idempotent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where a level was set before, as a second call does
        powertools = Logger(
            service=service,
            level=settings.log_level,
            logger_formatter=LambdaPowertoolsFormatter(utc=True, use_rfc3339=True),
        )
    root = logging.getLogger("tidings")
    root.handlers = list(powertools.handlers)
    root.setLevel(settings.log_level)
    root.propagate = False
    # It tells of each failed connection in six lines that are no JSON; ours is one, and says what follows.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    # Nor does the pool's, of a connection that was lost: whoever asked it gets the error.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

"""Logs: one JSON line a lifecycle event, by Powertools' Logger. Code below logs with the standard library's."""

import logging
import warnings

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import RESERVED_LOG_ATTRS, LambdaPowertoolsFormatter
from pydantic import Field
from pydantic_core import to_json

from tidings.settings import Settings


class LogSettings(Settings):
    """How much is said. Prefix TIDINGS_."""

    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG to ERROR")


class LineFormatter(LambdaPowertoolsFormatter):
    """Powertools' line at a third of its cost, which at several lines a notification is felt. What has a traceback, or
    keys of its context, takes the long way."""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info or record.args or self.thread_safe_get_current_keys():
            return super().format(record)
        line = {
            "level": record.levelname,
            "location": f"{record.funcName}:{record.lineno}",
            "message": record.msg,
            "timestamp": self.formatTime(record),
            "service": self.log_format.get("service"),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in RESERVED_LOG_ATTRS}
        line["xray_trace_id"] = self._get_latest_trace_id()
        return to_json({name: value for name, value in line.items() if value is not None}, fallback=str).decode()


def configure(service: str, settings: LogSettings) -> None:
    """Send what `tidings` logs to standard output, as JSON lines with this service's name. Idempotent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where a level was set before, as a second call does
        powertools = Logger(
            service=service,
            level=settings.log_level,
            logger_formatter=LineFormatter(utc=True, use_rfc3339=True),
        )
    root = logging.getLogger("tidings")
    root.handlers = list(powertools.handlers)
    root.setLevel(settings.log_level)
    root.propagate = False
    # It tells of each failed connection in six lines that are no JSON; ours is one, and says what follows.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    # Nor does the pool's, of a connection that was lost: whoever asked it gets the error.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

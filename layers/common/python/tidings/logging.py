"""Logs: one JSON line a lifecycle event, by Powertools' Logger. Code below logs with the standard library's."""

import logging
import select
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

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
    keys of its context, takes the long way.

    A record may tell of a batch: of its `each`, a sequence of mappings, every entry becomes a line of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info or record.args or self.thread_safe_get_current_keys():
            return super().format(record)
        line: dict[str, Any] = {
            "level": record.levelname,
            "location": f"{record.funcName}:{record.lineno}",
            "message": record.msg,
            "timestamp": self.formatTime(record),
            "service": self.log_format.get("service"),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in RESERVED_LOG_ATTRS}
        line["xray_trace_id"] = self._get_latest_trace_id()
        each = line.pop("each", ({},))
        return b"\n".join(to_json(_said(line | entry), fallback=str) for entry in each).decode()


def _said(line: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in line.items() if value is not None}


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes many lines at once, because each write costs as much as a line, and no more than nobody else's can come
    between where several processes share a pipe."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            for lines in _in_pieces(self.format(record).split("\n"), select.PIPE_BUF):
                self.stream.write(lines)
                self.flush()
        except Exception:
            self.handleError(record)


def _in_pieces(lines: Iterable[str], limit: int) -> Iterator[str]:
    piece = ""
    for line in lines:
        if piece and len(piece) + len(line) >= limit:  # characters: hardly any is not ASCII
            yield piece
            piece = ""
        piece += f"{line}\n"
    yield piece


def configure(service: str, settings: LogSettings) -> None:
    """Send what `tidings` logs to standard output, as JSON lines with this service's name. Idempotent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where a level was set before, as a second call does
        powertools = Logger(
            service=service,
            level=settings.log_level,
            logger_formatter=LineFormatter(utc=True, use_rfc3339=True),
            logger_handler=LineHandler(sys.stdout),
        )
    root = logging.getLogger("tidings")
    root.handlers = list(powertools.handlers)
    root.setLevel(settings.log_level)
    root.propagate = False
    # It tells of each failed connection in six lines that are no JSON; ours is one, and says what follows.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    # Nor does the pool's, of a connection that was lost: whoever asked it gets the error.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

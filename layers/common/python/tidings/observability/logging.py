"""Logs: a line an event, JSON or text, by Powertools' Logger. Code below logs with the standard library's."""

import logging
import re
import select
import sys
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import RESERVED_LOG_ATTRS, LambdaPowertoolsFormatter
from pydantic import Field
from pydantic_core import to_json

from tidings.config.settings import Settings
from tidings.observability import request_ids


class LogSettings(Settings):
    """How much is said, and how. Prefix TIDINGS_."""

    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG to ERROR")
    log_format: str = Field(
        default="json", pattern="^(json|text)$", description="json, a line an event; or text, for people"
    )


class OfRequest(logging.Filter):
    """Gives each line the id of the request that is served. Lines of notifications have their own, see `lines`."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = request_ids.fields()
        if "each" not in record.__dict__ or "request_ids" not in said:
            record.__dict__.update(said)
        return True


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


class TextFormatter(logging.Formatter):
    """The same lines for people who read along: the time of day, who, what, and what belongs to it.

    What came from outside is quoted where it could be taken for something else, so that no value makes a line.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        known = {name: value for name, value in record.__dict__.items() if name not in RESERVED_LOG_ATTRS}
        each = known.pop("each", ({},))
        head = f"{at} {self._service:<8} {level}{record.getMessage():<16}"
        lines = [f"{head} {_in_words(_said(known | entry))}".rstrip() for entry in each]
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return "\n".join(lines) + trace


_PLAIN = re.compile(r"[\w.:@*+/-]+")


def _in_words(said: dict[str, object]) -> str:
    """Without the tenant and the trace, which a person looks up in the JSON."""
    shown = {name: str(value) for name, value in said.items() if name not in ("tenant", "trace_id")}
    first = shown.pop("notification_id", None)
    words = [f"{name}={text if _PLAIN.fullmatch(text) else repr(text)}" for name, text in shown.items()]
    return " ".join([first, *words] if first is not None else words)


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
    """Send what `tidings` logs to standard output, with this service's name. Idempotent."""
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
    for handler in root.handlers:
        handler.filters = [OfRequest()]
    if settings.log_format == "text":
        for handler in root.handlers:
            handler.setFormatter(TextFormatter(service))
    root.setLevel(settings.log_level)
    root.propagate = False
    # It tells of each failed connection in six lines that are no JSON; ours is one, and says what follows.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    # What cannot be exported is told in the same form as all else.
    exporting = logging.getLogger("opentelemetry")
    exporting.handlers, exporting.propagate = root.handlers, False
    # Nor does the pool's, of a connection that was lost: whoever asked it gets the error.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

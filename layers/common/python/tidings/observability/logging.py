"""Logging: one line per event, JSON or text, by Powertools' Logger. All other code uses the standard library's."""

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
    """Level and format. Prefix TIDINGS_."""

    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: str = Field(
        default="json", pattern="^(json|text)$", description="json: one line per event; text: for people"
    )


class RequestIdFilter(logging.Filter):
    """Adds the id of the request being served. Lines of notifications have their own, see `log_observer`."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = request_ids.fields()
        if "each" not in record.__dict__ or "request_ids" not in said:
            record.__dict__.update(said)
        return True


class LineFormatter(LambdaPowertoolsFormatter):
    """Powertools' line at a third of its cost, which matters at several lines per notification. Records with a
    traceback or context keys use Powertools' own formatter.

    A record may describe a batch: each entry of its `each`, a sequence of mappings, becomes a line of its own.
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
        return b"\n".join(to_json(_without_none(line | entry), fallback=str) for entry in each).decode()


class TextFormatter(logging.Formatter):
    """The same lines for people: time of day, service, event, fields.

    A value with unusual characters is quoted, so that no value from outside can forge a line.
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
        lines = [f"{head} {_as_text(_without_none(known | entry))}".rstrip() for entry in each]
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return "\n".join(lines) + trace


_PLAIN = re.compile(r"[\w.:@*+/-]+")


def _as_text(said: dict[str, object]) -> str:
    """Without the tenant and the trace id, which are in the JSON only."""
    shown = {name: str(value) for name, value in said.items() if name not in ("tenant", "trace_id")}
    first = shown.pop("notification_id", None)
    words = [f"{name}={text if _PLAIN.fullmatch(text) else repr(text)}" for name, text in shown.items()]
    return " ".join([first, *words] if first is not None else words)


def _without_none(line: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in line.items() if value is not None}


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes many lines at once, because a write costs as much as a line. At most PIPE_BUF bytes: such a write is
    atomic where several processes share a pipe."""

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
        if piece and len(piece) + len(line) >= limit:  # characters, nearly all of one byte
            yield piece
            piece = ""
        piece += f"{line}\n"
    yield piece


def configure(service: str, settings: LogSettings) -> None:
    """Send what `tidings` logs to standard output, with this service's name. Idempotent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns at the second call, because a level is set
        powertools = Logger(
            service=service,
            level=settings.log_level,
            logger_formatter=LineFormatter(utc=True, use_rfc3339=True),
            logger_handler=LineHandler(sys.stdout),
        )
    root = logging.getLogger("tidings")
    root.handlers = list(powertools.handlers)
    for handler in root.handlers:
        handler.filters = [RequestIdFilter()]
    if settings.log_format == "text":
        for handler in root.handlers:
            handler.setFormatter(TextFormatter(service))
    root.setLevel(settings.log_level)
    root.propagate = False
    # pika writes six lines per failed connection, not JSON. Ours is one line, with the consequence.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    # Export failures are logged in the same format.
    exporting = logging.getLogger("opentelemetry")
    exporting.handlers, exporting.propagate = root.handlers, False
    # The pool logs each lost connection. The caller gets the error anyway.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

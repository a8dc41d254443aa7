"""Options that several commands share, and the parsers of their values."""

import argparse
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeAlias

from tidings.domain.channels import CHANNELS

Commands: TypeAlias = Any  # argparse's class for it is private

EXAMPLE_TIME = "like 2026-05-01T12:00:00Z"
_TIMESTAMP = f"must be an RFC 3339 timestamp, {EXAMPLE_TIME}"


@dataclass(frozen=True, kw_only=True)
class Parents:
    """Parent parsers: groups of options that a command can include."""

    output: argparse.ArgumentParser
    intake: argparse.ArgumentParser
    operator: argparse.ArgumentParser
    within: argparse.ArgumentParser

    @classmethod
    def create(cls) -> "Parents":
        output, key, within = (argparse.ArgumentParser(add_help=False) for _ in range(3))
        output.add_argument("--json", action="store_true", help="print JSON")
        key.add_argument("--api-key", metavar="KEY", help="overrides TIDINGS_API_KEY; visible in the process list")
        intake = argparse.ArgumentParser(add_help=False, parents=[key])
        intake.add_argument("--url", metavar="URL", help="overrides TIDINGS_URL")
        operator = argparse.ArgumentParser(add_help=False, parents=[key])
        operator.add_argument("--ops-url", metavar="URL", help="overrides TIDINGS_OPS_URL")
        within.add_argument(
            "--within", type=seconds, metavar="SECONDS", help="stop following after this time; default: no limit"
        )
        return cls(output=output, intake=intake, operator=operator, within=within)


def add_filters(parser: argparse.ArgumentParser, statuses: list[str], status_help: str) -> None:
    parser.add_argument("--channel", choices=CHANNELS)
    parser.add_argument("--status", choices=statuses, help=status_help)
    parser.add_argument("--since", type=timestamp, metavar="TIME", help=f"created at or after, {EXAMPLE_TIME}")
    parser.add_argument("--until", type=timestamp, metavar="TIME", help="created before")


def filters(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The given ones of these options, as the API expects them."""
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}


def positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1")
    return int(text)


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds above 0")
    return value


def timestamp(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} {_TIMESTAMP}") from None
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone; it {_TIMESTAMP}")
    return value


def day(text: str) -> date:
    try:
        value = date.fromisoformat(text)
    except ValueError:
        value = date.min
    if value.year <= 1970:
        raise argparse.ArgumentTypeError(f"{text!r} must be a day, like 2026-05-01")
    return value


def name_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=VALUE")
    return name, value

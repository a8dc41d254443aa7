"""Options that commands share, and how their values are read."""

import argparse
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from tidings.domain.channels import CHANNELS

Commands: TypeAlias = Any  # argparse's own class for it is private

TIME = "like 2026-11-22T10:00:00Z"
_INSTANT = "must be an RFC 3339 timestamp, like 2026-05-01T12:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Parents:
    """What a command may take over."""

    output: argparse.ArgumentParser
    intake: argparse.ArgumentParser
    operator: argparse.ArgumentParser
    within: argparse.ArgumentParser

    @classmethod
    def made(cls) -> "Parents":
        output, key, within = (argparse.ArgumentParser(add_help=False) for _ in range(3))
        output.add_argument("--json", action="store_true", help="the answer as JSON")
        key.add_argument("--api-key", metavar="KEY", help="in place of TIDINGS_API_KEY; who can list processes sees it")
        intake = argparse.ArgumentParser(add_help=False, parents=[key])
        intake.add_argument("--url", metavar="URL", help="in place of TIDINGS_URL")
        operator = argparse.ArgumentParser(add_help=False, parents=[key])
        operator.add_argument("--ops-url", metavar="URL", help="in place of TIDINGS_OPS_URL")
        within.add_argument(
            "--within", type=seconds, metavar="SECONDS", help="follow for so long at most; for ever if not given"
        )
        return cls(output=output, intake=intake, operator=operator, within=within)


def add_filters(to: argparse.ArgumentParser, statuses: list[str], told: str) -> None:
    to.add_argument("--channel", choices=CHANNELS)
    to.add_argument("--status", choices=statuses, help=told)
    to.add_argument("--since", type=instant, metavar="TIME", help=f"created at or after, {TIME}")
    to.add_argument("--until", type=instant, metavar="TIME", help="created before")


def filters(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """What was given of these, as the API takes it."""
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}


def positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def instant(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} {_INSTANT}") from None
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone; it {_INSTANT}")
    return value


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value

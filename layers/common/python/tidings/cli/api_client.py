"""Clients of the two HTTP APIs for the commands, and how errors are reported."""

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from tidings.cli.exit_codes import REFUSED, UNREACHABLE, CommandFailed
from tidings.cli.output import plain
from tidings.client import Client, Refused, Unexpected, Unreachable
from tidings.client.transport import Transport
from tidings.config.settings import Settings, load
from tidings.domain.errors import ConfigurationError

S = TypeVar("S", bound=Settings)

ENV_FILE = Path(".tidings/env")
"""Settings for commands without environment variables: KEY=value lines, in the working folder. `local/up` writes it."""

OPERATOR_TIMEOUT = 60.0  # seconds; a sweep stops itself after 20, the largest replay takes less
_URL = r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"


class CallerSettings(Settings):
    """The API key of the command `tidings`. Prefix TIDINGS_."""

    api_key: str = Field(pattern=r"^[!-~]+$", description="the API key: scope send for the intake, operate for replay")


class IntakeSettings(CallerSettings):
    """The intake's URL."""

    url: str = Field(pattern=_URL, description="URL of the intake, like http://127.0.0.1:8080")


class OperatorSettings(CallerSettings):
    """The replay function's URL."""

    ops_url: str = Field(pattern=_URL, description="URL of the replay function, like http://127.0.0.1:8081")


@dataclass(frozen=True)
class Operator:
    """Client of the replay function's API. A request is not retried."""

    transport: Transport

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self.transport.request("GET", path, query=query).document

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.transport.request("POST", path, body=body).document


@contextmanager
def operator(options: argparse.Namespace) -> Iterator[Operator]:
    """Client of the operator API. Raise CommandFailed for errors in the block."""
    settings = load_settings(OperatorSettings, options)
    transport = Transport(
        url=settings.ops_url.rstrip("/"),
        api_key=settings.api_key,
        timeout=OPERATOR_TIMEOUT,
        deadline=OPERATOR_TIMEOUT,
        retries=False,
    )
    try:
        with _reported("TIDINGS_OPS_URL", "it is the replay function's URL"):
            yield Operator(transport)
    finally:
        transport.close()


@contextmanager
def intake(options: argparse.Namespace, *, deadline: float = 20.0) -> Iterator[Client]:
    """Client of the intake API. Requests are retried until the deadline, in seconds. Errors as in `operator`."""
    settings = load_settings(IntakeSettings, options)
    with (
        Client(url=settings.url.rstrip("/"), api_key=settings.api_key, deadline=deadline) as client,
        _reported("TIDINGS_URL", "it is the intake's URL"),
    ):
        yield client


def load_settings(cls: type[S], options: argparse.Namespace) -> S:
    """From the flags, else the environment, else ENV_FILE. Raise ConfigurationError."""
    flags = {cls.variable(name): getattr(options, name, None) for name in cls.model_fields}
    given = {name: value for source in (os.environ, flags) for name, value in source.items() if value}
    return load(cls, {**_env_file(), **given})


def _env_file() -> dict[str, str]:
    try:
        lines = ENV_FILE.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{ENV_FILE} cannot be read: {error}") from None
    pairs = (line.strip().partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name: value for name, equals, value in pairs if equals}


@contextmanager
def _reported(setting: str, meaning: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        remedy = _remedy(refused, f"check {setting}: {meaning}")
        raise CommandFailed(REFUSED, plain(f"{refused}: {remedy}" if remedy else str(refused))) from None
    except Unexpected as error:
        raise CommandFailed(REFUSED, f"{error}; check {setting}") from None
    except Unreachable as error:
        raise CommandFailed(
            UNREACHABLE, plain(f"{error}: is it running? Check {setting}. Repeating the command is harmless")
        ) from None


def _remedy(refused: Refused, wrong_url: str) -> str | None:
    if refused.retry_after is not None:
        return f"try again in {refused.retry_after:g} s"
    if refused.status == 401:
        return "check TIDINGS_API_KEY"
    if refused.status == 403:
        scope = refused.title.rpartition(" ")[2].strip("`")
        return f"`tidings keys create TENANT {scope}` creates a key with it"
    if refused.status == 404 and refused.title in (
        "Not found",
        "Not Found",
    ):  # as Tidings says of an unknown path, and as proxies do
        return wrong_url
    return None

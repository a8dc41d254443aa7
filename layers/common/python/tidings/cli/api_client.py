"""Where the commands go, as whom, and what they say of what comes back."""

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from tidings.cli.exit_codes import REFUSED, UNREACHABLE, Failed
from tidings.cli.output import plain
from tidings.client import Client, Refused, Unexpected, Unreachable
from tidings.client.transport import Transport
from tidings.config.settings import Settings, load
from tidings.domain.errors import ConfigurationError

S = TypeVar("S", bound=Settings)

ENV_FILE = Path(".tidings/env")
"""Settings for who has none in the environment: KEY=value lines, in the working folder. `local/up` writes it."""

PATIENCE = 60.0  # seconds to wait for an operator's answer; a sweep bounds itself at 20, the largest replay takes fewer
_URL = r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"


class CallerSettings(Settings):
    """As whom the command `tidings` goes. Prefix TIDINGS_."""

    api_key: str = Field(
        pattern=r"^[!-~]+$", description="the key itself: scope send for the intake, operate for replay"
    )


class IntakeSettings(CallerSettings):
    """Where it hands in and looks up."""

    url: str = Field(pattern=_URL, description="where the intake answers, like http://127.0.0.1:8080")


class OperatorSettings(CallerSettings):
    """Where it operates."""

    ops_url: str = Field(pattern=_URL, description="where the replay function answers, like http://127.0.0.1:8081")


@dataclass(frozen=True)
class Operator:
    """The replay function's HTTP API. A call is never repeated by itself."""

    transport: Transport

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self.transport.call("GET", path, query=query).document

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.transport.call("POST", path, body=body).document


@contextmanager
def operator(options: argparse.Namespace) -> Iterator[Operator]:
    """The operator's side, for the block. What goes wrong in it is told by Failed."""
    settings = chosen(OperatorSettings, options)
    transport = Transport(
        url=settings.ops_url.rstrip("/"), api_key=settings.api_key, timeout=PATIENCE, deadline=PATIENCE, repeats=False
    )
    try:
        with _told("TIDINGS_OPS_URL", "it is the replay function's address"):
            yield Operator(transport)
    finally:
        transport.close()


@contextmanager
def intake(options: argparse.Namespace, *, deadline: float = 20.0) -> Iterator[Client]:
    """The intake, for the block. A call is repeated until the deadline, in seconds."""
    settings = chosen(IntakeSettings, options)
    with (
        Client(url=settings.url.rstrip("/"), api_key=settings.api_key, deadline=deadline) as client,
        _told("TIDINGS_URL", "it is the intake's address"),
    ):
        yield client


def chosen(cls: type[S], options: argparse.Namespace) -> S:
    """By the flags, else the environment, else ENV_FILE. Raise ConfigurationError."""
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
def _told(setting: str, meaning: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        remedy = _remedy(refused, f"see {setting}: {meaning}")
        raise Failed(REFUSED, plain(f"{refused}: {remedy}" if remedy else str(refused))) from None
    except Unexpected as error:
        raise Failed(REFUSED, f"{error}; see {setting}") from None
    except Unreachable as error:
        raise Failed(UNREACHABLE, plain(f"{error}: does it run? See {setting}. Trying again is harmless")) from None


def _remedy(refused: Refused, address: str) -> str | None:
    if refused.retry_after is not None:
        return f"try again in {refused.retry_after:g} s"
    if refused.status == 401:
        return "see TIDINGS_API_KEY"
    if refused.status == 403:
        scope = refused.title.rpartition(" ")[2]
        return f"`tidings keys create TENANT {scope}` makes a key with it"
    if refused.status == 404 and refused.title in ("Not found", "No such page", "Not Found"):
        return address
    return None

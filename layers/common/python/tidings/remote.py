"""The replay function's API, as the command line calls it: from any machine, with a key."""

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from tidings.errors import ConfigurationError
from tidings.settings import Settings, load

ENV_FILE = Path(".tidings/env")
"""Settings for who has none in the environment: KEY=value lines, in the working folder. `local/up` writes it."""

TIMEOUT = 60  # seconds; a sweep bounds itself at 20, the largest replay takes fewer than that


class Refused(Exception):
    """The server answered, and not with what was asked for. The text is one line that says what would help."""


class Unreachable(Exception):
    """No answer came."""


class OperatorSettings(Settings):
    """Where the command `tidings` goes, and as whom. Prefix TIDINGS_."""

    ops_url: str = Field(
        pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
        description="where the replay function answers, like http://127.0.0.1:8081",
    )
    api_key: str = Field(pattern=r"^[!-~]+$", description="the key itself, with the scope operate")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would hand the key on to wherever a redirect points."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


@dataclass(frozen=True)
class Server:
    """The replay function's HTTP API."""

    settings: OperatorSettings

    @classmethod
    def chosen(cls, flags: Mapping[str, str | None]) -> "Server":
        """By the flags, else the environment, else ENV_FILE. Raise ConfigurationError."""
        given = {name: value for source in (os.environ, flags) for name, value in source.items() if value}
        return cls(load(OperatorSettings, {**_env_file(), **given}))

    def get(self, path: str, query: Mapping[str, Any]) -> Any:
        return self._call("GET", f"{path}?{urllib.parse.urlencode(query)}")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("POST", path, json.dumps(body).encode())

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        """The answer's JSON. Raise Refused or Unreachable."""
        request = urllib.request.Request(  # noqa: S310 (the setting lets only http and https through)
            self.settings.ops_url.rstrip("/") + path,
            data=body,
            method=method,
            headers={"authorization": f"Bearer {self.settings.api_key}", "content-type": "application/json"},
        )
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise Refused(_refused(refusal)) from None
        except ValueError:
            raise Refused(f"what answers at {self.settings.ops_url} is no Tidings; see TIDINGS_OPS_URL") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            hint = "does it run? See TIDINGS_OPS_URL. Trying again is harmless"
            raise Unreachable(f"no answer from {self.settings.ops_url} ({reason}): {hint}") from None


def _env_file() -> dict[str, str]:
    try:
        lines = ENV_FILE.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{ENV_FILE} cannot be read: {error}") from None
    pairs = (line.strip().partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name: value for name, equals, value in pairs if equals}


_REMEDIES = {
    401: "see TIDINGS_API_KEY",
    403: "`tidings keys create TENANT operate` makes a key with it",
    404: "see TIDINGS_OPS_URL: it is the replay function's address",
}


def _refused(refusal: urllib.error.HTTPError) -> str:
    """A problem (RFC 9457) in one line, or the status where a proxy answered."""
    try:
        problem: dict[str, Any] = dict(json.load(refusal))
    except (ValueError, TypeError, OSError):
        problem = {}
    wrong = [f"{entry.get('field')} {entry.get('detail')}" for entry in problem.get("errors", [])]
    after = refusal.headers.get("retry-after")
    remedy = f"try again in {after} s" if after else _REMEDIES.get(refusal.code)
    said = [str(problem.get("title", refusal.reason)), "; ".join(wrong) or problem.get("detail"), remedy]
    return plain(f"{refusal.code} " + ": ".join(str(part).rstrip(".") for part in said if part))


def plain(value: object) -> str:
    """On one line, and nothing in it that a terminal would obey: providers' words and recipients come from outside."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))

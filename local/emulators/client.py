"""Talk to a running emulator: what arrived, what was called, and what shall fail."""

import json
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from local.emulators.records import Channel


class Failure(TypedDict, total=False):
    """What a rule may say; see local.emulators.failures.Rule."""

    next: int | None  # how many calls; None or missing: until cleared
    status: int
    code: str
    enhanced: str
    message: str
    retry_after: int  # seconds
    retry_info: bool
    delay: float  # seconds
    drop: Literal["before_accept", "after_accept"]
    created: Literal["failed", "undelivered", "canceled"]  # SMS: HTTP 201, and it has failed already
    recipient: str
    stage: Literal["connect", "mail", "rcpt", "data", "dot", "token"]
    chance: float
    every: int  # so manieth of the calls that it would meet


class EmulatorError(Exception):
    """The emulator refused a request; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Emulator:
    url: str  # of its HTTP port
    timeout: float = 30  # seconds

    def fail(self, channel: Channel, **failure: Unpack[Failure]) -> str:
        """Arm a failure; return its id."""
        return str(self._ask("POST", "/failures.json", {"channel": channel, **failure})["id"])

    def failures(self) -> list[dict[str, Any]]:
        """The rules in order, each with `id` and how often it was `used`."""
        return list(self._ask("GET", "/failures.json")["failures"])

    def forgive(self) -> None:
        """Disarm every failure; keep what arrived."""
        self._ask("DELETE", "/failures.json")

    def clear(self) -> None:
        """Disarm every failure and empty the inbox and the call log."""
        self.forgive()
        self._ask("DELETE", "/inbox.json")

    def inbox(self, channel: Channel | None = None, **query: str | int) -> list[dict[str, Any]]:
        """What was accepted, newest first. `query`: recipient, limit."""
        return list(self._ask("GET", _path("/inbox.json", channel, query))["messages"])

    def calls(self, channel: Channel | None = None, **query: str | int) -> list[dict[str, Any]]:
        """Every provider call, oldest first. `query`: recipient, limit (the newest ones)."""
        return list(self._ask("GET", _path("/calls.json", channel, query))["calls"])

    def totals(self) -> dict[str, int]:
        """Messages accepted per channel since the start or the last `clear`, also those the inbox has forgotten."""
        return dict(self._ask("GET", "/inbox.json?limit=0")["total"])

    def call_totals(self) -> dict[str, int]:
        """The same of the calls."""
        return dict(self._ask("GET", "/calls.json?limit=0")["total"])

    def call_peaks(self) -> dict[str, int]:
        """The most calls that were under way at once, per channel."""
        return dict(self._ask("GET", "/calls.json?limit=0")["peak"])

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = json.dumps(body).encode() if body is not None else None
        request = Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=self.timeout) as response:
                text = response.read()
        except HTTPError as error:
            with error:
                raise EmulatorError(f"{method} {path}: {error.code} {error.read().decode()}") from None
        answer: dict[str, Any] = json.loads(text) if text else {}
        return answer


def _path(path: str, channel: Channel | None, query: dict[str, str | int]) -> str:
    wanted = {**({"channel": channel} if channel is not None else {}), **query}
    return f"{path}?{urlencode(wanted)}" if wanted else path

"""Client of a running emulator: read the inbox and the call log, set failures."""

import json
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from local.emulators.records import Channel, Receipts


class Failure(TypedDict, total=False):
    """The fields of a failure rule; see local.emulators.failures.Rule."""

    next: int | None  # number of calls; None or missing: until cleared
    status: int
    code: str
    enhanced: str
    message: str
    retry_after: int  # seconds
    retry_info: bool
    delay: float  # seconds
    drop: Literal["before_accept", "after_accept"]
    created: Literal["failed", "undelivered", "canceled"]  # SMS: HTTP 201 with this status
    receipts: Receipts  # SMS and email: what is reported later
    recipient: str
    stage: Literal["connect", "mail", "rcpt", "data", "dot", "token"]
    chance: float
    every: int  # fail only every n-th matching call


class EmulatorError(Exception):
    """The emulator refused a request."""


@dataclass(frozen=True, kw_only=True)
class Emulator:
    url: str  # of its HTTP port
    timeout: float = 30  # seconds

    def fail(self, channel: Channel, **failure: Unpack[Failure]) -> str:
        """Add a failure rule; return its id."""
        return str(self._request("POST", "/failures.json", {"channel": channel, **failure})["id"])

    def failures(self) -> list[dict[str, Any]]:
        """The rules in order, each with `id` and how often it was `used`."""
        return list(self._request("GET", "/failures.json")["failures"])

    def forgive(self) -> None:
        """Remove all failure rules."""
        self._request("DELETE", "/failures.json")

    def clear(self) -> None:
        """Remove all failure rules, and empty the inbox and the call log."""
        self.forgive()
        self._request("DELETE", "/inbox.json")

    def inbox(self, channel: Channel | None = None, **query: str | int) -> list[dict[str, Any]]:
        """Accepted messages, newest first. `query`: recipient, limit."""
        return list(self._request("GET", _path("/inbox.json", channel, query))["messages"])

    def calls(self, channel: Channel | None = None, **query: str | int) -> list[dict[str, Any]]:
        """Every provider call, oldest first. `query`: recipient, limit (the newest ones)."""
        return list(self._request("GET", _path("/calls.json", channel, query))["calls"])

    def totals(self) -> dict[str, int]:
        """Messages accepted per channel since the start or the last `clear`, including those dropped from the inbox."""
        return dict(self._request("GET", "/inbox.json?limit=0")["total"])

    def call_totals(self) -> dict[str, int]:
        """Calls per channel since the start or the last `clear`."""
        return dict(self._request("GET", "/calls.json?limit=0")["total"])

    def call_peaks(self) -> dict[str, int]:
        """Maximum number of concurrent calls, per channel."""
        return dict(self._request("GET", "/calls.json?limit=0")["peak"])

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
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

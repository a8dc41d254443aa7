"""A client for tests: calls a stack's APIs as an application and as an operator, and waits for results."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from local.stack import no_proxy

ENDS = ("sent", "failed", "unknown", "suppressed", "canceled", "expired")
WITHIN = 60.0  # seconds; generous, for a busy machine

T = TypeVar("T")
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    body: Any


@dataclass(frozen=True, kw_only=True)
class Caller:
    url: str
    ops_url: str
    key: str
    recipients: set[str] = field(default_factory=set, repr=False)  # all recipients used: personal data

    def ask(self, url: str, body: object = None, **headers: str) -> Answer:
        """POST the body, or GET."""
        request = urllib.request.Request(
            url,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"authorization": f"Bearer {self.key}", "content-type": "application/json", **headers},
        )
        try:
            with no_proxy.open_url(request, timeout=WITHIN) as answer:
                return Answer(status=answer.status, body=json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(status=error.code, body=json.load(error))

    def post(self, notification: Json, **headers: str) -> str:
        """Submit it; its id."""
        self._note(notification)
        answer = self.ask(f"{self.url}/v1/notifications", notification, **headers)
        assert answer.status == 202, answer
        return str(answer.body["id"])

    def post_all(self, notifications: Sequence[Json]) -> list[str]:
        """Submit them as one array; their ids, in order."""
        for notification in notifications:
            self._note(notification)
        answer = self.ask(f"{self.url}/v1/notifications", notifications)
        assert answer.status == 202, answer
        return [str(result["id"]) for result in answer.body["results"]]

    def get(self, id: str) -> Json:
        answer = self.ask(f"{self.url}/v1/notifications/{id}")
        assert answer.status == 200, answer
        return dict(answer.body)

    def listed(self, **query: str | int) -> list[Json]:
        """Every page of the list."""
        found: list[Json] = []
        while True:
            page = self.ask(f"{self.url}/v1/notifications?{urlencode({'limit': 200, **query})}").body
            found += page["notifications"]
            if "next_cursor" not in page:
                return found
            query["cursor"] = page["next_cursor"]

    def cancel(self, id: str) -> Answer:
        return self.ask(f"{self.url}/v1/notifications/{id}/cancel", {})

    def dead_letters(self, **query: str | int) -> list[Json]:
        return list(self.ask(f"{self.ops_url}/v1/dead-letters?{urlencode(query)}").body["notifications"])

    def replay(self, **which: Any) -> Json:
        answer = self.ask(f"{self.ops_url}/v1/dead-letters/replay", which)
        assert answer.status == 200, answer
        return dict(answer.body)

    def audit(self, **query: str | int) -> list[Json]:
        """The findings of every page."""
        found: list[Json] = []
        while True:
            answer = self.ask(f"{self.ops_url}/v1/audit?{urlencode({'limit': 1000, **query})}")
            assert answer.status == 200, answer
            found += answer.body["findings"]
            if "next_cursor" not in answer.body:
                return found
            query["cursor"] = answer.body["next_cursor"]

    def ended(self, id: str) -> Json:
        """The notification, once it has settled."""
        return wait_for(lambda: self.get(id), lambda found: found["status"] in ENDS)

    def _note(self, notification: Json) -> None:
        recipient = notification["recipient"]
        self.recipients.update(recipient.values() if isinstance(recipient, dict) else [recipient])


def whole_lines(log: Path) -> str:
    """The complete lines of the file."""
    text = log.read_text()
    return text[: text.rfind("\n") + 1]


def wait_for(look: Callable[[], T], right: Callable[[T], bool] = bool, *, within: float = WITHIN) -> T:
    """Poll `look` until `right` accepts its value, and return it. Fail with the last value when the time is up. What
    takes long is looked at less often: each look takes processor time from what is waited for."""
    begun = time.monotonic()
    while not right(seen := look()):
        waited = time.monotonic() - begun
        assert waited < within, f"not within {within:g} s; last seen: {seen!r}"
        time.sleep(min(0.05 + waited / 10, 0.15))
    return seen

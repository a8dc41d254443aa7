"""The load generator's instructions and results."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GOOD = ("202", "204")
"""Committed: a notification, and a receipt."""

MARK = "########"
"""Placeholder of the request's number in a body. Same width, so that all requests of a plan have the same length."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Requests from so many connections: as fast as they are answered, or one `every` so many seconds.

    Each POSTs the `body` to the intake; or they are `prepared`: a file of `count` whole requests of the same length."""

    body: str = ""
    prepared: str | None = None
    connections: int
    count: int | None = None  # requests at most
    seconds: float | None = None  # none is begun later
    every: float | None = None
    keep_alive: bool = True  # False: each connection makes one request, and is opened for it


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The result of a plan. Times are seconds of the machine's monotonic clock, which all processes share."""

    statuses: dict[str, int]  # how often each was answered; of what was not answered: why
    numbers: list[int]  # of the requests that were answered as they should be, as are
    begun: list[float]
    ended: list[float]

    @property
    def accepted(self) -> int:
        return sum(self.statuses.get(status, 0) for status in GOOD)

    @property
    def seconds(self) -> float:
        return max(self.ended) - min(self.begun) if self.ended else math.nan

    @property
    def rate(self) -> float:
        return self.accepted / self.seconds

    @property
    def latencies(self) -> list[float]:
        return [ended - begun for begun, ended in zip(self.begun, self.ended, strict=True)]

    @property
    def failed(self) -> int:
        return sum(self.statuses.values()) - self.accepted

    def problems(self) -> list[str]:
        """Whatever was not answered as it should be."""
        return [f"{count} requests: {status}" for status, count in self.statuses.items() if status not in GOOD]


def mail(*, key: bool = True, **more: Any) -> str:
    """The body of one email notification; with `key`, it has an idempotency key of its own, as careful callers give."""
    return json.dumps(_mail(MARK, key=key, **more))


def sms() -> str:
    """As `mail`, of one SMS."""
    return _keyed(_sms(MARK, "+150"))


def sms_array(size: int) -> str:
    """The body of an array of SMS, without keys."""
    return json.dumps([_sms(MARK, f"+1{place:03}") for place in range(size)])


def _sms(number: str, prefix: str) -> dict[str, Any]:
    content = {"text": f"n{number} Your order is on its way, and will be with you tomorrow."}
    return {"channel": "sms", "recipient": f"{prefix}{number}", "content": content}


def push() -> str:
    """As `mail`, of one push message."""
    content = {"title": f"n{MARK} Your order is on its way", "body": "It will be with you tomorrow."}
    return _keyed({"channel": "push", "recipient": {"token": f"device-{MARK}:abcdefgh"}, "content": content})


def _keyed(notification: Mapping[str, Any]) -> str:
    return json.dumps({**notification, "idempotency_key": f"order-{MARK}-shipped"})


def array(size: int) -> str:
    """The body of an array of email notifications, without keys."""
    return json.dumps([_mail(f"{MARK}-{place:04}", key=False) for place in range(size)])


def _mail(number: str, *, key: bool, **more: Any) -> dict[str, Any]:
    return {
        "channel": "email",
        "recipient": f"customer-{number}@example.com",
        # The sink reads the number from here.
        "content": {
            "subject": f"n{number} Your order is on its way",
            "text": "It has left our house, and will be with you tomorrow.",
        },
        **({"idempotency_key": f"order-{number}-shipped"} if key else {}),
        **more,
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share (0 to 1) of them does not exceed; NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]

"""Failures on demand: rules for which calls fail, and how."""

import asyncio
import contextlib
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from local.emulators import bounces, twilio_callbacks
from local.emulators.records import Channel, Receipts

Stage = Literal["connect", "mail", "rcpt", "data", "dot", "token"]


REPORTED: Mapping[str, Collection[str]] = {
    "sms": twilio_callbacks.SEQUENCES,
    "email": bounces.SEQUENCES,
    "push": ("never",),
}
"""By channel, what can be reported later."""


class Rule(BaseModel):
    """One failure, as POST /failures.json takes it.

    Without `status`, `created` and `drop` it only delays. `delay` (seconds) is between the acceptance and the answer,
    as with a slow provider: a client that times out has sent its message all the same.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    channel: Channel
    next: Annotated[int, Field(ge=1)] | None = None  # number of calls; None: until cleared
    every: Annotated[int, Field(ge=1)] = 1  # fail only every n-th matching call
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    code: Annotated[str, Field(min_length=1, max_length=64)] | None = (
        None  # the vendor's code; None: the usual one for the status
    )
    enhanced: Annotated[str, Field(pattern=r"^[45]\.\d{1,3}\.\d{1,3}$")] | None = None  # SMTP, RFC 3463
    message: Annotated[str, Field(max_length=400, pattern=r"^[ -~]+$")] | None = None
    retry_after: Annotated[int, Field(ge=0)] | None = None  # seconds, in a Retry-After header
    retry_info: bool = False  # push: retry_after goes into the body as a RetryInfo
    delay: Annotated[float, Field(ge=0, le=3600)] = 0  # seconds
    drop: Literal["before_accept", "after_accept"] | None = None
    created: Literal["failed", "undelivered", "canceled"] | None = None  # SMS: HTTP 201 with this status
    receipts: Receipts | None = None  # what is reported later, instead of delivered; sends do not fail by it
    recipient: str | None = None
    stage: Stage = "dot"  # SMTP stage; for push, `token` is the token exchange and `message` its whole body
    chance: Annotated[float, Field(ge=0, le=1)] = 1

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        mail = self.channel == "email"
        if self.status is not None and self.drop is not None:
            raise ValueError("give status or drop, not both: a dropped call has no answer")
        if self.created is not None and (self.channel != "sms" or self.status is not None or self.drop is not None):
            raise ValueError("created belongs to sms, without status and drop; code is optional")
        token = self.channel == "push" and self.stage == "token"
        if self.receipts is not None and (
            self.channel not in REPORTED or self.status is not None or self.created is not None
        ):
            raise ValueError("receipts belongs to messages that are accepted")
        if self.receipts is not None and self.receipts not in REPORTED[self.channel]:
            raise ValueError(f"receipts of {self.channel} is one of {', '.join(sorted(REPORTED[self.channel]))}")
        has_outcome = any(one is not None for one in (self.status, self.drop, self.created, self.receipts))
        if not has_outcome and not self.delay and not (token and self.message is not None):
            raise ValueError("give status, drop or delay: this rule does nothing")
        if mail and self.stage == "token":
            raise ValueError("stage token belongs to push")
        if mail and (self.code is not None or self.retry_after is not None):
            raise ValueError("code and retry_after belong to HTTP; SMTP has status and enhanced")
        if not mail and (self.enhanced is not None or (self.stage != "dot" and not token)):
            raise ValueError("enhanced and stage belong to email")
        if self.retry_info and self.channel != "push":
            raise ValueError("retry_info belongs to push")
        if self.enhanced is not None and self.status is not None and int(self.enhanced[0]) != self.status // 100:
            raise ValueError("enhanced and status must begin with the same digit")
        if self.drop == "after_accept" and self.stage != "dot":
            raise ValueError("drop after_accept needs stage dot, where a mail is accepted")
        if self.recipient is not None and self.stage in ("connect", "mail", "token"):
            raise ValueError(f"at stage {self.stage} no recipient is known yet")
        return self


@dataclass(kw_only=True, slots=True)
class _Armed:
    id: str
    rule: Rule
    used: int = 0
    matched: int = 0  # matching calls, `used` among them

    @property
    def spent(self) -> bool:
        return self.rule.next is not None and self.used >= self.rule.next


class Failures:
    """The rules, in order. `stopping` ends all delays, so that the process can stop."""

    def __init__(self, *, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._armed: dict[str, _Armed] = {}
        self._ids = count(1)

    def arm(self, rule: Rule) -> str:
        armed = _Armed(id=f"failure-{next(self._ids)}", rule=rule)
        self._armed[armed.id] = armed
        return armed.id

    def take(self, channel: str, recipients: Collection[str] = (), *, stage: Stage = "dot") -> Rule | None:
        """The first rule that matches this call; it counts as used once."""
        for armed in self._armed.values():
            rule = armed.rule
            if armed.spent or rule.channel != channel or rule.stage != stage:
                continue
            if rule.recipient is not None and rule.recipient not in recipients:
                continue
            if random.random() >= rule.chance:  # noqa: S311
                continue
            armed.matched += 1
            if armed.matched % rule.every:
                continue
            armed.used += 1
            return rule
        return None

    async def pause(self, rule: Rule | None) -> None:
        """Wait for the rule's delay."""
        if rule is not None and rule.delay:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), rule.delay)

    def shown(self) -> list[dict[str, Any]]:
        return [
            {"id": armed.id, "used": armed.used, **armed.rule.model_dump(exclude_none=True)}
            for armed in self._armed.values()
        ]

    def clear(self) -> None:
        self._armed.clear()

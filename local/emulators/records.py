"""The inbox (accepted messages) and the call log (every provider call).

Both are bounded, so that a load test of any length fits in memory; their totals are not.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import Any, Literal, get_args

from local.emulators import mail

Channel = Literal["email", "sms", "push", "webhook"]

Receipts = Literal[
    "undelivered",
    "failed",
    "late",
    "twice",
    "out_of_order",
    "forged",
    "never",
    "delivered",
    "delayed",
    "complained",
    "auto_reply",
    "unreadable",
]
"""What a provider reports later about a message that it accepted."""
CHANNELS: tuple[Channel, ...] = get_args(Channel)


class Outcome(StrEnum):
    """How a call ended. ACCEPTED and DROPPED_AFTER_ACCEPT are in the inbox; the client of the latter got no answer."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    DROPPED_AFTER_ACCEPT = "dropped_after_accept"
    DROPPED_BEFORE_ACCEPT = "dropped_before_accept"


def timestamp() -> str:
    """Now, as RFC 3339 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """One accepted message."""

    channel: str
    recipient: str
    provider_message_id: str
    fields: dict[str, Any]  # the channel's own fields
    raw: str | None = None  # a mail's bytes as latin-1; parsed when it is shown, not when it arrives
    at: str = field(default_factory=timestamp)

    @property
    def weight(self) -> int:
        """Approximate bytes of memory."""
        return 1000 + len(self.raw or "")

    def stored(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def shown(self) -> dict[str, Any]:
        content = mail.parsed(self.raw.encode("latin-1")) if self.raw is not None else {}
        return {
            "channel": self.channel,
            "recipient": self.recipient,
            "at": self.at,
            "provider_message_id": self.provider_message_id,
            **self.fields,
            **content,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One provider call. `status` and `code` of the answer; status 0: none was sent."""

    channel: str
    recipient: str | None  # None: refused before the recipient was known
    outcome: Outcome
    status: int
    code: str | None = None
    message_id: str | None = None  # mail: the Message-ID; SMS and push: the provider's id
    fields: dict[str, Any] = field(default_factory=dict)
    at: str = field(default_factory=timestamp)

    def shown(self) -> dict[str, Any]:
        return {
            "channel": self.channel,
            "recipient": self.recipient,
            "at": self.at,
            "outcome": self.outcome,
            "status": self.status,
            "code": self.code,
            "message_id": self.message_id,
            **self.fields,
        }


class Inbox:
    """The last accepted messages: at most `limit`, and about `max_bytes` together."""

    def __init__(self, limit: int, *, max_bytes: int = 256 * 1024 * 1024) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0
        self._messages: deque[Received] = deque()
        self._by_id: dict[str, Received] = {}
        self.total: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, received: Received) -> None:
        self._messages.append(received)
        self._by_id[received.provider_message_id] = received
        self._bytes += received.weight
        self.total[received.channel] += 1
        while len(self._messages) > self._limit or (self._bytes > self._max_bytes and len(self._messages) > 1):
            oldest = self._messages.popleft()
            self._by_id.pop(oldest.provider_message_id, None)
            self._bytes -= oldest.weight

    def by_id(self, provider_message_id: str) -> Received | None:
        return self._by_id.get(provider_message_id)

    def newest_first(self, channel: str | None = None, recipient: str | None = None) -> Iterator[Received]:
        return (
            received
            for received in reversed(self._messages)
            if channel in (None, received.channel)
            if recipient in (None, received.recipient) or recipient in received.fields.get("recipients", ())
        )

    def oldest_first(self) -> Iterable[Received]:
        return self._messages

    def clear(self) -> None:
        self._messages.clear()
        self._by_id.clear()
        self._bytes = 0
        self.total.clear()


class CallLog:
    """The last calls."""

    def __init__(self, limit: int) -> None:
        self._calls: deque[Call] = deque(maxlen=limit)
        self.total: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()  # maximum number of concurrent calls
        self._under_way: Counter[str] = Counter()

    @contextlib.contextmanager
    def under_way(self, channel: str) -> Iterator[None]:
        """Count a call as concurrent for the block."""
        self._under_way[channel] += 1
        self.peak[channel] = max(self.peak[channel], self._under_way[channel])
        try:
            yield
        finally:
            self._under_way[channel] -= 1

    def add(self, call: Call) -> None:
        self._calls.append(call)
        self.total[call.channel] += 1

    def newest(self, channel: str | None, recipient: str | None, limit: int | None) -> list[Call]:
        """The newest `limit` calls that match, oldest first."""
        matching = (
            call
            for call in reversed(self._calls)
            if channel in (None, call.channel)
            if recipient in (None, call.recipient) or recipient in call.fields.get("recipients", ())
        )
        return list(islice(matching, limit))[::-1]

    def clear(self) -> None:
        self._calls.clear()
        self.total.clear()
        self.peak = self._under_way.copy()

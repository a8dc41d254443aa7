"""What is sent to the intake, and its answer."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from tidings.api.responses import AcceptedView


def _new_key() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A notification to send. Its idempotency key is made with it: sending the same draft again sends nothing twice.

    `recipient` and `content` are as in the API: {"subject", "text", "html"} for email, {"text"} for sms,
    {"title", "body", "data"} and a recipient {"token"} or {"topic"} for push. Times need a time zone.
    """

    channel: str
    recipient: str | Mapping[str, str]
    content: Mapping[str, Any]
    idempotency_key: str = field(default_factory=_new_key)
    send_at: datetime | None = None
    expires_at: datetime | None = None
    priority: str | None = None
    on_ambiguous: str | None = None
    max_attempts: int | None = None
    metadata: Mapping[str, str] | None = None
    category: str | None = None
    critical: bool | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a key that a header cannot carry."""
        key = self.idempotency_key
        if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
            raise ValueError("an idempotency key must have 1 to 255 printable ASCII characters")

    def document(self) -> dict[str, Any]:
        """The request's JSON. Fields without a value are left out, so that the server's defaults apply."""
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        written = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in given.items()
            if value is not None
        }
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in written.items()}


class Accepted(AcceptedView):
    """202: the row is committed. `replayed`: an earlier request with this key had committed it."""

    idempotency_key: str
    replayed: bool | None = None  # not known for items of an array

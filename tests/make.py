"""Rows and messages for tests."""

import itertools
from datetime import datetime
from typing import Any

from tidings.domain.notification import Notification, new_id
from tidings.messaging.envelope import Message
from tidings.pipeline.outgoing import message_for

_numbers = itertools.count()


def notification(now: datetime, **changes: Any) -> Notification:
    """A pending mail to a new recipient."""
    values: dict[str, Any] = {
        "id": new_id(now),
        "tenant": "acme",
        "channel": "email",
        "recipient": f"ada{next(_numbers)}@example.com",
        "content": '{"subject":"Shipped","text":"It is on its way."}',
        "created_at": now,
        "updated_at": now,
    }
    return Notification(**{**values, **changes})


def message(of: Notification, **changes: Any) -> Message:
    made = message_for(of)
    values = {"id": made.id, "channel": made.channel, "generation": made.generation, "attempt": made.attempt}
    return Message(**{**values, **changes})

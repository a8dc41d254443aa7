"""Examples of notifications, for the OpenAPI document. A test checks them against the models."""

from collections.abc import Mapping
from typing import Any

from tidings.api.endpoint import EXAMPLE_ID
from tidings.domain.channels import CHANNELS

CREATED, SENT_AT = "2026-11-22T21:03:22.595661Z", "2026-11-22T21:03:22.639273Z"
SUBMITTED: Mapping[str, Mapping[str, Any]] = {
    channel: {"channel": channel, **content.example} for channel, content in CHANNELS.items()
}
SMS = SUBMITTED["sms"]
ACCEPTED_BY = {"provider": "twilio", "provider_message_id": "SMb52550a612507487ab2a82f03286e074"}
WAITING = {
    "id": EXAMPLE_ID,
    "status": "pending",
    "channel": "sms",
    "recipient": SMS["recipient"],
    "priority": "normal",
    "on_ambiguous": "resend",
    "max_attempts": 10,
    "created_at": CREATED,
    "updated_at": SENT_AT,
    "generation": 1,
    "attempts": 0,
}
LISTED = {**WAITING, "status": "sent", "attempts": 1, **ACCEPTED_BY}
SENT = {
    **LISTED,
    "content": SMS["content"],
    "events": [
        {"status": "pending", "at": CREATED, "generation": 1, "attempt": 0},
        {"status": "sending", "at": "2026-11-22T21:03:22.633203Z", "generation": 1, "attempt": 1},
        {"status": "sent", "at": SENT_AT, "generation": 1, "attempt": 1, **ACCEPTED_BY},
    ],
}


def pages(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "with more to come": {"notifications": [item], "next_cursor": EXAMPLE_ID},
        "the last": {"notifications": []},
    }

"""Verify a webhook, as Standard Webhooks describes. It needs no connection.

::

    event = verify(body, headers, "whsec_...")      # raises InvalidWebhook
    if first_time(event.id):                        # each event may come more than once
        ...
"""

import hmac
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidings.client.errors import InvalidWebhook
from tidings.domain.webhook import read_secret, signature

TOLERANCE = 300.0
"""Seconds that the sender's clock and ours may differ. An older webhook may be a copy that someone sends again."""


@dataclass(frozen=True, kw_only=True)
class WebhookEvent:
    """A verified webhook, or an event of the feed. `id` is the same however often it comes."""

    id: str
    type: str
    timestamp: str
    data: Mapping[str, Any]

    @property
    def seq(self) -> int | None:
        """Of an event about a notification: its place in the feed."""
        found = self.data.get("seq")
        return found if isinstance(found, int) else None


def verify(
    body: bytes | str,
    headers: Mapping[str, str],
    *secrets: str,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> WebhookEvent:
    """`body`: exactly as it came, before any parsing. `headers`: their names in any case. `secrets`: one, or several
    while one is replaced. `now`: Unix time; None: the clock's. Raise InvalidWebhook, or ValueError for a malformed
    secret."""
    if not secrets:
        raise ValueError("give the secret")
    raw = body.encode() if isinstance(body, str) else bytes(body)
    given = {name.lower(): value for name, value in headers.items()}
    id, timestamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not id or not re.fullmatch(r"[0-9]{1,15}", timestamp):
        raise InvalidWebhook("webhook-id or webhook-timestamp is missing")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance:
        raise InvalidWebhook("its time is too old, or in the future")
    expected = signature([read_secret(secret) for secret in secrets], id, int(timestamp), raw).split(" ")
    presented = given.get("webhook-signature", "").split(" ")
    matches = [
        hmac.compare_digest(one.encode(), other.encode(errors="replace")) for one in expected for other in presented
    ]
    if not any(matches):
        raise InvalidWebhook("no signature matches the secret")
    return _event(id, raw)


def _event(id: str, body: bytes) -> WebhookEvent:
    try:
        document = json.loads(body)
        return WebhookEvent(
            id=id, type=str(document["type"]), timestamp=str(document["timestamp"]), data={**document["data"]}
        )
    except (ValueError, KeyError, TypeError):
        raise InvalidWebhook("it is signed, but is no event of Tidings") from None

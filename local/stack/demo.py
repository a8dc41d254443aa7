"""Send one notification per channel, and print their timelines."""

import json
import time
import urllib.request
from datetime import datetime
from typing import Any

from tidings.domain.channels import CHANNELS

from local.stack import no_proxy
from local.stack.stack import Stack

FIRST = [{"channel": channel, **content.example} for channel, content in CHANNELS.items()]
WITHIN = 30.0  # seconds
ENDS = ("sent", "delivered", "undelivered", "failed", "unknown", "suppressed", "canceled", "expired")
REPORTED = ("email", "sms", "push")  # their emulated providers report later, and the device's app: delivered


def show(stack: Stack) -> bool:
    """False if one was not sent in time, or not reported as delivered where the provider reports."""
    results = _call(stack, "/v1/notifications", FIRST)["results"]
    ends = [_ended(stack, result["id"]) for result in results]
    for notification in ends:
        _print(notification)
    return all(
        notification["status"] == ("delivered" if notification["channel"] in REPORTED else "sent")
        for notification in ends
    )


def _ended(stack: Stack, id: str) -> dict[str, Any]:
    deadline = time.monotonic() + WITHIN
    while True:
        notification: dict[str, Any] = _call(stack, f"/v1/notifications/{id}")
        waits = notification["status"] == "sent" and notification["channel"] in REPORTED
        if (notification["status"] in ENDS and not waits) or time.monotonic() > deadline:
            return notification
        time.sleep(0.05)


def _print(notification: dict[str, Any]) -> None:
    begun = datetime.fromisoformat(notification["created_at"])
    steps = []
    for event in notification["events"]:
        after = (datetime.fromisoformat(event["at"]) - begun).total_seconds()
        error = f" ({event['error']['code']})" if "error" in event else ""
        steps.append(f"{event['status']}{error} +{after * 1000:.0f} ms")
    print(f"  {notification['channel']:<8} {' -> '.join(steps)}   by {notification.get('provider', '?')}")


def _call(stack: Stack, path: str, body: object = None) -> Any:
    request = urllib.request.Request(
        stack.url + path,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"authorization": f"Bearer {stack.secrets.api_key}", "content-type": "application/json"},
    )
    with no_proxy.open_url(request, timeout=10) as answer:
        return json.load(answer)

"""A small client of the intake API, for applications that send notifications.

::

    from tidings.client import Client

    with Client(url="https://tidings.example.com", api_key=key) as tidings:
        accepted = tidings.send("sms", "+15005550010", {"text": "Order 4711 is on its way."})
        print(tidings.get(accepted.id).status)

Requests that fail on the way are retried. That cannot send twice: each notification has an idempotency key, made here
unless you give one, and the same in every try. Give your own (`order-4711-shipped`) if your program itself may run
again.
"""

from tidings.api.responses import NotificationView, Page
from tidings.client.client import Client
from tidings.client.drafts import Accepted, Draft
from tidings.client.errors import ClientError, InvalidWebhook, Refused, Unexpected, Unreachable
from tidings.client.webhooks import WebhookEvent, verify

__all__ = [
    "Accepted",
    "Client",
    "ClientError",
    "Draft",
    "InvalidWebhook",
    "NotificationView",
    "Page",
    "Refused",
    "Unexpected",
    "Unreachable",
    "WebhookEvent",
    "verify",
]

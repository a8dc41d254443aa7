"""A small client of the intake's API, for programs that hand notifications in.

::

    from tidings.client import Client

    with Client(url="https://tidings.example.com", api_key=key) as tidings:
        accepted = tidings.send("sms", "+15005550010", {"text": "Order 4711 is on its way."})
        print(tidings.get(accepted.id).status)

Whatever goes wrong on the way is tried again, and cannot double: each notification has an idempotency key, made here
unless you give one, and the same in every try. Give one of your own (`order-4711-shipped`) where your program may run
again itself: then that cannot double either.
"""

from tidings.api.responses import NotificationView, Page
from tidings.client.client import Client
from tidings.client.drafts import Accepted, Draft
from tidings.client.errors import ClientError, Refused, Unexpected, Unreachable

__all__ = [
    "Accepted",
    "Client",
    "ClientError",
    "Draft",
    "NotificationView",
    "Page",
    "Refused",
    "Unexpected",
    "Unreachable",
]

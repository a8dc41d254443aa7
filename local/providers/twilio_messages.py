"""How Twilio shows a message, and lists them. https://www.twilio.com/docs/messaging/api/message-resource"""

from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from local.providers.records import Received


def is_of(received: Received, request: Request) -> bool:
    return received.channel == "sms" and received.fields["account"] == request.path_params["account"]


def matches(received: Received, query: Mapping[str, str]) -> bool:
    """From, and DateSent as a day or as bounds (`DateSent<`, `DateSent>`); RFC 3339 times in UTC sort as text."""
    return (
        query.get("From") in (None, received.fields["from"])
        and received.at.startswith(query.get("DateSent", "")[:10])
        and received.at[:19] <= query.get("DateSent<", "9")
        and received.at[:19] >= query.get("DateSent>", "0")[:19]
    )


def page(request: Request, found: list[Received], *, number: int, size: int) -> dict[str, Any]:
    def uri(page: int) -> str:
        kept = [(key, value) for key, value in request.query_params.multi_items() if key not in ("Page", "PageSize")]
        return f"{request.url.path}?{urlencode([*kept, ('PageSize', size), ('Page', page)])}"

    start = number * size
    shown = found[start : start + size]
    return {
        "messages": [resource(received, status="delivered") for received in shown],
        "page": number,
        "page_size": size,
        "start": start,
        "end": start + max(len(shown) - 1, 0),
        "uri": uri(number),
        "first_page_uri": uri(0),
        "previous_page_uri": uri(number - 1) if number > 0 else None,
        "next_page_uri": uri(number + 1) if start + size < len(found) else None,
    }


def resource(received: Received, *, status: str) -> dict[str, Any]:
    sid, account, text = received.provider_message_id, received.fields["account"], received.fields["text"]
    at = format_datetime(datetime.fromisoformat(received.at))
    path = f"/2010-04-01/Accounts/{account}/Messages/{sid}"
    return {
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": text,
        "date_created": at,
        "date_sent": at if status == "delivered" else None,
        "date_updated": at,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": received.fields["from"],
        "messaging_service_sid": received.fields["parameters"].get("MessagingServiceSid"),
        "num_media": "0",
        "num_segments": str(segments(text)),
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": status,
        "subresource_uris": {"media": f"{path}/Media.json"},
        "to": received.recipient,
        "uri": f"{path}.json",
    }


def segments(text: str) -> int:
    """GSM-7 has 160 characters in one segment and 153 in each of many, UCS-2 70 and 67. Here ASCII counts as GSM-7."""
    alone, each = (160, 153) if text.isascii() else (70, 67)
    return 1 if len(text) <= alone else -(-len(text) // each)

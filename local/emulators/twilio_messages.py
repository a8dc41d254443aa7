"""Twilio's message resource and its list. https://www.twilio.com/docs/messaging/api/message-resource"""

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from local.emulators.records import Received


def is_of(received: Received, request: Request) -> bool:
    return received.channel == "sms" and received.fields["account"] == request.path_params["account"]


def matches(received: Received, query: Mapping[str, str]) -> bool:
    """The filters From, DateSent (a day), `DateSent<` and `DateSent>`. RFC 3339 times in UTC sort as text."""
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


def resource(received: Received, *, status: str, error: tuple[int, str] | None = None) -> dict[str, Any]:
    """`error`: code and text of a failed message."""
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
        "error_code": error[0] if error is not None else None,
        "error_message": error[1] if error is not None else None,
        "from": received.fields["from"],
        "messaging_service_sid": received.fields["parameters"].get("MessagingServiceSid"),
        "num_media": "0",
        "num_segments": str(segments(text) if status != "accepted" else 0),  # before a service has picked the sender
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": status,
        "subresource_uris": {"media": f"{path}/Media.json"},
        "to": received.recipient,
        "uri": f"{path}.json",
    }


# 3GPP TS 23.038, 6.2.1: characters of one place, and of two.
_BASIC = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ÄÖÑÜ§¿äöñüà"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WIDTH = {**dict.fromkeys(_BASIC + _LETTERS, 1), **dict.fromkeys("\f^{}\\[~]|€", 2)}


def units(text: str) -> int:
    """Places in GSM-7, or UTF-16 units if a character is not in it."""
    return sum(_widths(text))


def is_blank(text: str) -> bool:
    return all(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Zs") for character in text)


def segments(text: str) -> int:
    """GSM-7 has 160 places in a single segment and 153 in each of several, UCS-2 70 and 67. No character is split.

    https://www.twilio.com/docs/glossary/what-sms-character-limit
    """
    widths = _widths(text)
    alone, each = (160, 153) if set(text) <= _WIDTH.keys() else (70, 67)
    if sum(widths) <= alone:
        return 1
    count, room = 1, each
    for width in widths:
        if width > room:
            count, room = count + 1, each
        room -= width
    return count


def _widths(text: str) -> list[int]:
    if set(text) <= _WIDTH.keys():
        return [_WIDTH[character] for character in text]
    return [2 if character > "\uffff" else 1 for character in text]

"""Twilio and FCM in the sink: every message is accepted at once, with answers as long as the vendors'."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, cast

NUMBER = re.compile(rb"(?:Body=|\"title\": ?\")n(\d{8})")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")

TWILIO: dict[str, Any] = {
    "account_sid": "AC" + "0" * 32,
    "api_version": "2010-04-01",
    "body": "n00000000 Your order is on its way, and will be with you tomorrow.",
    "date_created": "Thu, 24 Aug 2023 05:01:45 +0000",
    "date_sent": None,
    "date_updated": "Thu, 24 Aug 2023 05:01:45 +0000",
    "direction": "outbound-api",
    "error_code": None,
    "error_message": None,
    "from": "+15005550006",
    "messaging_service_sid": None,
    "num_media": "0",
    "num_segments": "1",
    "price": None,
    "price_unit": "USD",
    "sid": "SM" + "0" * 32,
    "status": "queued",
    "subresource_uris": {"media": "/2010-04-01/Accounts/AC/Messages/SM/Media.json"},
    "to": "+15005550123",
    "uri": "/2010-04-01/Accounts/AC/Messages/SM.json",
}
FCM = {"name": "projects/tidings/messages/0:1500415314455276%31bd1c9631bd1c96"}


def _answer(status: bytes, content: dict[str, Any]) -> bytes:
    body = json.dumps(content).encode()
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


ANSWERS = {b"POST /2010-04-01/": _answer(b"201 CREATED", TWILIO), b"POST /v1/": _answer(b"200 OK", FCM)}


class Vendor(asyncio.Protocol):
    """One connection, one request at a time. `take` is told each message's number, and says how long to wait."""

    def __init__(self, take: Callable[[int], float]) -> None:
        self._take = take
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        length = LENGTH.search(self._received, 0, head + 2) if head >= 0 else None
        if length is None or len(self._received) - head - 4 < int(length[1]):
            return
        request, self._received = self._received, b""
        number = NUMBER.search(request, head)
        delay = self._take(int(number[1]) if number is not None else -1)
        answer = next(text for start, text in ANSWERS.items() if request.startswith(start))
        if delay:
            asyncio.get_running_loop().call_later(delay, self._transport.write, answer)
        else:
            self._transport.write(answer)

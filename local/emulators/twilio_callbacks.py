"""Twilio's status callbacks: signed reports about a message, after it was accepted.

https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from urllib.error import HTTPError, URLError
from urllib.parse import urldefrag, urlencode
from urllib.request import ProxyHandler, Request, build_opener

from local.emulators.records import Received

LATE = 3.0  # seconds
TRIES, PAUSE = 6, 1.0  # the message's address asks for five more: #rc=5&rp=all
ERRORS = {"undelivered": "30003", "failed": "30005"}

SEQUENCES: Mapping[str, Sequence[str]] = {
    "delivered": ("sent", "delivered"),
    "undelivered": ("sent", "undelivered"),
    "failed": ("failed",),
    "late": ("sent", "delivered"),
    "twice": ("sent", "sent", "delivered", "delivered"),
    "out_of_order": ("delivered", "sent"),
    "forged": ("delivered",),
    "never": (),
}


def sign(token: str, url: str, form: Mapping[str, str]) -> str:
    """https://www.twilio.com/docs/usage/security#validating-requests: up to the end of the query, without a fragment"""
    text = urldefrag(url).url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


class Callbacks:
    """Reports in the background, one after the other for each message."""

    def __init__(self) -> None:
        self._running = set[asyncio.Task[None]]()

    def report(self, received: Received, *, token: str, how: str = "delivered") -> None:
        """`token`: what the sender has logged in with. `how`: one of SEQUENCES."""
        url = received.fields["parameters"].get("StatusCallback")
        if url is not None:
            task = asyncio.create_task(self._report(received, url, token, how))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _report(self, received: Received, url: str, token: str, how: str) -> None:
        if how == "late":
            await asyncio.sleep(LATE)
        for status in SEQUENCES[how]:
            form = _form(received, status)
            signature = sign("a stranger's" if how == "forged" else token, url, form)
            for _ in range(TRIES):
                if await asyncio.to_thread(_post, url, form, signature):
                    break
                await asyncio.sleep(PAUSE)


def _form(received: Received, status: str) -> dict[str, str]:
    form = {
        "AccountSid": received.fields["account"],
        "ApiVersion": "2010-04-01",
        "From": received.fields["from"] or "",
        "MessageSid": received.provider_message_id,
        "MessageStatus": status,
        "SmsSid": received.provider_message_id,
        "SmsStatus": status,
        "To": received.recipient,
    }
    return {**form, "ErrorCode": ERRORS[status]} if status in ERRORS else form


def _post(url: str, form: Mapping[str, str], signature: str) -> bool:
    """False: to be tried again."""
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    request = Request(urldefrag(url).url, data=urlencode(form).encode(), headers=headers)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=15):
            return True
    except HTTPError as error:
        with error:
            return error.code == 401  # a forged one stays forged
    except (URLError, OSError):
        return False

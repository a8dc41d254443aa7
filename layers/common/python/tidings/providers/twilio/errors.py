"""What Twilio's answers mean. Only this module and its table, codes.py, decide."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import requests
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http.response import Response

from tidings.domain.errors import AmbiguousError, DeliveryError, PermanentError, TransientError
from tidings.providers.http import never_connected, retry_after
from tidings.providers.twilio.codes import verdict

NOT_SENT = frozenset(["failed", "undelivered", "canceled"])
"""https://www.twilio.com/docs/messaging/api/message-resource#message-status-values"""

_NUMBER = re.compile(r"\+?\d(?:[\s().-]*\d){5,}")
_CODE = re.compile(r"\d{1,6}", re.ASCII)


@contextmanager
def twilio_errors(recipient: str, sender: str, response: Callable[[], Response | None]) -> Iterator[None]:
    """Translate the SDK's errors to DeliveryError, without phone numbers in the text.

    `response`: the response to the last call, if there was one. The SDK's exceptions lack its headers.
    """
    try:
        yield
    except DeliveryError:
        raise
    except Exception as error:
        if (received := response()) is not None:
            raise _answered(error, received, recipient, sender) from None
        if never_connected(error) or not hasattr(error, "request_began"):
            raise unsent(error) from None
        if not isinstance(error, requests.RequestException):
            raise
        raise _unanswered(error) from None


def not_sent(status: str, code: object, text: object, recipient: str, sender: str) -> DeliveryError:
    """For a message that was created with a status which says that it will not arrive."""
    message = f"the message is {status}: {text or 'no reason given'}"
    return _judged(code, None, _masked(message, recipient), sender)


def _answered(error: Exception, answer: Response, recipient: str, sender: str) -> DeliveryError:
    if isinstance(error, TwilioRestException):
        return _refusal(answer, error.code, _masked(str(error.msg), recipient), sender)
    if isinstance(error, TwilioServiceException):  # Twilio's newer format (RFC 9457)
        return _refusal(answer, error.code, _masked(f"{error.title} {error.detail or ''}", recipient), sender)
    if isinstance(error, TwilioException) or not answer.ok:  # a refused list, which the SDK does not parse
        return _refusal(answer, _code_in(answer), "the list was refused", sender)
    return AmbiguousError("unreadable", "Twilio's answer is not a message")  # 2xx, but not the JSON of one


def _refusal(answer: Response, code: object, text: str, sender: str) -> DeliveryError:
    """By the code. If there is none, by the HTTP status."""
    status = int(answer.status_code)
    wait = retry_after(answer.headers.get("Retry-After"))
    return _judged(code, status, f"HTTP {status}: {text}", sender, wait)


def _judged(code: object, status: int | None, text: str, sender: str, wait: timedelta | None = None) -> DeliveryError:
    number = int(str(code)) if _CODE.fullmatch(str(code)) else None
    found = verdict(number, status, text=text, sender=sender)
    kind, shown = found.kind, str(number if number is not None else status or "failed")
    if issubclass(kind, PermanentError):
        return kind(shown, text, suppress=found.suppress)
    if issubclass(kind, TransientError):
        return kind(shown, text, retry_after=wait, may_be_account=found.may_be_account)
    return kind(shown, text, retry_after=wait)


def unsent(error: Exception) -> DeliveryError:
    """No byte of the request was written. Keep only the type, which tells TLS, a proxy or a bug of ours: the text may
    hold an address."""
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return TransientError("connect", f"no connection to Twilio ({type(error).__name__})")
    return TransientError("internal", f"unexpected {type(error).__name__}, before anything was sent")


def _unanswered(error: requests.RequestException) -> DeliveryError:
    if isinstance(error, requests.Timeout):
        return AmbiguousError("timeout", "Twilio did not answer in time")
    return AmbiguousError("connection_lost", "the connection to Twilio broke before the answer")


def _code_in(answer: Response) -> object:
    try:
        body = json.loads(answer.text)
    except ValueError:
        return None
    return body.get("code") if isinstance(body, dict) else None


def _masked(text: str, recipient: str) -> str:
    text = _NUMBER.sub("<number>", text.replace(recipient, "<number>"))
    return " ".join(text.split())[:200]

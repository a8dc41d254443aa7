"""What Twilio's answers mean: the only place that knows."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests
from tidings.errors import AccountError, AmbiguousError, DeliveryError, PermanentError, TransientError
from tidings.providers.http import never_connected, retry_after
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http.response import Response

# https://www.twilio.com/docs/api/errors. The POST is not idempotent: an error that does not refuse is ambiguous.
KINDS: dict[int, type[DeliveryError]] = {
    **dict.fromkeys((20429, 21611, 30001, 30003, 30008, 30500), TransientError),
    **dict.fromkeys((20500, 20503), AmbiguousError),
    **dict.fromkeys((21211, 21602, 21610, 21614, 30004, 30005, 30006, 30007), PermanentError),
    **dict.fromkeys((20003, 20005, 21408, 21606, 21608, 21612, 30002, 30034), AccountError),
}
OPTED_OUT = 21610

_NUMBER = re.compile(r"\+?\d(?:[\s().-]*\d){5,}")


@contextmanager
def twilio_errors(recipient: str, answer: Callable[[], Response]) -> Iterator[None]:
    """Turn what the SDK raises into a DeliveryError. Its text carries no number.

    `answer` gives the answer that an exception is about: the SDK's exceptions do not carry the headers.
    """
    try:
        yield
    except TwilioRestException as error:
        raise _refusal(answer(), error.code, _masked(str(error.msg), recipient)) from None
    except TwilioServiceException as error:  # the newer form of the same (RFC 9457)
        raise _refusal(answer(), error.code, _masked(f"{error.title} {error.detail or ''}", recipient)) from None
    except TwilioException:  # a list that was refused: the SDK does not look into it
        raise _refusal(answer(), None, "the list was refused") from None
    except requests.RequestException as error:
        raise _unanswered(error) from None
    except (ValueError, TypeError, AttributeError):  # 2xx, but not the JSON of a message
        raise AmbiguousError("unreadable", "Twilio's answer is not a message") from None


def _refusal(answer: Response, code: object, text: str) -> DeliveryError:
    """The code decides; where it says nothing, the HTTP status."""
    status = int(answer.status_code)
    number = int(str(code)) if str(code).isdecimal() else status
    message = f"HTTP {status}: {text}"
    kind = KINDS.get(number) or kind_of_status(status)
    if issubclass(kind, PermanentError):
        return kind(str(number), message, suppress="opted_out" if number == OPTED_OUT else None)
    return kind(str(number), message, retry_after=retry_after(answer.headers.get("Retry-After")))


def kind_of_status(status: int) -> type[DeliveryError]:
    if status == 429:
        return TransientError
    if status == 401:
        return AccountError
    if 400 <= status < 500:
        return PermanentError
    return AmbiguousError  # 5xx; or a redirect, which is not followed, and who knows what stood there


def _unanswered(error: requests.RequestException) -> DeliveryError:
    if never_connected(error):
        return TransientError("connect", "no connection to Twilio")
    if isinstance(error, requests.Timeout):
        return AmbiguousError("timeout", "Twilio did not answer in time")
    return AmbiguousError("connection_lost", "the connection to Twilio broke before the answer")


def _masked(text: str, recipient: str) -> str:
    text = _NUMBER.sub("<number>", text.replace(recipient, "<number>"))
    return " ".join(text.split())[:200]

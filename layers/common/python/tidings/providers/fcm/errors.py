"""What FCM's answers mean. Only this module decides.

FCM's codes: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
The status of the RPC: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import requests
from firebase_admin.exceptions import FirebaseError
from google.auth.exceptions import GoogleAuthError, RefreshError
from requests.exceptions import InvalidJSONError

from tidings.domain.errors import AccountError, AmbiguousError, DeliveryError, PermanentError, TransientError
from tidings.providers.http import never_connected, retry_after

KINDS: dict[str, type[DeliveryError]] = {
    # FCM's own.
    "UNREGISTERED": PermanentError,
    "INVALID_ARGUMENT": PermanentError,
    "SENDER_ID_MISMATCH": PermanentError,  # of this token. Not suppressed: with a wrong project every token gets it
    "THIRD_PARTY_AUTH_ERROR": TransientError,  # Apple or the browser's vendor refuses us: Android still works
    "APNS_AUTH_ERROR": TransientError,  # its older name
    "QUOTA_EXCEEDED": TransientError,
    "UNAVAILABLE": AmbiguousError,  # seen on messages that were delivered
    "INTERNAL": AmbiguousError,
    # The RPC's, where FCM's is missing.
    "UNAUTHENTICATED": AccountError,
    "PERMISSION_DENIED": AccountError,
    "NOT_FOUND": AccountError,  # without UNREGISTERED it is the project or the URL, not the token
    "UNIMPLEMENTED": AccountError,
    "RESOURCE_EXHAUSTED": TransientError,
    "ABORTED": TransientError,
    "CANCELLED": TransientError,
    "FAILED_PRECONDITION": TransientError,
    "OUT_OF_RANGE": TransientError,  # unlike INVALID_ARGUMENT, it may be temporary
    "ALREADY_EXISTS": AmbiguousError,
    "DEADLINE_EXCEEDED": AmbiguousError,  # also for calls that were completed
    "UNKNOWN": AmbiguousError,
    "DATA_LOSS": AmbiguousError,
}

MAY_BE_ACCOUNT = frozenset({"THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR", "FAILED_PRECONDITION"})
"""Depends on the recipient's platform or on the project: only other recipients can tell which."""

QUOTA = frozenset({"QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED", "429"})
QUOTA_WAIT = timedelta(minutes=1)
"""If FCM names no time: https://firebase.google.com/docs/cloud-messaging/scale-fcm#handling-retries"""

LONGEST_WAIT = 86_400  # seconds; as for a Retry-After

_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_DURATION = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?s")  # protobuf's JSON form
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def refused_or_unanswered(error: Exception, answer: requests.Response | None, target: str) -> DeliveryError:
    """The error of a POST that was begun. `target`, the token or topic, is masked in its text.

    If there is a response, it decides, whatever the SDK raised.
    """
    if answer is not None:
        return _refusal(answer, target)
    cause = error.cause if isinstance(error, FirebaseError) else error
    if not isinstance(cause, requests.RequestException):
        return AmbiguousError("internal", f"unexpected {type(cause).__name__} while the message was sent")
    if isinstance(cause, ValueError | InvalidJSONError):  # no request could be built
        return not_begun(cause, target)
    if never_connected(cause):
        return TransientError("connect", "no connection to FCM")
    if isinstance(cause, requests.Timeout):
        return AmbiguousError("timeout", "FCM did not answer in time")
    return AmbiguousError("connection_lost", "the connection to FCM broke before the answer")


def not_begun(error: Exception, target: str) -> DeliveryError:
    """The error before the POST: nothing can have been accepted."""
    if type(error) is ValueError:  # the SDK refuses the message
        return PermanentError("invalid", _masked(str(error), target))
    return TransientError("internal", f"unexpected {type(error).__name__} before the message was sent")


def unauthorized(error: Exception) -> DeliveryError:
    """The token exchange failed, before the message. Only an OAuth error code counts as a refusal."""
    if isinstance(error, RefreshError) and not error.retryable and len(error.args) > 1:
        reason = error.args[1].get("error") if isinstance(error.args[1], dict) else None
        if isinstance(reason, str) and _WORD.fullmatch(reason):
            return AccountError(reason, "no access token: the service account was refused")
    answered = isinstance(error, GoogleAuthError)
    why = "the token endpoint did not answer as it should" if answered else f"unexpected {type(error).__name__}"
    return TransientError("token_exchange", f"no access token: {why}")


def _refusal(response: requests.Response, target: str) -> DeliveryError:
    """By FCM's own code, then the status of the RPC, then the HTTP status."""
    status, error = response.status_code, _error_of(response)
    if status < 400:
        return AmbiguousError("unreadable", f"HTTP {status}: FCM's answer has no message's name")
    known = [_word(_fcm_code(error)), _word(error.get("status"))]
    code = next((word for word in known if word), str(status))
    kind = next((KINDS[word] for word in known if word in KINDS), None) or kind_of_status(status)
    if any(field == "parent" for field in _fields(error)):
        kind = AccountError  # the project, which is in the URL
    message = f"HTTP {status}: {_masked(str(error.get('message') or 'no reason given'), target)}"
    if kind is PermanentError:
        return PermanentError(code, message, suppress="token_dead" if _token_is_dead(code, error) else None)
    wait = _wait(response, error)
    if wait is None and code in QUOTA:
        wait = QUOTA_WAIT
    if kind is TransientError:
        may_be_account = code in MAY_BE_ACCOUNT or (not any(known) and status not in _PASSING)
        return TransientError(code, message, retry_after=wait, may_be_account=may_be_account)
    return kind(code, message, retry_after=wait)


_PASSING = frozenset({408, 409, 425, 429, 499})  # RFC 9110, RFC 8470, RFC 6585, and google.rpc for 499
_REFUSES_US = frozenset({401, 403, 404, 405, 407, 501})  # URL, method, credentials, proxy: for every recipient
_TOO_LARGE = frozenset({413, 414, 431})


def kind_of_status(status: int) -> type[DeliveryError]:
    """For a response without a Google code, probably from a proxy."""
    if status in _REFUSES_US:
        return AccountError
    if status in _TOO_LARGE:
        return PermanentError
    return TransientError if 400 <= status < 500 else AmbiguousError


def _wait(response: requests.Response, error: dict[str, Any]) -> timedelta | None:
    if (told := retry_after(response.headers.get("Retry-After"))) is not None:
        return told
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if detail.get("@type") == _RETRY_INFO and isinstance(delay, str) and _DURATION.fullmatch(delay):
            return timedelta(seconds=min(float(delay[:-1]), LONGEST_WAIT))
    return None


# --- Google's error object, of which nothing is certain ---------------------------------------------------------------


def _error_of(response: requests.Response) -> dict[str, Any]:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {}


def _details(error: dict[str, Any]) -> list[dict[str, Any]]:
    details = error.get("details")
    return [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []


def _fcm_code(error: dict[str, Any]) -> object:
    return next((one.get("errorCode") for one in _details(error) if one.get("@type") == _FCM_ERROR), None)


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def _fields(error: dict[str, Any]) -> Iterator[object]:
    """The fields that a BadRequest names."""
    for detail in _details(error):
        violations = detail.get("fieldViolations")
        for one in violations if isinstance(violations, list) else ():
            if isinstance(one, dict):
                yield one.get("field")


def _token_is_dead(code: str, error: dict[str, Any]) -> bool:
    """UNREGISTERED always. INVALID_ARGUMENT only if it names the token: it may be the message."""
    if code == "UNREGISTERED":
        return True
    named = "message.token" in _fields(error) or "not a valid FCM registration token" in str(error.get("message"))
    return code == "INVALID_ARGUMENT" and named


def _masked(text: str, target: str) -> str:
    return " ".join(text.replace(target, "<recipient>").split())[:200]

"""What FCM's answers mean: the only place that knows.

Codes: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode and, for the rest, google.rpc.Code
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import requests
from firebase_admin.exceptions import FirebaseError
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from tidings.errors import AccountError, AmbiguousError, DeliveryError, PermanentError, TransientError
from tidings.providers.http import never_connected, retry_after

KINDS: dict[str, type[DeliveryError]] = {
    "UNREGISTERED": PermanentError,
    "INVALID_ARGUMENT": PermanentError,
    "SENDER_ID_MISMATCH": AccountError,
    "THIRD_PARTY_AUTH_ERROR": AccountError,
    "APNS_AUTH_ERROR": AccountError,
    "UNAUTHENTICATED": AccountError,
    "PERMISSION_DENIED": AccountError,
    "QUOTA_EXCEEDED": TransientError,
    "RESOURCE_EXHAUSTED": TransientError,
    "UNAVAILABLE": AmbiguousError,  # has been seen on messages that were delivered
    "INTERNAL": AmbiguousError,
}

QUOTA_WAIT = timedelta(minutes=1)
"""At least: https://firebase.google.com/docs/cloud-messaging/scale-fcm#handling-retries"""

_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


@contextmanager
def fcm_errors(target: str) -> Iterator[None]:
    """Turn what the SDK raises into a DeliveryError. `target`, the token or topic, is kept out of its text."""
    try:
        yield
    except FirebaseError as error:
        if error.http_response is not None:
            raise _refusal(error.http_response, target) from None
        raise _unanswered(error.cause) from None
    except GoogleAuthError as error:
        raise _unauthorized(error) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _stumbled(error, target) from None


def _stumbled(error: Exception, target: str) -> DeliveryError:
    """The SDK's own code failed: over an answer that is not as Google writes it, or over the message."""
    cause = error.__context__
    if isinstance(cause, requests.RequestException) and cause.response is not None:
        return _refusal(cause.response, target)  # a gateway's error page: the status still speaks
    if isinstance(error, ValueError):  # raised while encoding, before the POST
        return PermanentError("invalid", _masked(str(error), target))
    return AmbiguousError("unreadable", "FCM's answer is not a message")  # 200, but without a name


def _refusal(response: requests.Response, target: str) -> DeliveryError:
    """FCM's own code decides, then the status of the RPC, then that of HTTP."""
    status, error = response.status_code, _error_of(response)
    code = _fcm_code(error) or error.get("status") or str(status)
    message = f"HTTP {status}: {_masked(str(error.get('message') or 'no reason given'), target)}"
    wish = retry_after(response.headers.get("Retry-After"))
    kind = KINDS.get(code) or kind_of_status(status)
    if issubclass(kind, PermanentError):
        return kind(code, message, suppress="token_dead" if _token_is_dead(code, error) else None)
    if issubclass(kind, TransientError):
        wish = max(QUOTA_WAIT, wish or QUOTA_WAIT)
    return kind(code, message, retry_after=wish)


def kind_of_status(status: int) -> type[DeliveryError]:
    if status == 429:
        return TransientError
    if status in (401, 403, 404):  # 404 without UNREGISTERED: a wrong project or address, so no token is to blame
        return AccountError
    if 400 <= status < 500:
        return PermanentError
    return AmbiguousError


def _error_of(response: requests.Response) -> dict[str, Any]:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _details(error: dict[str, Any]) -> list[dict[str, Any]]:
    details = error.get("details")
    return [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []


def _fcm_code(error: dict[str, Any]) -> str | None:
    return next((str(one.get("errorCode")) for one in _details(error) if one.get("@type") == _FCM_ERROR), None)


def _token_is_dead(code: str, error: dict[str, Any]) -> bool:
    """UNREGISTERED always; INVALID_ARGUMENT only where it names the token, for it may as well be the message."""
    if code == "UNREGISTERED":
        return True
    violations = [one for detail in _details(error) for one in detail.get("fieldViolations") or []]
    named = any(isinstance(one, dict) and one.get("field") == "message.token" for one in violations)
    return code == "INVALID_ARGUMENT" and (named or "not a valid FCM registration token" in str(error.get("message")))


def _unauthorized(error: GoogleAuthError) -> DeliveryError:
    """The token exchange failed, which comes before the message."""
    if isinstance(error, TransportError) or error.retryable:
        return TransientError("token_exchange", "no access token: the token endpoint did not answer as it should")
    details = error.args[1] if isinstance(error, RefreshError) and len(error.args) > 1 else None
    reason = str(details.get("error") or "refused") if isinstance(details, dict) else "refused"
    return AccountError(reason[:64], "no access token: the service account was refused")


def _unanswered(cause: object) -> DeliveryError:
    if never_connected(cause):
        return TransientError("connect", "no connection to FCM")
    if isinstance(cause, requests.Timeout):
        return AmbiguousError("timeout", "FCM did not answer in time")
    return AmbiguousError("connection_lost", "the connection to FCM broke before the answer")


def _masked(text: str, target: str) -> str:
    return " ".join(text.replace(target, "<recipient>").split())[:200]

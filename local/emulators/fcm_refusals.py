"""FCM's error answers: Google's error JSON.

https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode and google.rpc.Code
"""

from collections.abc import Mapping
from typing import Any

from local.emulators.http_provider import Refusal

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"

STATUS = {  # Google's name for an HTTP status
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
ERROR_CODES = {  # FCM's own code for an HTTP status; other statuses have only Google's name
    400: "INVALID_ARGUMENT",
    403: "SENDER_ID_MISMATCH",
    404: "UNREGISTERED",
    429: "QUOTA_EXCEEDED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
MESSAGES = {
    "INTERNAL": "Internal error encountered.",
    "QUOTA_EXCEEDED": "Quota exceeded for quota metric 'Send messages' of service 'fcm.googleapis.com'.",
    "SENDER_ID_MISMATCH": "SenderId mismatch",
    "THIRD_PARTY_AUTH_ERROR": "Auth error from APNS or Web Push Service",
    "UNAUTHENTICATED": (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
    ),
    "UNAVAILABLE": "The service is currently unavailable.",
    "UNREGISTERED": "Requested entity was not found.",
}


def refusal(
    status: int,
    code: str,
    message: str | None = None,
    *,
    details: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """`code`: FCM's own, or Google's name if the request was refused before FCM saw it."""
    by_fcm = code not in STATUS.values() or code in ERROR_CODES.values()
    error = {
        "code": status,
        "message": message or MESSAGES.get(code, "Failure on demand"),
        "status": code if code in STATUS.values() else STATUS.get(status, "UNKNOWN"),
        "details": ([{"@type": FCM_ERROR, "errorCode": code}] if by_fcm else []) + (details or []),
    }
    return Refusal(status=status, code=code, body={"error": error}, headers=headers or {})


def on_demand(status: int, code: str | None, message: str | None, wait: int | None, *, in_body: bool) -> Refusal:
    """`wait`: seconds, in a Retry-After header, or with `in_body` as a RetryInfo."""
    details = [{"@type": RETRY_INFO, "retryDelay": f"{wait}s"}] if wait is not None and in_body else []
    headers = {"Retry-After": str(wait)} if wait is not None and not in_body else {}
    code = code or ERROR_CODES.get(status) or STATUS.get(status) or "UNSPECIFIED_ERROR"
    return refusal(status, code, message, details=details, headers=headers)


def invalid(field: str, message: str) -> Refusal:
    violation = {"@type": BAD_REQUEST, "fieldViolations": [{"field": field, "description": message}]}
    return refusal(400, "INVALID_ARGUMENT", message, details=[violation])

"""Firebase Cloud Messaging, HTTP v1: messages:send.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.providers.failures import Rule
from local.providers.oauth import TokenExchange
from local.providers.records import Received
from local.providers.vendor import Reception, Refusal

MAX_PAYLOAD = 4096  # bytes of notification and data together
DEVICES = ("fid", "token")  # a Firebase installation ID, or the registration token that it is to replace
TARGETS = (*DEVICES, "topic", "condition")
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"

STATUS = {  # Google's name for an HTTP status
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
ERROR_CODES = {  # https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
    400: "INVALID_ARGUMENT",
    401: "THIRD_PARTY_AUTH_ERROR",
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
    """Google's error JSON; UNAUTHENTICATED is the front door's, before FCM has an error code of its own."""
    fcm_error = [] if code == "UNAUTHENTICATED" else [{"@type": FCM_ERROR, "errorCode": code}]
    error = {
        "code": status,
        "message": message or MESSAGES.get(code, "Failure on demand"),
        "status": STATUS.get(status, "UNKNOWN"),
        "details": fcm_error + (details or []),
    }
    return Refusal(status=status, code=code, body={"error": error}, headers=headers or {})


def invalid(field: str, message: str) -> Refusal:
    violation = {"@type": BAD_REQUEST, "fieldViolations": [{"field": field, "description": message}]}
    return refusal(400, "INVALID_ARGUMENT", message, details=[violation])


@dataclass(frozen=True, kw_only=True)
class PushSending:
    """POST .../messages:send"""

    project: str
    body: dict[str, Any]
    authenticated: bool
    channel: str = "push"

    @property
    def message(self) -> dict[str, Any]:
        message = self.body.get("message")
        return message if isinstance(message, dict) else {}

    @property
    def recipient(self) -> str | None:
        """The installation ID or token itself, or `topic:NAME`, or `condition:…`."""
        for target in TARGETS:
            if isinstance(value := self.message.get(target), str):
                return value if target in DEVICES else f"{target}:{value}"
        return None

    @property
    def summary(self) -> dict[str, Any]:
        notification = self.message.get("notification")
        shown = notification if isinstance(notification, dict) else {}
        return {"title": shown.get("title"), "body": shown.get("body")}

    def unauthenticated(self) -> Refusal | None:
        if self.authenticated:
            return None
        message = (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            "valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
        )
        return refusal(401, "UNAUTHENTICATED", message)

    def problem(self) -> Refusal | None:
        message = self.message
        if not message:
            return invalid("message", "message is missing or not an object")
        targets = [target for target in TARGETS if message.get(target)]
        if len(targets) != 1 or self.recipient is None:
            return invalid("message", "Exactly one of fid, token, topic or condition is required")
        return _malformed(message) or (_dead(targets[0], message[targets[0]]) if targets[0] in DEVICES else None)

    def failed(self, rule: Rule, status: int) -> Refusal:
        code = rule.code or ERROR_CODES.get(status, "UNSPECIFIED_ERROR")
        headers = {"Retry-After": str(rule.retry_after)} if rule.retry_after is not None else {}
        return refusal(status, code, rule.message, headers=headers)

    def received(self) -> Received:
        message = self.message
        ident = secrets.token_hex(8) if self.keeps() else "fake_message_id"
        return Received(
            channel="push",
            recipient=self.recipient or "",
            provider_message_id=f"projects/{self.project}/messages/{ident}",
            fields={**self.summary, "data": message.get("data", {}), "message": message},
        )

    def keeps(self) -> bool:
        return self.body.get("validate_only") is not True

    def answer(self, received: Received) -> Response:
        return JSONResponse({"name": received.provider_message_id})


class Fcm:
    """The endpoint."""

    def __init__(self, *, reception: Reception, tokens: TokenExchange) -> None:
        self._reception = reception
        self._tokens = tokens

    def routes(self) -> list[Route]:
        return [Route("/v1/projects/{project}/messages:send", self.send, methods=["POST"])]

    async def send(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            body = None
        return await self._reception.take(
            PushSending(
                project=request.path_params["project"],
                body=body if isinstance(body, dict) else {},
                authenticated=scheme.lower() == "bearer" and self._tokens.holds(token),
            )
        )


def _malformed(message: dict[str, Any]) -> Refusal | None:
    data, notification = message.get("data", {}), message.get("notification", {})
    if not isinstance(data, dict):
        return invalid("message.data", "Invalid value at 'message.data' (Map)")
    for number, value in enumerate(data.values()):
        if not isinstance(value, str):
            place = f"message.data[{number}].value"
            return invalid(place, f"Invalid value at '{place}' (TYPE_STRING), {json.dumps(value)}")
    if not isinstance(notification, dict):
        return invalid("message.notification", "Invalid value at 'message.notification' (Notification)")
    size = len(json.dumps([notification, data], ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
    if size - len("[{},{}]") > MAX_PAYLOAD:
        return invalid("message", f"Message is too big: {size} bytes, at most {MAX_PAYLOAD}")
    return None


def _dead(target: str, token: str) -> Refusal | None:
    """Tokens and installation IDs that begin with one of these words are refused."""
    if token.startswith("unregistered"):
        return refusal(404, "UNREGISTERED")
    if token.startswith("mismatch"):
        return refusal(403, "SENDER_ID_MISMATCH")
    if token.startswith("invalid"):
        return invalid(f"message.{target}", "The registration token is not a valid FCM registration token")
    return None

"""Firebase Cloud Messaging, HTTP v1: messages:send.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send
"""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.emulators.acknowledgements import Acknowledgements
from local.emulators.failures import Rule
from local.emulators.fcm_checks import dead, malformed
from local.emulators.fcm_refusals import invalid, on_demand, refusal
from local.emulators.http_provider import Refusal, SendHandler
from local.emulators.oauth import TokenExchange
from local.emulators.records import Received

DEVICES = ("fid", "token")  # a Firebase installation ID, or the registration token that it is to replace
TARGETS = (*DEVICES, "topic", "condition")


@dataclass(frozen=True, kw_only=True)
class PushRequest:
    """POST .../messages:send"""

    project: str
    body: dict[str, Any]
    authenticated: bool
    app: Acknowledgements
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

    @property
    def _delivery(self) -> dict[str, Any]:
        """Priority and collapse ID."""
        headers = self.message.get("apns", {}).get("headers", {})
        return {
            "priority": self.message.get("android", {}).get("priority"),
            "collapse_id": headers.get("apns-collapse-id"),
        }

    def unauthenticated(self) -> Refusal | None:
        return None if self.authenticated else refusal(401, "UNAUTHENTICATED")

    def problem(self) -> Refusal | None:
        message = self.message
        if not message:
            return invalid("message", "message is missing or not an object")
        targets = [target for target in TARGETS if message.get(target)]
        if len(targets) != 1 or self.recipient is None:
            return invalid("message", "Exactly one of fid, token, topic or condition is required")
        return malformed(message) or (dead(targets[0], message[targets[0]]) if targets[0] in DEVICES else None)

    def failed(self, rule: Rule, status: int) -> Refusal:
        return on_demand(status, rule.code, rule.message, rule.retry_after, in_body=rule.retry_info)

    def received(self) -> Received:
        message = self.message
        ident = secrets.token_hex(8) if self.keeps() else "fake_message_id"
        return Received(
            channel="push",
            recipient=self.recipient or "",
            provider_message_id=f"projects/{self.project}/messages/{ident}",
            fields={**self.summary, "data": message.get("data", {}), **self._delivery, "message": message},
        )

    def keeps(self) -> bool:
        return self.body.get("validate_only") is not True

    def answer(self, received: Received) -> Response:
        return JSONResponse({"name": received.provider_message_id})

    def report(self, received: Received, rule: Rule | None) -> None:
        """FCM reports nothing per message; the app does. Not one that shares a topic with others."""
        if rule is None or rule.receipts != "never":
            self.app.acknowledge(received)


class Fcm:
    """The HTTP endpoint."""

    def __init__(self, *, handler: SendHandler, tokens: TokenExchange) -> None:
        self._handler = handler
        self._tokens = tokens
        self._app = Acknowledgements()

    def routes(self) -> list[Route]:
        return [Route("/v1/projects/{project}/messages:send", self.send, methods=["POST"])]

    async def send(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            body = None
        return await self._handler.handle(
            PushRequest(
                project=request.path_params["project"],
                body=body if isinstance(body, dict) else {},
                app=self._app,
                authenticated=scheme.lower() == "bearer" and self._tokens.is_valid(token),
            )
        )

"""A receiver of webhooks: it takes every POST that has a `webhook-id`, for any host and path.

It knows no secret, so it verifies no signature: the inbox shows the headers, and `tidings.client.verify` does it.
"""

import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.emulators.failures import Rule
from local.emulators.http_provider import Refusal, SendHandler
from local.emulators.records import Received

SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")


@dataclass(frozen=True, kw_only=True)
class WebhookRequest:
    """A POST of any path."""

    url: str
    headers: dict[str, str]
    body: str
    channel: str = "webhook"

    @property
    def recipient(self) -> str | None:
        return self.url

    @property
    def event(self) -> dict[str, Any]:
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def summary(self) -> dict[str, Any]:
        return {"title": self.event.get("type"), "webhook_id": self.headers["webhook-id"]}

    def unauthenticated(self) -> Refusal | None:
        return None

    def problem(self) -> Refusal | None:
        return None if self.event else Refusal(status=400, code="400", body={"error": "the body is no JSON object"})

    def failed(self, rule: Rule, status: int) -> Refusal:
        retry = {"retry-after": str(rule.retry_after)} if rule.retry_after is not None else {}
        return Refusal(status=status, code=str(status), body={"error": rule.message or "on demand"}, headers=retry)

    def received(self) -> Received:
        text = json.dumps(self.event.get("data"), ensure_ascii=False)
        return Received(
            channel="webhook",
            recipient=self.url,
            provider_message_id=self.headers["webhook-id"],
            fields={**self.summary, "text": text, "body": self.body, "headers": self.headers},
        )

    def keeps(self) -> bool:
        return True

    def answer(self, received: Received) -> Response:
        return JSONResponse({})

    def report(self, received: Received, rule: Rule | None) -> None:
        """A receiver reports nothing."""


class Webhooks:
    """The endpoint, the last of all routes."""

    def __init__(self, *, handler: SendHandler) -> None:
        self._handler = handler

    def routes(self) -> list[Route]:
        return [Route("/{path:path}", self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        if not request.headers.get("webhook-id"):
            return JSONResponse({"error": "Not Found"}, 404)
        query = f"?{request.url.query}" if request.url.query else ""
        return await self._handler.handle(
            WebhookRequest(
                url=f"https://{request.headers.get('host', '')}{request.url.path}{query}",
                headers={name: request.headers.get(name, "") for name in SIGNED},
                body=(await request.body()).decode(errors="replace"),
            )
        )

"""Twilio's Messages API, 2010-04-01: create, fetch and list. https://www.twilio.com/docs/messaging/api/message-resource"""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.emulators.failures import Rule
from local.emulators.http_provider import Refusal, SendHandler
from local.emulators.records import Inbox, Received
from local.emulators.twilio_callbacks import Callbacks
from local.emulators.twilio_messages import is_blank, is_of, matches, page, resource, units

MAX_BODY = 1600  # GSM-7 places or UTF-16 units: https://www.twilio.com/docs/api/errors/21617
SENDER = r"\+[1-9]\d{1,14}|\d{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 &_+-]{1,11}"

# Magic numbers and what they provoke: https://www.twilio.com/docs/iam/test-credentials#magic-input
TO = {
    "+15005550001": (21211, "Invalid 'To' Phone Number: +1500555XXXX"),
    "+15005550002": (21612, "The 'To' phone number: +15005550002, is not currently reachable using the 'From' number"),
    "+15005550003": (
        21408,
        "Permission to send an SMS has not been enabled for the region indicated by the 'To' number",
    ),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "'To' number is not a valid mobile number"),
}
FROM = {
    "+15005550001": (21212, "The 'From' number +15005550001 is not a valid phone number or short code"),
    "+15005550007": (21606, "The 'From' phone number +15005550007 is not a valid, SMS-capable Twilio number"),
    "+15005550008": (21611, "This 'From' number has exceeded the maximum number of queued messages"),
}
CODES = {400: 20001, 401: 20003, 403: 20403, 404: 20404, 409: 20409, 429: 20429, 500: 20500, 503: 20503}
MESSAGES = {
    20003: "Authentication Error - invalid username",
    20403: "Forbidden",
    20404: "The requested resource was not found",
    63038: "Account exceeded the 500 daily messages limit",
    20429: "Too Many Requests",
    20500: "Internal Server Error",
    20503: "Service Unavailable",
}


def refusal(code: int, message: str, *, status: int = 400, headers: Mapping[str, str] | None = None) -> Refusal:
    body = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return Refusal(status=status, code=str(code), body=body, headers=headers or {})


@dataclass(frozen=True, kw_only=True)
class MessageRequest:
    """POST .../Messages.json"""

    account: str
    form: dict[str, str]
    denied: Refusal | None
    callbacks: Callbacks
    token: str  # what it has logged in with
    channel: str = "sms"

    @property
    def recipient(self) -> str | None:
        return self.form.get("To")

    @property
    def summary(self) -> dict[str, Any]:
        return {"from": self.form.get("From"), "text": self.form.get("Body", "")[:MAX_BODY]}

    def unauthenticated(self) -> Refusal | None:
        return self.denied

    def problem(self) -> Refusal | None:
        to, sender, text = self.form.get("To"), self.form.get("From"), self.form.get("Body")
        if not to:
            return refusal(21604, "A 'To' phone number is required.")
        if not sender and not self.form.get("MessagingServiceSid"):
            return refusal(21603, "A 'From' phone number is required.")
        if is_blank(text or ""):
            return refusal(21602 if sender else 21619, "Message body is required.")
        if units(text or "") > MAX_BODY:
            return refusal(21617, f"The concatenated message body exceeds the {MAX_BODY} character limit.")
        return self._wrong_sender(sender) or self._wrong_recipient(to, sender)

    def _wrong_sender(self, sender: str | None) -> Refusal | None:
        if sender in FROM:
            code, message = FROM[sender]
            return refusal(code, message, status=429 if code == 21611 else 400)
        if sender and not re.fullmatch(SENDER, sender, re.ASCII):
            return refusal(21212, f"Invalid From Number (caller ID): {sender}")
        service = self.form.get("MessagingServiceSid")
        if service and not re.fullmatch("MG[0-9a-fA-F]{32}", service):
            return refusal(21705, f"The Messaging Service Sid {service} is invalid.")
        return None

    def _wrong_recipient(self, to: str, sender: str | None) -> Refusal | None:
        if to in TO:
            return refusal(*TO[to])
        if re.fullmatch(r"\d{3,8}", to, re.ASCII):
            return refusal(21265, "'To' number cannot be a Short Code")
        if not re.fullmatch(r"\+[1-9]\d{1,14}", to, re.ASCII):
            return refusal(21211, f"Invalid 'To' Phone Number: {to}")
        if to == sender:
            return refusal(21266, "'To' and 'From' numbers cannot be the same")
        return None

    def failed(self, rule: Rule, status: int) -> Refusal:
        code = int(rule.code) if rule.code is not None and rule.code.isdigit() else CODES.get(status, 20000)
        headers = {"Retry-After": str(rule.retry_after)} if rule.retry_after is not None else {}
        message = rule.message or MESSAGES.get(code, "Failure on demand")
        if rule.created is not None:
            return self.problem() or self._created(rule, code, message)
        return refusal(code, message, status=status, headers=headers)

    def _created(self, rule: Rule, code: int, message: str) -> Refusal:
        """HTTP 201 with a message that has already failed. Its code is null unless the rule has one."""
        error = (code, message) if rule.code is not None else None
        body = resource(self.received(), status=str(rule.created), error=error)
        return Refusal(status=201, code=str(rule.code or rule.created), body=body)

    def received(self) -> Received:
        form = dict(self.form)
        to, sender, text = form.pop("To"), form.pop("From", None), form.pop("Body")
        return Received(
            channel="sms",
            recipient=to,
            provider_message_id=f"SM{secrets.token_hex(16)}",
            fields={"from": sender, "text": text, "account": self.account, "parameters": form},
        )

    def keeps(self) -> bool:
        return True

    def answer(self, received: Received) -> Response:
        first = "queued" if received.fields["from"] else "accepted"  # a messaging service picks the sender later
        return JSONResponse(resource(received, status=first), 201)

    def report(self, received: Received, rule: Rule | None) -> None:
        how = rule.receipts if rule is not None and rule.receipts is not None else "delivered"
        self.callbacks.report(received, token=self.token, how=how)


class Twilio:
    """The four HTTP endpoints."""

    def __init__(self, *, handler: SendHandler, login: tuple[str, str] | None) -> None:
        self._handler = handler
        self._login = login
        self._callbacks = Callbacks()

    def routes(self) -> list[Route]:
        account = "/2010-04-01/Accounts/{account}"
        messages = f"{account}/Messages"
        return [
            Route(f"{account}.json", self.account, methods=["GET"]),
            Route(f"{messages}.json", self.create, methods=["POST"]),
            Route(f"{messages}.json", self.list, methods=["GET"]),
            Route(f"{messages}/{{sid}}.json", self.fetch, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        body = (await request.body()).decode("utf-8", "replace")
        return await self._handler.handle(
            MessageRequest(
                account=request.path_params["account"],
                form=dict(parse_qsl(body)),
                denied=self._denied(request),
                callbacks=self._callbacks,
                token=_login_of(request)[1],
            )
        )

    async def account(self, request: Request) -> Response:
        """https://www.twilio.com/docs/iam/api/account#fetch-an-account-resource"""
        if (denied := self._denied(request)) is not None:
            return denied.response()
        return JSONResponse({"sid": request.path_params["account"], "status": "active", "type": "Full"})

    async def fetch(self, request: Request) -> Response:
        if (denied := self._denied(request)) is not None:
            return denied.response()
        received = self._inbox.by_id(request.path_params["sid"])
        if received is None or not is_of(received, request):
            return refusal(20404, f"The requested resource {request.url.path} was not found", status=404).response()
        return JSONResponse(resource(received, status="delivered"))

    async def list(self, request: Request) -> Response:
        if (denied := self._denied(request)) is not None:
            return denied.response()
        try:
            number, size = int(request.query_params.get("Page", "0")), int(request.query_params.get("PageSize", "50"))
        except ValueError:
            return refusal(20001, "Page and PageSize must be numbers").response()
        size = max(1, min(size, 1000))
        found = [
            received
            for received in self._inbox.newest_first("sms", request.query_params.get("To"))
            if is_of(received, request) and matches(received, request.query_params)
        ]
        return JSONResponse(page(request, found, number=number, size=size))

    @property
    def _inbox(self) -> Inbox:
        return self._handler.ledger.inbox

    def _denied(self, request: Request) -> Refusal | None:
        given = _login_of(request)
        if all(given) and self._login in (None, given):
            return None
        return refusal(20003, MESSAGES[20003], status=401)


def _login_of(request: Request) -> tuple[str, str]:
    """Empty if there is none."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    try:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (user, password) if scheme.lower() == "basic" else ("", "")

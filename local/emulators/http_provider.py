"""Handling of a send request, the same for each emulated HTTP provider.

authentication -> failure on demand -> the vendor's checks -> accept -> (delay) -> answer, or disconnect
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.responses import JSONResponse, Response

from local.emulators.connection import HungUp
from local.emulators.failures import Failures, Rule
from local.emulators.ledger import Ledger, accepted_outcome
from local.emulators.records import Call, Outcome, Received


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """An error answer. `code` is the vendor's, for the call log."""

    status: int
    code: str
    body: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        return JSONResponse(self.body, self.status, headers=self.headers)


class VendorRequest(Protocol):
    """A vendor's request to send one message."""

    @property
    def channel(self) -> str: ...

    @property
    def recipient(self) -> str | None: ...

    @property
    def summary(self) -> dict[str, Any]:
        """Its fields in the call log."""

    def unauthenticated(self) -> Refusal | None: ...

    def problem(self) -> Refusal | None: ...

    def failed(self, rule: Rule, status: int) -> Refusal:
        """The vendor's answer for a failure on demand."""

    def received(self) -> Received: ...

    def keeps(self) -> bool:
        """Whether the message goes to its recipient; False for a dry run."""

    def answer(self, received: Received) -> Response: ...

    def report(self, received: Received, rule: Rule | None) -> None:
        """Begin what the vendor reports later about a message that goes to its recipient."""


@dataclass(frozen=True, kw_only=True)
class SendHandler:
    """Handles each request, and logs how it ended."""

    ledger: Ledger
    failures: Failures

    async def handle(self, request: VendorRequest) -> Response:
        with self.ledger.calls.under_way(request.channel):
            return await self._handle(request)

    async def _handle(self, request: VendorRequest) -> Response:
        if (refusal := request.unauthenticated()) is not None:
            return self._refuse(request, refusal)
        rule = self.failures.take(request.channel, [request.recipient or ""])
        if rule is not None and (status := 201 if rule.created is not None else rule.status) is not None:
            response = self._refuse(request, request.failed(rule, status))
            await self.failures.pause(rule)
            return response
        if rule is not None and rule.drop == "before_accept":
            self.ledger.add_call(self._call(request, Outcome.DROPPED_BEFORE_ACCEPT, status=0))
            await self.failures.pause(rule)
            return HungUp()
        if (refusal := request.problem()) is not None:
            return self._refuse(request, refusal)
        return await self._accept(request, rule)

    async def _accept(self, request: VendorRequest, rule: Rule | None) -> Response:
        received = request.received()
        drop = rule.drop if rule is not None else None
        response = request.answer(received)
        call = self._call(
            request, accepted_outcome(drop), status=response.status_code, message_id=received.provider_message_id
        )
        if request.keeps():
            self.ledger.accept(received, call)
            request.report(received, rule)
        else:
            self.ledger.add_call(call)
        await self.failures.pause(rule)
        return response if drop is None else HungUp()

    def _refuse(self, request: VendorRequest, refusal: Refusal) -> Response:
        self.ledger.add_call(self._call(request, Outcome.REFUSED, status=refusal.status, code=refusal.code))
        return refusal.response()

    def _call(
        self,
        request: VendorRequest,
        outcome: Outcome,
        *,
        status: int,
        code: str | None = None,
        message_id: str | None = None,
    ) -> Call:
        return Call(
            channel=request.channel,
            recipient=request.recipient,
            outcome=outcome,
            status=status,
            code=code,
            message_id=message_id,
            fields=request.summary,
        )

"""The way of one message through an emulated HTTP provider, the same for each vendor.

auth -> failure on demand -> the vendor's own checks -> accept -> (delay) -> answer, or no answer at all
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.responses import JSONResponse, Response

from local.emulators.connection import HungUp
from local.emulators.failures import Failures, Rule
from local.emulators.ledger import Ledger, accepted
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


class Sending(Protocol):
    """One request to send one message, as its vendor understands it."""

    @property
    def channel(self) -> str: ...

    @property
    def recipient(self) -> str | None: ...

    @property
    def summary(self) -> dict[str, Any]:
        """What the call log shows of it."""

    def unauthenticated(self) -> Refusal | None: ...

    def problem(self) -> Refusal | None: ...

    def failed(self, rule: Rule, status: int) -> Refusal:
        """The vendor's words for a failure on demand."""

    def received(self) -> Received: ...

    def keeps(self) -> bool:
        """Whether an accepted message goes to its recipient; a dry run does not."""

    def answer(self, received: Received) -> Response: ...


@dataclass(frozen=True, kw_only=True)
class Reception:
    """Takes each sending, and writes down how it ended."""

    ledger: Ledger
    failures: Failures

    async def take(self, sending: Sending) -> Response:
        with self.ledger.calls.under_way(sending.channel):
            return await self._taken(sending)

    async def _taken(self, sending: Sending) -> Response:
        if (refusal := sending.unauthenticated()) is not None:
            return self._refuse(sending, refusal)
        rule = self.failures.take(sending.channel, [sending.recipient or ""])
        if rule is not None and (status := 201 if rule.created is not None else rule.status) is not None:
            response = self._refuse(sending, sending.failed(rule, status))
            await self.failures.pause(rule)
            return response
        if rule is not None and rule.drop == "before_accept":
            self.ledger.note(self._call(sending, Outcome.DROPPED_BEFORE_ACCEPT, status=0))
            await self.failures.pause(rule)
            return HungUp()
        if (refusal := sending.problem()) is not None:
            return self._refuse(sending, refusal)
        return await self._accept(sending, rule)

    async def _accept(self, sending: Sending, rule: Rule | None) -> Response:
        received = sending.received()
        drop = rule.drop if rule is not None else None
        response = sending.answer(received)
        call = self._call(sending, accepted(drop), status=response.status_code, message_id=received.provider_message_id)
        if sending.keeps():
            self.ledger.accept(received, call)
        else:
            self.ledger.note(call)
        await self.failures.pause(rule)
        return response if drop is None else HungUp()

    def _refuse(self, sending: Sending, refusal: Refusal) -> Response:
        self.ledger.note(self._call(sending, Outcome.REFUSED, status=refusal.status, code=refusal.code))
        return refusal.response()

    def _call(
        self,
        sending: Sending,
        outcome: Outcome,
        *,
        status: int,
        code: str | None = None,
        message_id: str | None = None,
    ) -> Call:
        return Call(
            channel=sending.channel,
            recipient=sending.recipient,
            outcome=outcome,
            status=status,
            code=code,
            message_id=message_id,
            fields=sending.summary,
        )

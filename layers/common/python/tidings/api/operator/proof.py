"""The proof of a notification: its timeline, signed."""

from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from tidings.api.api_keys import Scope
from tidings.api.endpoint import Endpoint, Tag, json_answer
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.problems import Problem, no_such_notification
from tidings.api.reads import encoded, id_of
from tidings.api.responses import NotificationView, View, to_response
from tidings.observability.request_ids import in_thread
from tidings.pipeline.proof import Signer
from tidings.ports import Clock, Store


class StatementView(View):
    """What is signed."""

    tenant: str
    exported_at: datetime
    notification: NotificationView


class ProofView(View):
    """A JWS in flattened JSON, signed with Ed25519. The payload is a statement."""

    protected: str = Field(description="base64url: the header, with the public key as `jwk`")
    payload: str = Field(description="base64url: JSON with `tenant`, `exported_at`, `notification` and its timeline")
    signature: str = Field(description="base64url")


_EXAMPLE = {
    "protected": "eyJhbGciOiAiRWREU0EiLCAidHlwIjogInRpZGluZ3MtcHJvb2YranNvbiIsIC4uLn0",
    "payload": "eyJ0ZW5hbnQiOiAiYWNtZSIsICJleHBvcnRlZF9hdCI6ICIyMDI2LTExLTIyVDIxOjA0OjEwWiIsIC4uLn0",
    "signature": "aG9sZHMgNjQgYnl0ZXM",
}


def no_key() -> Problem:
    return Problem(409, "No key to sign with", "Set TIDINGS_PROOF_KEY at the replay function.", code="no_proof_key")


PROOF = Endpoint(
    method="GET",
    path="/v1/notifications/{id}/proof",
    scope=Scope.OPERATE,
    id="proof",
    tag=Tag.OPERATION,
    summary="The notification with its timeline, signed: `tidings proof --verify` verifies it",
    answers={200: json_answer("A JWS", ProofView, {"example": _EXAMPLE})},
    problems=(no_key(),),
)


@dataclass(frozen=True, kw_only=True)
class Proofs:
    store: Store
    signer: Signer | None  # None: no key is set
    now: Clock
    threads: Executor

    async def proof(self, request: AuthenticatedRequest) -> Response:
        return encoded(await in_thread(self.threads, self._signed, request.tenant, id_of(request)))

    def _signed(self, tenant: str, id: str) -> ProofView:
        found = self.store.get_with_timeline(tenant, id)
        if found is None:
            raise no_such_notification()
        if self.signer is None:
            raise no_key()
        said = StatementView(tenant=tenant, exported_at=self.now(), notification=to_response(*found))
        return ProofView(**self.signer.sign(said.model_dump(mode="json", exclude_none=True)))

"""Cancel a notification that waits: the route shared by the intake and operator APIs."""

from concurrent.futures import Executor
from dataclasses import dataclass

from tidings.api.api_keys import Scope
from tidings.api.app import AuthenticatedRequest, Problem, Response, Route
from tidings.api.lookup import encoded, id_of, not_found
from tidings.api.notifications import shown, state
from tidings.domain.notification import CLAIMABLE, Status
from tidings.observability.request_ids import in_thread
from tidings.pipeline.intake import Intake


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """`POST /v1/notifications/{id}/cancel`. Canceling twice is harmless."""

    intake: Intake
    threads: Executor

    def route(self, scope: Scope) -> Route:
        return Route(method="POST", path="/v1/notifications/{id}/cancel", scope=scope, handle=self.cancel)

    async def cancel(self, call: AuthenticatedRequest) -> Response:
        return await in_thread(self.threads, self._canceled, call.tenant, id_of(call))

    def _canceled(self, tenant: str, id: str) -> Response:
        row = self.intake.cancel(tenant, id)
        if row is None:
            raise not_found()
        found = shown(row, doubtful=self.intake.store.may_have_been_sent([id]))
        if row.status is not Status.CANCELED:
            stands = f"Its status is {state(row.status, found.may_have_been_sent)}"
            if row.status is Status.SENDING:
                stands = f"{stands}: a worker has it, and how that ends is not known yet"
            raise Problem(
                409, "Too late to cancel", f"{stands}; only {' and '.join(sorted(CLAIMABLE))} can be canceled."
            )
        return encoded(found)

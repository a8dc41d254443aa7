"""Cancel a notification that waits: the route shared by the intake and operator APIs."""

from concurrent.futures import Executor
from dataclasses import dataclass

from tidings.intake import Intake
from tidings.keys import Scope
from tidings.lookup import encoded, id_of, not_found
from tidings.notification import CLAIMABLE, Status
from tidings.request_ids import in_thread
from tidings.view import shown
from tidings.web import Call, Problem, Response, Route


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """`POST /v1/notifications/{id}/cancel`. Canceling twice is harmless."""

    intake: Intake
    threads: Executor

    def route(self, scope: Scope) -> Route:
        return Route(method="POST", path="/v1/notifications/{id}/cancel", scope=scope, handle=self.cancel)

    async def cancel(self, call: Call) -> Response:
        return await in_thread(self.threads, self._canceled, call.tenant, id_of(call))

    def _canceled(self, tenant: str, id: str) -> Response:
        row = self.intake.cancel(tenant, id)
        if row is None:
            raise not_found()
        if row.status is not Status.CANCELED:
            raise Problem(
                409,
                "Too late to cancel",
                f"Its status is {row.status}; only {' and '.join(sorted(CLAIMABLE))} can be canceled.",
            )
        return encoded(shown(row, doubtful=self.intake.store.may_have_been_sent([id])))

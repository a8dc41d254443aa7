"""Cancel a notification that waits: the endpoint is shared by the intake and operator APIs."""

from concurrent.futures import Executor
from dataclasses import dataclass

from tidings.api import examples
from tidings.api.endpoint import Endpoint, Tag, json_answer
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.problems import Problem, no_such_notification
from tidings.api.reads import encoded, id_of
from tidings.api.responses import NotificationView, state, to_response
from tidings.domain.notification import CLAIMABLE, Status
from tidings.observability.request_ids import in_thread
from tidings.pipeline.intake import Intake

CANCELED = {**examples.WAITING, "status": "canceled", "content": examples.SMS["content"]}


def _too_late(state: str) -> Problem:
    detail = f"Its status is {state}; only {' and '.join(sorted(CLAIMABLE))} can be canceled."
    return Problem(409, "Too late to cancel", detail)


CANCEL = Endpoint(
    method="POST",
    path="/v1/notifications/{id}/cancel",
    scope=None,
    id="cancel",
    tag=Tag.NOTIFICATIONS,
    summary="Cancel it, unless it is claimed or over; canceling twice is harmless",
    answers={200: json_answer("Canceled", NotificationView, {"example": CANCELED})},
    problems=(_too_late("sent"),),
)


@dataclass(frozen=True, kw_only=True)
class Cancel:
    intake: Intake
    threads: Executor

    async def cancel(self, request: AuthenticatedRequest) -> Response:
        return await in_thread(self.threads, self._cancel, request.tenant, id_of(request))

    def _cancel(self, tenant: str, id: str) -> Response:
        row = self.intake.cancel(tenant, id)
        if row is None:
            raise no_such_notification()
        found = to_response(row, doubtful=self.intake.store.may_have_been_sent([id]))
        if row.status is Status.SENDING:
            known = state(row.status, found.may_have_been_sent)
            raise _too_late(f"{known}: a worker has it, and its outcome is not known yet")
        if row.status is not Status.CANCELED:
            raise _too_late(state(row.status, found.may_have_been_sent))
        return encoded(found)

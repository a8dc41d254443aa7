"""The intake's document: its operations, with an example of every body."""

from functools import cache
from typing import Any

from tidings import explorer, openapi
from tidings.keys import Scope
from tidings.openapi import Operation
from tidings.operations import LISTED, SMS, listed, looked_up, of_one, send
from tidings.web import Problem


@cache
def document() -> dict[str, Any]:
    return openapi.document(
        title="Tidings",
        description="Notifications by email, SMS and push that are not lost and not sent twice.",
        operations=[
            send(),
            listed(Scope.SEND),
            looked_up(Scope.SEND),
            _cancel(),
            explorer.index_operation(),
            *explorer.operations(),
        ],
    )


CANCELED = {
    **{name: value for name, value in LISTED.items() if not name.startswith("provider")},
    "status": "canceled",
    "attempts": 0,
    "content": SMS["content"],
}


def _cancel() -> Operation:
    late = Problem(409, "Too late to cancel", "Its status is sent; only pending and retrying can be canceled.")
    return of_one(
        method="POST",
        path="/v1/notifications/{id}/cancel",
        id="cancel",
        summary="Cancel it, unless it is claimed or over; canceling twice is harmless",
        answer=("Canceled", CANCELED),
        scope=Scope.SEND,
        problems=(late, 413),
    )

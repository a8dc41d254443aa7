"""The intake's document: its operations, with an example of every body."""

from functools import cache
from typing import Any

from tidings import explorer, openapi
from tidings.keys import Scope
from tidings.operations import TAGS, canceled, listed, looked_up, send


@cache
def document() -> dict[str, Any]:
    return openapi.document(
        title="Tidings",
        description="Notifications by email, SMS and push that are not lost and not sent twice.",
        operations=[
            send(),
            listed(Scope.SEND),
            looked_up(Scope.SEND),
            canceled(Scope.SEND),
            explorer.index_operation(),
            *explorer.operations(),
        ],
        tags={**TAGS, **explorer.TAGS},
    )

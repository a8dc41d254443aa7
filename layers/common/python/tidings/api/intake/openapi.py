"""The intake's document: its operations, with an example of every body."""

from functools import cache
from typing import Any

from tidings.api import docs_page, openapi
from tidings.api.api_keys import Scope
from tidings.api.operations import TAGS, canceled, listed, looked_up, send


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
            docs_page.index_operation(),
            *docs_page.operations(),
        ],
        tags={**TAGS, **docs_page.TAGS},
    )

"""Models of the feed's answers. The client reads them as well."""

from typing import Any

from pydantic import Field

from tidings.api.responses import View


class FeedEventView(View):
    """An event, as a webhook has it."""

    id: str = Field(description="the webhook's `webhook-id`")
    type: str = Field(description="`notification.` and a status, or `notification.created`: it was accepted")
    timestamp: str
    data: dict[str, Any] = Field(
        description="id, channel, status, class, code, generation, attempt, by, metadata, recipient, seq"
    )


class FeedPage(View):
    """Events in the order of `seq`. Missing numbers belong to other tenants, or to events
    that the feed does not report."""

    events: list[FeedEventView]
    next_after: int = Field(description="`after` of the next page, also if this one is empty")
    more: bool = Field(description="true: ask for the next page at once; false: later")

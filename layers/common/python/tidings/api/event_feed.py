"""The feed of events, shared by the intake and operator APIs: what the webhooks tell, to be fetched instead."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tidings.api.endpoint import EXAMPLE_ID, Endpoint, Tag, json_answer
from tidings.api.examples import CREATED
from tidings.api.feed_models import FeedPage
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.queries import query_of
from tidings.api.reads import encoded
from tidings.observability.request_ids import in_thread
from tidings.ports import Store

MAX_SEQ = 2**63 - 1


class FeedQuery(BaseModel):
    """Where to go on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: Annotated[int, Field(ge=0, le=MAX_SEQ)] = Field(0, description="`next_after` of the page before")
    limit: int = Field(100, ge=1, le=1000)


_EVENT = {
    "id": "evt_4711",
    "type": "notification.delivered",
    "timestamp": CREATED,
    "data": {
        "id": EXAMPLE_ID,
        "channel": "sms",
        "status": "delivered",
        "generation": 1,
        "attempt": 1,
        "by": "receipt",
        "metadata": {"order": "4711"},
        "recipient": "+15005550010",
        "seq": 4711,
    },
}

EVENTS = Endpoint(
    method="GET",
    path="/v1/events",
    scope=None,
    id="events",
    tag=Tag.WEBHOOKS,
    summary="What became of all notifications, in order and without gaps",
    query=FeedQuery,
    answers={
        200: json_answer(
            "A page",
            FeedPage,
            {
                "events": {"events": [_EVENT], "next_after": 4711, "more": False},
                "nothing new": {"events": [], "next_after": 4711, "more": False},
            },
        )
    },
)


@dataclass(frozen=True, kw_only=True)
class EventFeedHandler:
    store: Store
    threads: Executor

    async def events(self, request: AuthenticatedRequest) -> Response:
        query = query_of(FeedQuery, request.query)
        found = await in_thread(self.threads, self.store.feed, request.tenant, query.after, query.limit)
        return encoded(FeedPage.model_validate({"events": found.events, "next_after": found.after, "more": found.more}))

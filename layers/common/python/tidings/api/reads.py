"""Read endpoints shared by the intake and operator APIs: list notifications, and look one up."""

from concurrent.futures import Executor
from dataclasses import dataclass

from tidings.api import examples
from tidings.api.endpoint import Endpoint, Tag, json_answer
from tidings.api.http import JSON, AuthenticatedRequest, Response
from tidings.api.problems import no_such_notification
from tidings.api.queries import DeadQuery, ListQuery, query_of
from tidings.api.responses import NotificationView, Page, View, page_of, to_response
from tidings.messaging.envelope import ID
from tidings.observability.request_ids import in_thread
from tidings.ports import Store

LIST = Endpoint(
    method="GET",
    path="/v1/notifications",
    scope=None,
    id="list",
    tag=Tag.NOTIFICATIONS,
    summary="List notifications, newest first",
    query=ListQuery,
    answers={200: json_answer("A page", Page, examples.pages(examples.LISTED))},
)
GET = Endpoint(
    method="GET",
    path="/v1/notifications/{id}",
    scope=None,
    id="get",
    tag=Tag.NOTIFICATIONS,
    summary="Look one up, with its timeline",
    answers={200: json_answer("As it stands", NotificationView, {"example": examples.SENT})},
)


@dataclass(frozen=True, kw_only=True)
class Reads:
    store: Store
    threads: Executor

    async def list(self, request: AuthenticatedRequest) -> Response:
        query = query_of(ListQuery, request.query)
        return encoded(await in_thread(self.threads, page, self.store, query, request.tenant))

    async def get(self, request: AuthenticatedRequest) -> Response:
        found = await in_thread(self.threads, self.store.get_with_timeline, request.tenant, id_of(request))
        if found is None:
            raise no_such_notification()
        return encoded(to_response(*found))


def page(store: Store, query: ListQuery | DeadQuery, tenant: str, oldest_first: bool = False) -> Page:
    found = store.find(query.selection(tenant), query.limit + 1, oldest_first=oldest_first)
    doubtful = store.may_have_been_sent([item.id for item in found]) if found else ()
    return page_of(found, query.limit, doubtful=doubtful)


def encoded(view: View) -> Response:
    return Response(status=200, body=view.encoded(), headers={"content-type": JSON})


def id_of(request: AuthenticatedRequest) -> str:
    """The path's id in lower case. Raise Problem 404 without asking the database if it cannot be an id."""
    id = request.path["id"].lower()
    if not ID.fullmatch(id):
        raise no_such_notification()
    return id

"""Look notifications up: the routes that who sends and who operates have in common."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from tidings.api.api_keys import Scope
from tidings.api.app import AuthenticatedRequest, Problem, Response, Route
from tidings.api.notifications import Page, View, page_of, shown
from tidings.api.queries import DeadQuery, ListQuery, query_of
from tidings.messaging.envelope import ID
from tidings.observability.request_ids import in_thread
from tidings.ports import Store


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """`GET /v1/notifications` lists, `GET /v1/notifications/{id}` shows one with its timeline."""

    store: Store
    threads: Executor

    def routes(self, scope: Scope) -> Sequence[Route]:
        return (
            Route(method="GET", path="/v1/notifications", scope=scope, handle=self.find),
            Route(method="GET", path="/v1/notifications/{id}", scope=scope, handle=self.get),
        )

    async def find(self, call: AuthenticatedRequest) -> Response:
        query = query_of(ListQuery, call.request.query)
        return encoded(await in_thread(self.threads, page, self.store, query, call.tenant))

    async def get(self, call: AuthenticatedRequest) -> Response:
        story = await in_thread(self.threads, self.store.get_with_timeline, call.tenant, id_of(call))
        if story is None:
            raise not_found()
        return encoded(shown(*story))


def page(store: Store, query: ListQuery | DeadQuery, tenant: str, oldest_first: bool = False) -> Page:
    found = store.find(query.selection(tenant), query.limit + 1, oldest_first=oldest_first)
    doubtful = store.may_have_been_sent([item.id for item in found]) if found else ()
    return page_of(found, query.limit, doubtful=doubtful)


def encoded(view: View, *, status: int = 200) -> Response:
    return Response(status=status, body=view.encoded(), headers={"content-type": "application/json"})


def id_of(call: AuthenticatedRequest) -> str:
    """The path's, in small letters, which the database is only asked for if it can be one. Raise Problem 404."""
    id = call.path["id"].lower()
    if not ID.fullmatch(id):
        raise not_found()
    return id


def not_found() -> Problem:
    return Problem(404, "No such notification", "None with this id belongs to your tenant.")

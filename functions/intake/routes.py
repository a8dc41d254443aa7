"""The intake's routes."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tidings import explorer
from tidings.envelope import ID
from tidings.gather import Full, Gather
from tidings.health import Health
from tidings.intake import Intake
from tidings.keys import Scope
from tidings.notification import CLAIMABLE, Notification, Status
from tidings.ports import Broker, Clock, Inserted, Store
from tidings.queries import ListQuery, query_of
from tidings.submission import Reader, Submission, check_times, entry
from tidings.view import accepted, page_of, shown
from tidings.web import RETRY_AFTER, Call, Problem, Response, Route

from .openapi import document

T = TypeVar("T")

MAX_CONTENT = 15 * 1024 * 1024  # bytes of one row; MariaDB takes statements of 16 MiB by default (max_allowed_packet)

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # https://www.w3.org/TR/trace-context/


class IntakeRoutes:
    """Handlers. Requests that wait together are stored and queued together."""

    def __init__(self, *, intake: Intake, store: Store, broker: Broker, now: Clock) -> None:
        self._store = store
        self._now = now
        self._reader = Reader()
        self._threads = ThreadPoolExecutor(6, thread_name_prefix="tidings-intake")
        self._health = Health(store=store, broker=broker, threads=self._threads)
        self._gather: Gather[Notification, Inserted] = Gather(intake.accept, self._threads, weigh=_weight)

    def all(self) -> Sequence[Route]:
        return (
            Route(method="POST", path="/v1/notifications", scope=Scope.SEND, handle=self.post),
            Route(method="GET", path="/v1/notifications", scope=Scope.SEND, handle=self.find),
            Route(method="GET", path="/v1/notifications/{id}", scope=Scope.SEND, handle=self.get),
            Route(method="POST", path="/v1/notifications/{id}/cancel", scope=Scope.SEND, handle=self.cancel),
            *explorer.routes(document),
            *self._health.routes(),
        )

    # --- hand in ------------------------------------------------------------------------------------------------------

    async def post(self, call: Call) -> Response:
        key = idempotency_key(call.request.headers)
        if call.body.lstrip()[:1] == b"[":
            if key is not None:
                raise Problem(422, "An array takes no Idempotency-Key header", "Give each item its idempotency_key.")
            return await self._post_many(call)
        return await self._post_one(call, key)

    async def _post_one(self, call: Call, key: str | None) -> Response:
        submission = self._reader.one(call.body)
        if key is not None:
            if submission.idempotency_key not in (None, key):
                raise Problem(422, "Two idempotency keys", "The header and idempotency_key differ; give one.")
            submission = submission.model_copy(update={"idempotency_key": key})
        notification = self._drafted(submission, call)
        if isinstance(notification, Problem):
            raise notification
        (inserted,) = await self._accepted([notification])
        outcome = _outcome(inserted)
        if isinstance(outcome, Problem):
            raise outcome
        headers = {"location": f"/v1/notifications/{outcome.id}", "content-type": "application/json"}
        if inserted.existing is not None:
            headers["idempotency-replayed"] = "true"
        return Response(status=202, body=accepted(outcome).encoded(), headers=headers)

    async def _post_many(self, call: Call) -> Response:
        """Each item has its own result; a bad one never spoils the good ones."""
        results: list[Notification | Problem] = []
        for index, item in enumerate(self._reader.many(call.body)):
            results.append(item if isinstance(item, Problem) else self._drafted(item, call, index=index))
        drafts = [result for result in results if isinstance(result, Notification)]
        inserted = iter(await self._accepted(drafts) if drafts else [])
        ends = [_outcome(next(inserted)) if isinstance(result, Notification) else result for result in results]
        parts = [
            b'{"error":' + end.response().body + b"}" if isinstance(end, Problem) else accepted(end).encoded()
            for end in ends
        ]
        any_good = any(isinstance(end, Notification) for end in ends)
        body = b'{"results":[' + b",".join(parts) + b"]}"
        return Response(status=202 if any_good else 422, body=body, headers={"content-type": "application/json"})

    def _drafted(self, submission: Submission, call: Call, *, index: int | None = None) -> Notification | Problem:
        now = self._now()
        problem = check_times(submission, now, index=index)
        if problem is not None:
            return problem
        trace = call.request.headers.get("traceparent", "")
        draft = submission.notification(
            tenant=call.tenant, now=now, traceparent=trace if _TRACEPARENT.fullmatch(trace) else None
        )
        if len(draft.content) > MAX_CONTENT // 4 and _in_a_statement(draft.content) > MAX_CONTENT:
            return Problem(422, "The notification is not valid", errors=[entry(("content",), "is too large", index)])
        return draft

    async def _accepted(self, drafts: Sequence[Notification]) -> Sequence[Inserted]:
        try:
            return await self._gather.submit(drafts)
        except Full:
            raise Problem(
                503, "Too much is waiting", "Nothing was stored; try again.", headers={"retry-after": RETRY_AFTER}
            ) from None

    # --- look up ------------------------------------------------------------------------------------------------------

    async def get(self, call: Call) -> Response:
        notification = await self._run(self._store.get, call.tenant, _id(call))
        if notification is None:
            raise _not_found()
        events = await self._run(self._store.events, notification.id)
        return _encoded(200, shown(notification, events).encoded())

    async def find(self, call: Call) -> Response:
        query = query_of(ListQuery, call.request.query)
        found = await self._run(self._store.find, query.selection(call.tenant), query.limit + 1)
        return _encoded(200, page_of(found, query.limit).encoded())

    async def cancel(self, call: Call) -> Response:
        notification = await self._run(self._store.cancel, call.tenant, _id(call))
        if notification is None:
            raise _not_found()
        if notification.status is not Status.CANCELED:
            raise Problem(
                409,
                "Too late to cancel",
                f"Its status is {notification.status}; only {' and '.join(sorted(CLAIMABLE))} can be canceled.",
            )
        return _encoded(200, shown(notification).encoded())

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """The header's value, bare or as a quoted string (the IETF draft's form). Raise Problem 422."""
    value = headers.get("idempotency-key")
    if value is None:
        return None
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise Problem(422, "The Idempotency-Key is not valid", "1 to 255 printable ASCII characters.")
    return key


def _outcome(inserted: Inserted) -> Notification | Problem:
    existing = inserted.existing
    if existing is None:
        return inserted.notification
    if existing.fingerprint != inserted.notification.fingerprint:
        return Problem(
            422, "This idempotency key was used for another notification", "Use a new key, or send the same payload."
        )
    return existing


def _weight(draft: Notification) -> int:
    """1 up to 4 KiB of content, and 1 more for each further: 500 in a batch are 2 MiB, 20,000 that wait are 80."""
    return 1 + len(draft.content) // 4096


def _in_a_statement(content: str) -> int:
    """Bytes, where quotes and backslashes are escaped once more: at most 4 a character."""
    return len(content.encode()) + content.count('"') + content.count("\\")


def _encoded(status: int, body: bytes) -> Response:
    return Response(status=status, body=body, headers={"content-type": "application/json"})


def _id(call: Call) -> str:
    """The path's, which the database is only asked for if it can be one."""
    if not ID.fullmatch(call.path["id"]):
        raise _not_found()
    return call.path["id"]


def _not_found() -> Problem:
    return Problem(404, "No such notification", "None with this id belongs to your tenant.")

"""Hand notifications in: `POST /v1/notifications`, one object or an array of them."""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from tidings.api.api_keys import Scope
from tidings.api.app import AuthenticatedRequest, Problem, Response, Route, internal_error, unavailable
from tidings.api.body_limits import MAX_BODY
from tidings.api.json_shape import Body, is_array
from tidings.api.notifications import accepted
from tidings.api.requests import Reader, Submission, check_times
from tidings.api.validation_problems import NOT_VALID, entry, has_passed
from tidings.domain.errors import AlreadyExpired, BrokerUnavailable, RowTooLarge, StoreUnavailable, fault_location
from tidings.domain.notification import Notification
from tidings.observability.request_ids import in_thread
from tidings.ports import Clock, Taken

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_CONTENT = 15 * 1024 * 1024  # bytes of one row; MariaDB takes statements of 16 MiB by default (max_allowed_packet)
LARGE = 32 * 1024  # bytes of a body from which it is read in a thread, one at a time: a smaller one takes milliseconds

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # https://www.w3.org/TR/trace-context/


def _one_thread() -> Executor:
    return ThreadPoolExecutor(1, thread_name_prefix="tidings-large-body")


@dataclass(frozen=True, kw_only=True)
class SubmitEndpoint:
    """The handler. `accept` stores and queues, as `Intake.accept`."""

    accept: Callable[[Sequence[Notification]], Awaitable[Sequence[Taken]]]
    now: Clock
    reader: Reader = field(default_factory=Reader)
    large: Executor = field(default_factory=_one_thread)

    def route(self) -> Route:
        return Route(method="POST", path="/v1/notifications", scope=Scope.SEND, handle=self.post, max_body=MAX_BODY)

    async def post(self, call: AuthenticatedRequest) -> Response:
        key = idempotency_key(call.request.headers)
        if is_array(call.body):
            if key is not None:
                raise Problem(
                    422,
                    "An array takes no Idempotency-Key header",
                    "Give each item its idempotency_key.",
                    code="invalid_idempotency_key",
                )
            return await self._post_many(call)
        return await self._post_one(call, key)

    async def _post_one(self, call: AuthenticatedRequest, key: str | None) -> Response:
        is_large = len(call.body) >= LARGE
        # What was read is not held while the draft waits: ten thousand may.
        (taken,) = await self.accept([await self._aside(is_large, lambda: self._read_one(call, key))])
        outcome, is_replayed = _outcome(taken)
        if isinstance(outcome, Problem):
            raise outcome
        headers = {"location": f"/v1/notifications/{outcome.id}", "content-type": "application/json"}
        if is_replayed:
            headers["idempotency-replayed"] = "true"
        return Response(status=202, body=accepted(outcome).encoded(), headers=headers)

    async def _aside(self, is_large: bool, work: Callable[[], T]) -> T:
        """In a thread, if the body is large: it gives way to others again and again, and no two are worked on at
        once."""
        if not is_large:
            return work()
        return await in_thread(self.large, work)

    def _read_one(self, call: AuthenticatedRequest, key: str | None) -> Notification:
        submission = self.reader.one(call.body)
        _let_go(call.body)
        if key is not None:
            if submission.idempotency_key not in (None, key):
                raise Problem(
                    422,
                    "Two idempotency keys",
                    "The header and idempotency_key differ; give one.",
                    code="invalid_idempotency_key",
                )
            submission = submission.model_copy(update={"idempotency_key": key})
        notification = self._drafted(submission, call)
        if isinstance(notification, Problem):
            raise notification
        return notification

    async def _post_many(self, call: AuthenticatedRequest) -> Response:
        """Each item has its own result; a bad one never spoils the good ones."""
        is_large = len(call.body) >= LARGE
        results = await self._aside(is_large, lambda: self._read_many(call))
        drafts = [result for result in results if isinstance(result, Notification)]
        taken = iter(await self.accept(drafts) if drafts else [])
        ends = [
            _outcome(next(taken), index=index) if isinstance(result, Notification) else (result, False)
            for index, result in enumerate(results)
        ]
        if drafts and all(isinstance(end, Problem) and end.status == 503 for end, _ in ends):
            raise ends[0][0]  # type: ignore[misc]  # as for a single one, so that whoever tries again does so
        any_good = any(isinstance(end, Notification) for end, _ in ends)
        body = await self._aside(is_large, lambda: _results(ends))
        return Response(status=202 if any_good else 422, body=body, headers={"content-type": "application/json"})

    def _read_many(self, call: AuthenticatedRequest) -> Sequence[Notification | Problem]:
        read = self.reader.many(call.body)
        _let_go(call.body)
        return [
            item if isinstance(item, Problem) else self._drafted(item, call, index=index)
            for index, item in enumerate(read)
        ]

    def _drafted(
        self, submission: Submission, call: AuthenticatedRequest, *, index: int | None = None
    ) -> Notification | Problem:
        now = self.now()
        problem = check_times(submission, now, index=index)
        if problem is not None:
            return problem
        trace = call.request.headers.get("traceparent", "")
        draft = submission.notification(
            tenant=call.tenant, now=now, traceparent=trace if _TRACEPARENT.fullmatch(trace) else None
        )
        if len(draft.content) > MAX_CONTENT // 4 and _in_a_statement(draft.content) > MAX_CONTENT:
            return Problem(422, NOT_VALID, errors=[entry(("content",), "is too large", index)])
        return draft


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """The header's value, bare or as a quoted string (the IETF draft's form). Raise Problem 422."""
    value = headers.get("idempotency-key")
    if value is None:
        return None
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise Problem(
            422,
            "The Idempotency-Key is not valid",
            "1 to 255 printable ASCII characters.",
            code="invalid_idempotency_key",
        )
    return key


def _outcome(taken: Taken, *, index: int | None = None) -> tuple[Notification | Problem, bool]:
    """What its caller is told; and whether he was told so before."""
    if isinstance(taken, Exception):
        return _failure(taken, index), False
    existing = taken.existing
    if existing is None:
        return taken.notification, False
    if existing.fingerprint != taken.notification.fingerprint:
        return Problem(
            422,
            "This idempotency key was used for another notification",
            "Use a new key, or send the same payload.",
            code="idempotency_key_reused",
        ), False
    return existing, True


def _failure(error: Exception, index: int | None) -> Problem:
    """Of one notification that could not be stored while others were."""
    if isinstance(error, StoreUnavailable | BrokerUnavailable):
        return unavailable(error)
    if isinstance(error, AlreadyExpired):
        return Problem(422, NOT_VALID, errors=[has_passed(error.now, index)])
    if isinstance(error, RowTooLarge):
        # Not a 503: it would be tried again for ever, and would fail until an operator changes the setting.
        return Problem(
            413,
            "Too large for the database",
            f"The database takes statements of up to {error.limit} bytes (max_allowed_packet), which its operator can"
            " raise to 16 MiB. Trying again before that cannot help.",
            code="too_large_for_database",
        )
    log.error("unexpected_error", extra={"error": type(error).__name__, "where": fault_location(error)})
    return internal_error()


def _let_go(body: Body) -> None:
    """Of a large body, which has been read. Whoever else holds it waits for the answer."""
    if isinstance(body, bytearray):
        body.clear()


def _results(ends: Sequence[tuple[Notification | Problem, bool]]) -> bytes:
    return b'{"results":[' + b",".join(_result(end, is_replayed) for end, is_replayed in ends) + b"]}"


def _result(end: Notification | Problem, is_replayed: bool) -> bytes:
    if isinstance(end, Problem):
        return b'{"error":' + end.response().body + b"}"
    return accepted(end, replayed=is_replayed or None).encoded()


def _in_a_statement(content: str) -> int:
    """Bytes, where quotes and backslashes are escaped once more: at most 4 a character."""
    return len(content.encode()) + content.count('"') + content.count("\\")

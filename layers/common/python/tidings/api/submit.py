"""Handles `POST /v1/notifications`: read, store, answer."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from tidings.api.api_keys import Scope
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.json_shape import Body, is_array
from tidings.api.problems import Problem, missing_scope
from tidings.api.reader import Reader
from tidings.api.requests import Submission, check_submission
from tidings.api.submit_results import Result, array_response, one_response, result_of
from tidings.api.validation_problems import NOT_VALID, entry
from tidings.domain.fairness import give_way
from tidings.domain.notification import Notification
from tidings.observability.request_ids import in_thread
from tidings.ports import Clock, InsertResult

T = TypeVar("T")
P = ParamSpec("P")

MAX_CONTENT = 15 * 1024 * 1024  # bytes of one row; MariaDB takes statements of 16 MiB by default (max_allowed_packet)
LARGE = 32 * 1024  # bytes of a body from which it is read in a thread, one at a time: a smaller one takes milliseconds

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # https://www.w3.org/TR/trace-context/


def _one_thread() -> Executor:
    return ThreadPoolExecutor(1, thread_name_prefix="tidings-large-body")


@dataclass(frozen=True, kw_only=True)
class Submit:
    """`accept` stores and queues, as `Intake.accept`."""

    accept: Callable[[Sequence[Notification]], Awaitable[Sequence[InsertResult]]]
    now: Clock
    reader: Reader = field(default_factory=Reader)
    large: Executor = field(default_factory=_one_thread)  # large bodies are read there, and no two at once

    async def post(self, request: AuthenticatedRequest) -> Response:
        """An item of an array that is not valid does not affect the others."""
        key, is_many = idempotency_key(request.headers), is_array(request.body)
        if is_many and key is not None:
            raise _invalid_key("An array takes no Idempotency-Key header", "Give each item its idempotency_key.")
        is_large = len(request.body) >= LARGE
        if is_large:
            drafts = await in_thread(self.large, self._drafts, request, key, is_many)
        else:
            drafts = self._drafts(request, key, is_many)
        valid = [draft for draft in drafts if isinstance(draft, Notification)]
        taken = iter(await self.accept(valid) if valid else ())
        results = [
            result_of(next(taken), index if is_many else None) if isinstance(draft, Notification) else Result(draft)
            for index, draft in enumerate(drafts)
        ]
        if not is_many:
            return one_response(results[0])
        return await in_thread(self.large, array_response, results) if is_large else array_response(results)

    def _drafts(
        self, request: AuthenticatedRequest, key: str | None, is_many: bool
    ) -> Sequence[Notification | Problem]:
        """What was read is not kept while the drafts wait to be stored: ten thousand may wait."""
        is_large = len(request.body) >= LARGE
        read = self.reader.many(request.body) if is_many else [_with_key(self.reader.one(request.body), key)]
        _let_go(request.body)
        drafts = []
        for index, item in enumerate(read):
            if is_large:
                give_way()
            drafts.append(
                item if isinstance(item, Problem) else self._drafted(item, request, index if is_many else None)
            )
        return drafts

    def _drafted(
        self, submission: Submission, request: AuthenticatedRequest, index: int | None
    ) -> Notification | Problem:
        now = self.now()
        problem = check_submission(submission, now, index=index)
        if problem is not None:
            return problem
        if submission.ignore_suppression and (request.key is None or Scope.ADMIN not in request.key.scopes):
            return missing_scope(Scope.ADMIN)
        trace = request.headers.get("traceparent", "")
        draft = submission.notification(
            tenant=request.tenant, now=now, traceparent=trace if _TRACEPARENT.fullmatch(trace) else None
        )
        if len(draft.content) > MAX_CONTENT // 4 and draft.size_in_statement > MAX_CONTENT:
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
        raise _invalid_key("The Idempotency-Key is not valid", "1 to 255 printable ASCII characters.")
    return key


def _with_key(submission: Submission, key: str | None) -> Submission:
    """`key`: the header's."""
    if key is None:
        return submission
    if submission.idempotency_key not in (None, key):
        raise _invalid_key("Two idempotency keys", "The header and idempotency_key differ; give one.")
    return submission.model_copy(update={"idempotency_key": key})


def _invalid_key(title: str, detail: str) -> Problem:
    return Problem(422, title, detail, code="invalid_idempotency_key")


def _let_go(body: Body) -> None:
    """Free a large body's memory once it is parsed: the server keeps the buffer until the response."""
    if isinstance(body, bytearray):
        body.clear()

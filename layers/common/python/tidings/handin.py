"""Hand notifications in: `POST /v1/notifications`, one object or an array of them."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tidings.mistakes import entry
from tidings.notification import Notification
from tidings.ports import Clock, Inserted
from tidings.submission import Reader, Submission, check_times
from tidings.view import accepted
from tidings.web import Call, Problem, Response

MAX_CONTENT = 15 * 1024 * 1024  # bytes of one row; MariaDB takes statements of 16 MiB by default (max_allowed_packet)

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # https://www.w3.org/TR/trace-context/


@dataclass(frozen=True, kw_only=True)
class HandIn:
    """The handler. `accept` stores and queues, as `Intake.accept`."""

    accept: Callable[[Sequence[Notification]], Awaitable[Sequence[Inserted]]]
    now: Clock
    reader: Reader = field(default_factory=Reader)

    async def post(self, call: Call) -> Response:
        key = idempotency_key(call.request.headers)
        if call.body.lstrip()[:1] == b"[":
            if key is not None:
                raise Problem(422, "An array takes no Idempotency-Key header", "Give each item its idempotency_key.")
            return await self._post_many(call)
        return await self._post_one(call, key)

    async def _post_one(self, call: Call, key: str | None) -> Response:
        # What was read is not held while the draft waits: ten thousand may.
        (inserted,) = await self.accept([self._read_one(call, key)])
        outcome = _outcome(inserted)
        if isinstance(outcome, Problem):
            raise outcome
        headers = {"location": f"/v1/notifications/{outcome.id}", "content-type": "application/json"}
        if inserted.existing is not None:
            headers["idempotency-replayed"] = "true"
        return Response(status=202, body=accepted(outcome).encoded(), headers=headers)

    def _read_one(self, call: Call, key: str | None) -> Notification:
        submission = self.reader.one(call.body)
        if key is not None:
            if submission.idempotency_key not in (None, key):
                raise Problem(422, "Two idempotency keys", "The header and idempotency_key differ; give one.")
            submission = submission.model_copy(update={"idempotency_key": key})
        notification = self._drafted(submission, call)
        if isinstance(notification, Problem):
            raise notification
        return notification

    async def _post_many(self, call: Call) -> Response:
        """Each item has its own result; a bad one never spoils the good ones."""
        results: list[Notification | Problem] = []
        for index, item in enumerate(self.reader.many(call.body)):
            results.append(item if isinstance(item, Problem) else self._drafted(item, call, index=index))
        drafts = [result for result in results if isinstance(result, Notification)]
        inserted = iter(await self.accept(drafts) if drafts else [])
        ends = [_outcome(next(inserted)) if isinstance(result, Notification) else result for result in results]
        parts = [
            b'{"error":' + end.response().body + b"}" if isinstance(end, Problem) else accepted(end).encoded()
            for end in ends
        ]
        any_good = any(isinstance(end, Notification) for end in ends)
        body = b'{"results":[' + b",".join(parts) + b"]}"
        return Response(status=202 if any_good else 422, body=body, headers={"content-type": "application/json"})

    def _drafted(self, submission: Submission, call: Call, *, index: int | None = None) -> Notification | Problem:
        now = self.now()
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


def _in_a_statement(content: str) -> int:
    """Bytes, where quotes and backslashes are escaped once more: at most 4 a character."""
    return len(content.encode()) + content.count('"') + content.count("\\")

"""The books: the ledger of each day, and the audit of each row."""

from concurrent.futures import Executor
from dataclasses import asdict, dataclass

from tidings.api.api_keys import Scope
from tidings.api.endpoint import EXAMPLE_ID, Endpoint, Tag, json_answer
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.operator.books_models import (
    AuditQuery,
    AuditView,
    CauseView,
    FindingView,
    LedgerLineView,
    LedgerQuery,
    LedgerView,
)
from tidings.api.queries import query_of
from tidings.api.reads import encoded
from tidings.domain.notification import Status
from tidings.observability.request_ids import in_thread
from tidings.pipeline.audit import Audit
from tidings.pipeline.ledger import Ledger, LedgerLine
from tidings.ports import Clock

_AT = "2026-11-22T21:04:10.000000Z"
_LINE = {
    "day": "2026-11-22",
    "channel": "sms",
    "accepted": 500,
    "statuses": {**dict.fromkeys(map(str, Status), 0), "sent": 490, "retrying": 8, "failed": 2},
    "deleted": 0,
    "ambiguous": [{"provider": "twilio", "code": "timeout", "attempts": 9, "may_have_been_sent": 3}],
}
_FINDING = {"id": EXAMPLE_ID, "rule": "status", "detail": "its status is sent, and its timeline ends with retrying"}

LEDGER = Endpoint(
    method="GET",
    path="/v1/ledger",
    scope=Scope.OPERATE,
    id="ledger",
    tag=Tag.OPERATION,
    summary="For each day and channel: what was accepted, and what became of it",
    query=LedgerQuery,
    answers={200: json_answer("The ledger", LedgerView, {"example": {"at": _AT, "lines": [_LINE]}})},
)
AUDIT = Endpoint(
    method="GET",
    path="/v1/audit",
    scope=Scope.OPERATE,
    id="audit",
    tag=Tag.OPERATION,
    summary="Compare each notification with its timeline, page by page; name those that do not fit",
    query=AuditQuery,
    answers={
        200: json_answer(
            "A page",
            AuditView,
            {
                "with more to come": {
                    "at": _AT,
                    "checked": 500,
                    "skipped": 0,
                    "findings": [_FINDING],
                    "next_cursor": EXAMPLE_ID,
                },
                "the last": {"at": _AT, "checked": 12, "skipped": 0, "findings": []},
            },
        )
    },
)


@dataclass(frozen=True, kw_only=True)
class BooksEndpoints:
    ledger: Ledger
    audit: Audit
    now: Clock
    threads: Executor

    async def show_ledger(self, request: AuthenticatedRequest) -> Response:
        query = query_of(LedgerQuery, request.query)
        last = query.until or self.now().date()
        found = await in_thread(self.threads, self.ledger.days, request.tenant, last, query.days)
        return encoded(LedgerView(at=found.at, kept_since=found.kept_since, lines=list(map(_line, found.lines))))

    async def show_audit(self, request: AuthenticatedRequest) -> Response:
        query = query_of(AuditQuery, request.query)
        found = await in_thread(
            self.threads,
            self.audit.page,
            request.tenant,
            query.since,
            query.until,
            after=query.cursor,
            limit=query.limit,
        )
        return encoded(
            AuditView(
                at=found.at,
                checked=found.checked,
                skipped=found.skipped,
                findings=[FindingView(**asdict(finding)) for finding in found.findings],
                next_cursor=found.next,
            )
        )


def _line(line: LedgerLine) -> LedgerLineView:
    return LedgerLineView(
        day=line.day,
        channel=line.channel,
        accepted=line.accepted,
        statuses={str(status): count for status, count in line.statuses.items()},
        deleted=line.deleted,
        ambiguous=[
            CauseView(
                provider=cause.provider,
                code=cause.code,
                attempts=cause.attempts,
                may_have_been_sent=cause.may_have_been_sent,
            )
            for cause in line.causes
        ],
    )

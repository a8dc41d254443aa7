"""Suppressions: list them, look up a recipient, add and remove one, import and export."""

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tidings.api.api_keys import Scope
from tidings.api.body_limits import MAX_BODY
from tidings.api.endpoint import EXAMPLE_ID, Answer, Content, Endpoint, Tag, json_answer
from tidings.api.examples import CREATED
from tidings.api.http import AuthenticatedRequest, Response
from tidings.api.operator.suppression_import import INVALID_IMPORT, MAX_ROWS, imported, interrupted
from tidings.api.operator.suppression_models import (
    ExportQuery,
    ImportedRow,
    ImportedView,
    RecipientRequest,
    SuppressionPage,
    SuppressionQuery,
    SuppressionRequest,
    SuppressionView,
)
from tidings.api.problems import Problem
from tidings.api.queries import body_of, query_of
from tidings.api.reads import encoded
from tidings.api.requests import check_new_expiry
from tidings.api.validation_problems import entry
from tidings.domain.fairness import give_way
from tidings.observability.request_ids import in_thread
from tidings.pipeline.suppression import Enforcement, suppression
from tidings.ports import Store, Suppression, SuppressionEntry, SuppressionSelection

T = TypeVar("T")

log = logging.getLogger(__name__)

NDJSON = "application/x-ndjson"
EXPORTED = 10_000  # lines of one page: API Gateway passes on 6 MB (docs/lambda.md)
INVALID = "The suppression is not valid"
NEXT_CURSOR = "next-cursor"

_ENTRY = {
    "channel": "email",
    "recipient": "ada@example.com",
    "reason": "mailbox_unknown",
    "source": "provider",
    "notification_id": EXAMPLE_ID,
    "at": CREATED,
    "expires_at": "2027-02-20T21:03:22.595661Z",
    "in_force": True,
}
_MANUAL = {
    "channel": "email",
    "recipient": "ada@example.com",
    "reason": "manual",
    "source": "operator",
    "note": "asked by phone",
    "at": CREATED,
    "in_force": True,
}
_REMOVED = {**_MANUAL, "in_force": False, "expires_at": CREATED, "removed_at": CREATED, "removed_by": "3f9c21aa"}
_ADA = {"channel": "email", "recipient": "ada@example.com"}
_CSV = "channel,recipient,reason,note\nemail,ada@example.com,opted_out,from the old system\nsms,+15005550010,,\n"
_IMPORTED = {"stored": 2, "bad": 1, "errors": [{"line": 4, "error": "recipient is required"}]}


def _no_such() -> Problem:
    return Problem(
        404,
        "No such suppression",
        "Your tenant's list does not have this recipient on this channel, or not in this scope.",
    )


_INVALID = Problem(422, INVALID, errors=[entry(("recipient",), "is required")])

# --- endpoints --------------------------------------------------------------------------------------------------------

LIST = Endpoint(
    method="GET",
    path="/v1/suppressions",
    scope=Scope.OPERATE,
    id="suppressions",
    tag=Tag.SUPPRESSIONS,
    summary="List suppressions, newest first; with `recipient`, look one up",
    query=SuppressionQuery,
    answers={
        200: json_answer(
            "A page",
            SuppressionPage,
            {
                "with more to come": {"suppressions": [_ENTRY], "next_cursor": 4711, "enforcement": "on"},
                "the last": {"suppressions": [_REMOVED], "enforcement": "on"},
            },
        )
    },
)
ADD = Endpoint(
    method="POST",
    path="/v1/suppressions",
    scope=Scope.OPERATE,
    id="suppress",
    tag=Tag.SUPPRESSIONS,
    summary="Suppress a recipient; of two entries of one recipient, the one that lasts longer stands",
    body=Content(
        schema=SuppressionRequest,
        examples={
            "until it is removed": {**_ADA, "note": "asked by phone"},
            "of a category": {**_ADA, "scope": "newsletter", "reason": "opted_out"},
            "for a while": {"channel": "sms", "recipient": "+15005550010", "expires_at": "2027-02-20T21:03:22Z"},
        },
    ),
    answers={200: json_answer("As it is now", SuppressionView, {"example": _MANUAL})},
    problems=(_INVALID,),
)
REMOVE = Endpoint(
    method="POST",
    path="/v1/suppressions/remove",
    scope=Scope.OPERATE,
    id="remove_suppression",
    tag=Tag.SUPPRESSIONS,
    summary="Send to a recipient again; the entry stays as a record of who removed it. Twice is harmless",
    body=Content(schema=RecipientRequest, examples={"example": _ADA}),
    answers={200: json_answer("As it is now", SuppressionView, {"example": _REMOVED})},
    problems=(_INVALID, _no_such()),
)
IMPORT = Endpoint(
    method="POST",
    path="/v1/suppressions/import",
    scope=Scope.OPERATE,
    id="import_suppressions",
    tag=Tag.SUPPRESSIONS,
    summary=f"Import up to {MAX_ROWS} suppressions: CSV with a header, or a JSON object a line. Twice is harmless",
    body=Content(schema={"type": "string"}, examples={"CSV": _CSV}, kind="text/csv"),
    answers={200: json_answer("Each line is stored, or bad", ImportedView, {"example": _IMPORTED})},
    problems=(Problem(422, INVALID_IMPORT, "It is empty."), interrupted(4500)),
    max_body=MAX_BODY,
)
EXPORT = Endpoint(
    method="GET",
    path="/v1/suppressions/export",
    scope=Scope.OPERATE,
    id="export_suppressions",
    tag=Tag.SUPPRESSIONS,
    summary=f"Export what is in force: a JSON object a line, {EXPORTED} lines a page",
    query=ExportQuery,
    answers={
        200: Answer(
            description="A page",
            content=[Content(schema={"type": "string"}, examples={"a page": json.dumps(_ENTRY)}, kind=NDJSON)],
            headers={"Next-Cursor": "The `cursor` of the next page; missing on the last"},
        )
    },
)

# --- handlers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Suppressions:
    store: Store
    threads: Executor
    enforcement: Enforcement = Enforcement.ON

    async def list(self, request: AuthenticatedRequest) -> Response:
        query = query_of(SuppressionQuery, request.query)
        return await self._run(self._page, query.selection(request.tenant), query.limit)

    def _page(self, selection: SuppressionSelection, limit: int) -> Response:
        found = self.store.find_suppressions(selection, limit + 1)
        kept = found[:limit]
        following = kept[-1].seq if len(found) > limit else None
        page = SuppressionPage(suppressions=[*map(_view, kept)], next_cursor=following, enforcement=self.enforcement)
        return encoded(page)

    async def add(self, request: AuthenticatedRequest) -> Response:
        wanted = body_of(SuppressionRequest, request.body, title=INVALID)
        if wanted.expires_at is not None:
            check_new_expiry(wanted.expires_at, await self._run(self.store.now), title=INVALID)
        await self._run(self.store.add_suppressions, request.tenant, wanted.channel, [_suppression(wanted, "operator")])
        return await self._run(self._state, request.tenant, wanted)

    async def remove(self, request: AuthenticatedRequest) -> Response:
        wanted = body_of(RecipientRequest, request.body, title=INVALID)
        by = request.key.fingerprint if request.key is not None else ""
        key = request.tenant, wanted.channel, wanted.stored
        if await self._run(self.store.remove_suppression, *key, wanted.scope or "", by):
            log.warning("suppression_removed", extra={"tenant": request.tenant, "channel": wanted.channel, "by": by})
        return await self._run(self._state, request.tenant, wanted)

    async def import_(self, request: AuthenticatedRequest) -> Response:
        def store(channel: str, rows: Sequence[ImportedRow]) -> None:
            self.store.add_suppressions(request.tenant, channel, [_suppression(row, "import") for row in rows])

        return await self._run(lambda: encoded(imported(request.body, store)))

    async def export(self, request: AuthenticatedRequest) -> Response:
        query = query_of(ExportQuery, request.query)
        selection = SuppressionSelection(
            tenant=request.tenant, channel=query.channel, in_force=True, before=query.cursor
        )
        return await self._run(self._exported, selection)

    def _exported(self, selection: SuppressionSelection) -> Response:
        found = self.store.find_suppressions(selection, EXPORTED + 1)
        lines = []
        for number, one in enumerate(found[:EXPORTED]):
            lines.append(_view(one).encoded() + b"\n")
            if number % 100 == 0:
                give_way()
        following = {NEXT_CURSOR: str(found[EXPORTED - 1].seq)} if len(found) > EXPORTED else {}
        return Response(status=200, body=b"".join(lines), headers={"content-type": NDJSON, **following})

    def _state(self, tenant: str, wanted: RecipientRequest) -> Response:
        chosen = SuppressionSelection(
            tenant=tenant, channel=wanted.channel, recipients=[wanted.matched], scope=wanted.scope or ""
        )
        found = self.store.find_suppressions(chosen, 1)
        if not found:
            raise _no_such()
        return encoded(_view(found[0]))

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await in_thread(self.threads, work, *args)


def _suppression(wanted: SuppressionRequest, source: str) -> Suppression:
    made = suppression(wanted.stored, wanted.reason, source=source, scope=wanted.scope or "")
    return replace(made, expires_at=wanted.expires_at, note=wanted.note)


def _view(one: SuppressionEntry) -> SuppressionView:
    shown = {name: getattr(one, name) for name in SuppressionView.model_fields}
    return SuppressionView(**{**shown, "scope": one.scope or None})

"""The operator's document: its operations, with an example of every body."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import BaseModel

from tidings.api import docs_page, openapi
from tidings.api.api_keys import Scope
from tidings.api.app import Problem, without
from tidings.api.notifications import Page
from tidings.api.openapi import Answer, Content, Operation
from tidings.api.operations import CREATED, ID, LISTED, TAGS, canceled, listed, looked_up, of_one, send
from tidings.api.operator.examples import DEAD_LETTER, GROUP, OVERVIEW, SWEPT
from tidings.api.operator.responses import (
    ChannelView,
    DeadGroupsView,
    DryRunView,
    MeView,
    OverviewQuery,
    OverviewView,
    ReplayedView,
    ReplayRequest,
    ResolveRequest,
    SweptView,
    TallyRequest,
    TallyView,
)
from tidings.api.queries import DeadFilter, DeadQuery
from tidings.domain.channels import CHANNELS

DEAD, WORK = "dead letters", "the work"
CHANNEL = next(iter(CHANNELS))  # of the examples
DESCRIPTIONS = {
    DEAD: "What failed or is unknown: list it, group it by its error, replay it, resolve it.",
    WORK: "What happens and what waits; the sweep; pause and resume a channel.",
}


@cache
def document() -> dict[str, Any]:
    return openapi.document(
        title="Tidings for operators",
        description="What happens, what waits, why letters are dead; replay, sweep, and pausing a channel.",
        operations=[
            *_dead_letters(),
            *_work(),
            *_channels(),
            send(),
            listed(Scope.OPERATE),
            looked_up(Scope.OPERATE),
            canceled(Scope.OPERATE),
            *docs_page.operations(),
        ],
        tags={**DESCRIPTIONS, **TAGS, **docs_page.TAGS},
    )


# --- operations -------------------------------------------------------------------------------------------------------


def _dead_letters() -> Sequence[Operation]:
    asked = {
        "what a replay would do": {"dry_run": True, "code": "21614"},
        "these": {"ids": [ID]},
        "all of a channel, slowly": {"channel": "sms", "limit": 10_000, "rate": 50},
        "what may have arrived, by name": {"status": "unknown", "code": "timeout"},
        "also what has expired": {"expires_at": "2026-11-23T21:00:00Z"},
    }
    replayed = {
        "a dry run": {
            "dry_run": True,
            "count": 12,
            "may_double": 0,
            "expired": 1,
            "unknown": 3,
            "sample": [DEAD_LETTER],
            "newest": ID,
        },
        "a replay": {"dry_run": False, "count": 1, "queued": 1, "expired": 0, "unknown": 0, "ids": [ID]},
    }
    page = {"with more to come": {"notifications": [DEAD_LETTER], "next_cursor": ID}, "the last": {"notifications": []}}
    groups = {"example": {"groups": [GROUP], "looked_at": 12, "more": False}}
    return (
        _got(
            "/v1/dead-letters",
            "dead_letters",
            DEAD,
            "Dead letters, newest or oldest first",
            Content(schema=Page, examples=page),
            query=DeadQuery,
        ),
        _got(
            "/v1/dead-letters/groups",
            "dead_letter_groups",
            DEAD,
            "The newest 10,000, by what they failed of; the largest group first",
            Content(schema=DeadGroupsView, examples=groups),
            query=DeadFilter,
        ),
        _posted(
            "/v1/dead-letters/replay",
            "replay",
            DEAD,
            "Set dead letters back to pending, oldest first; twice is harmless",
            Content(schema={"anyOf": [DryRunView, ReplayedView]}, examples=replayed),
            body=Content(schema=ReplayRequest, examples=asked),
        ),
        _resolve(),
    )


def _resolve() -> Operation:
    row = of_one(
        method="POST",
        path="/v1/notifications/{id}/resolve",
        id="resolve",
        summary="Decide about one that is unknown; deciding the same twice is harmless",
        answer=("As it is now", LISTED),
        scope=Scope.OPERATE,
        problems=(
            400,
            Problem(409, "Nothing to decide", "Its status is sent; only unknown can be resolved."),
            413,
            _invalid("The decision is not valid", "outcome", "Input should be 'sent' or 'replay'"),
        ),
    )
    examples = {"it had arrived": {"outcome": "sent"}, "send it again; it may double": {"outcome": "replay"}}
    return replace(row, tag=DEAD, body=Content(schema=ResolveRequest, examples=examples))


def _work() -> Sequence[Operation]:
    me = {"example": {"tenant": "acme", "scopes": ["operate", "send"]}}
    count_by_status = {"example": {"total": 500, "statuses": {"sent": 480, "pending": 20}, "may_have_been_sent": 2}}
    return (
        _got("/v1/me", "me", WORK, "Whose key this is, and what it may do", Content(schema=MeView, examples=me)),
        _got(
            "/v1/overview",
            "overview",
            WORK,
            "What has happened, minute by minute, and what waits",
            Content(schema=OverviewView, examples={"example": OVERVIEW}),
            query=OverviewQuery,
        ),
        _posted(
            "/v1/notifications/tally",
            "tally",
            WORK,
            "Count these by their status, as to see what has become of a replay",
            Content(schema=TallyView, examples=count_by_status),
            body=Content(schema=TallyRequest, examples={"example": {"ids": [ID]}}),
        ),
        _posted(
            "/v1/sweep",
            "sweep",
            WORK,
            "Move what should have moved, now",
            Content(schema=SweptView, examples={"example": SWEPT}),
        ),
    )


def _channels() -> Sequence[Operation]:
    named = {
        "name": "channel",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "example": CHANNEL,
    }
    unknown = Problem(404, "No such channel", f"There are {', '.join(CHANNELS)}.")
    paused = {"channel": CHANNEL, "paused": True, "paused_at": CREATED}
    resumed = {"channel": CHANNEL, "paused": False}
    return tuple(
        replace(
            _posted(
                f"/v1/channels/{{channel}}/{id}",
                id,
                WORK,
                summary,
                Content(schema=ChannelView, examples={"example": example}),
            ),
            scope=Scope.ADMIN,
            parameters=[named],
            problems=(401, without(Scope.ADMIN), unknown, 405, 413, 500, 503),
        )
        for id, summary, example in (
            ("pause", "Stop working on a channel, for all tenants; it goes on accepting", paused),
            ("resume", "Work on it again", resumed),
        )
    )


def _got(
    path: str, id: str, tag: str, summary: str, answer: Content, *, query: type[BaseModel] | None = None
) -> Operation:
    problems: tuple[int | Problem, ...] = (401, without(Scope.OPERATE), 405, 500, 503)
    if query is not None:
        wrong = _invalid("The query is not valid", "since", "Input should be a valid datetime")
        problems = (*problems, wrong)
    return Operation(
        method="GET",
        path=path,
        id=id,
        tag=tag,
        summary=summary,
        scope=Scope.OPERATE,
        query=query,
        answers={200: Answer(description=summary, content=[answer])},
        problems=problems,
    )


def _posted(
    path: str,
    id: str,
    tag: str,
    summary: str,
    answer: Content,
    *,
    body: Content | None = None,
) -> Operation:
    read = () if body is None else (400, _invalid("The ids are not valid", "ids.0", "String should match the pattern"))
    return Operation(
        method="POST",
        path=path,
        id=id,
        tag=tag,
        summary=summary,
        scope=Scope.OPERATE,
        body=body,
        answers={200: Answer(description=summary, content=[answer])},
        problems=(401, without(Scope.OPERATE), 405, 413, 500, 503, *read),
    )


def _invalid(title: str, field: str, detail: str) -> Problem:
    pointer = f"#/{field.replace('.', '/')}"
    return Problem(422, title, errors=[{"pointer": pointer, "field": field, "detail": detail}])

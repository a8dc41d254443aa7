"""The document of a function's API, and a page to read it and to try it: `/openapi.json` and `/docs`.

The page is Swagger UI (see assets/README.md), served from here: nothing is loaded from anywhere else, and its policy
forbids it. What a reader types as a key stays in the page's memory and goes to this function alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from tidings.api.app import AuthenticatedRequest, Problem, Response, Route, as_json
from tidings.api.health import ALIVE, READY
from tidings.api.openapi import JSON, Answer, Content, Health, Operation

TAG = "about itself"
TAGS = {TAG: "This document, a page to read it, and health checks. No key is needed."}
ASSETS = {
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
SECURITY = {
    # Swagger UI writes style attributes and <style> elements, and shows its icons as data: images. That is loosened;
    # scripts are the two files of ours, and what they ask is this function.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_KEPT = {"cache-control": "public, max-age=3600"}


def routes(document: Callable[[], Mapping[str, Any]]) -> Sequence[Route]:
    """For a function's Api. Files are read when first asked for."""

    async def described(_call: AuthenticatedRequest) -> Response:
        return as_json(document())

    return (
        Route(method="GET", path="/openapi.json", scope=None, handle=described),
        Route(method="GET", path="/docs", scope=None, handle=_page),
        Route(method="GET", path="/docs/{asset}", scope=None, handle=_asset),
    )


def index() -> Route:
    """For whoever has only an address: where to read on."""

    async def index(_call: AuthenticatedRequest) -> Response:
        return as_json({"name": "Tidings", "docs": "docs", "openapi": "openapi.json", "health": "healthz"})

    return Route(method="GET", path="/", scope=None, handle=index)


async def _page(_call: AuthenticatedRequest) -> Response:
    return Response(
        status=200, body=_read("page.html"), headers={"content-type": "text/html; charset=utf-8", **SECURITY}
    )


async def _asset(call: AuthenticatedRequest) -> Response:
    name = call.path["asset"]
    if name not in ASSETS:
        raise Problem(404, "Not found")
    return Response(status=200, body=_read(name), headers={"content-type": ASSETS[name], **SECURITY, **_KEPT})


@cache
def _read(name: str) -> bytes:
    return (files("tidings_swagger") / name).read_bytes()


def index_operation() -> Operation:
    example = {"name": "Tidings", "docs": "docs", "openapi": "openapi.json", "health": "healthz"}
    return _open("index", "/", "Where to read on", {200: _json("Relative addresses", {"type": "object"}, example)})


def operations() -> Sequence[Operation]:
    """What every function declares of itself: these routes, and those of its health."""
    guarded = {name.title(): "of the page's protection" for name in SECURITY}
    return (
        _open(
            "openapi",
            "/openapi.json",
            "This document",
            {200: _json("OpenAPI 3.1", {"type": "object"}, {"openapi": "3.1.0"})},
        ),
        _open(
            "docs",
            "/docs",
            "A page to read this document and to try it",
            {200: Answer(description="The page", content=[_text("text/html")], headers=guarded)},
        ),
        _open(
            "docs_asset",
            "/docs/{asset}",
            "What that page loads",
            {
                200: Answer(
                    description="The file",
                    content=[_text("text/javascript"), _text("text/css")],
                    headers={**guarded, "Cache-Control": "For how long it may be kept"},
                )
            },
            parameters=[
                {"name": "asset", "in": "path", "required": True, "schema": {"type": "string"}, "example": "page.js"}
            ],
            problems=(Problem(404, "Not found"),),
        ),
        *_probes(),
    )


def _probes() -> Iterator[Operation]:
    for path in ALIVE:
        alive = {200: _json("It runs", Health, {"status": "ok"})}
        yield _open(path.strip("/"), path, "It runs; asks nobody", alive)
    for path in READY:
        accepts = _json(
            "It accepts; `degraded` without the broker", Health, {"status": "ok", "database": "ok", "broker": "ok"}
        )
        without = Answer(
            description="No database",
            content=[_example(Health, {"status": "unavailable", "database": "unavailable", "broker": "ok"})],
            headers={"Retry-After": "Seconds"},
        )
        yield _open(path.strip("/"), path, "Asks the database and the broker", {200: accepts, 503: without})


def _open(
    id: str,
    path: str,
    summary: str,
    answers: Mapping[int, Answer],
    *,
    parameters: Sequence[Mapping[str, Any]] = (),
    problems: Sequence[Problem] = (),
) -> Operation:
    return Operation(
        method="GET",
        path=path,
        id=id,
        tag=TAG,
        summary=summary,
        scope=None,
        answers=answers,
        parameters=parameters,
        problems=(405, 500, *problems),
    )


def _json(description: str, schema: Any, example: object) -> Answer:
    return Answer(description=description, content=[_example(schema, example)])


def _example(schema: Any, example: object) -> Content:
    return Content(schema=schema, examples={"example": example}, kind=JSON)


def _text(kind: str) -> Content:
    return Content(schema={"type": "string"}, examples={"example": "..."}, kind=kind)

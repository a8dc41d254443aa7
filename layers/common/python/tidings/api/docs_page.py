"""A function's OpenAPI document, and a page to read it and to try it: `/openapi.json` and `/docs`.

The page is Swagger UI (see assets/README.md), served from here: its content security policy forbids any other server.
A key that a reader types stays in the page's memory and goes to this function alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from tidings.api.endpoint import Answer, Content, Endpoint, Tag, json_answer
from tidings.api.http import AuthenticatedRequest, Response, as_json
from tidings.api.problems import Problem

ASSETS = {
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
SECURITY = {
    # Swagger UI writes style attributes and <style> elements, and shows its icons as data: images. These are allowed.
    # Scripts are our two files, and they may connect to this function only.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_INDEX = {"name": "Tidings", "docs": "docs", "openapi": "openapi.json", "health": "healthz"}
_SECURITY_HEADERS = {name.title(): "protects the page" for name in SECURITY}


def _text(kind: str) -> Content:
    return Content(schema={"type": "string"}, examples={"example": "..."}, kind=kind)


def _open(id: str, path: str, summary: str, answer: Answer) -> Endpoint:
    return Endpoint(method="GET", path=path, scope=None, id=id, tag=Tag.ABOUT, summary=summary, answers={200: answer})


INDEX = _open(
    "index", "/", "Where to read on", json_answer("Relative addresses", {"type": "object"}, {"example": _INDEX})
)
OPENAPI = _open(
    "openapi",
    "/openapi.json",
    "This document",
    json_answer("OpenAPI 3.1", {"type": "object"}, {"example": {"openapi": "3.1.0"}}),
)
PAGE = _open(
    "docs",
    "/docs",
    "A page to read this document and to try it",
    Answer(description="The page", content=[_text("text/html")], headers=_SECURITY_HEADERS),
)
ASSET = _open(
    "docs_asset",
    "/docs/{asset}",
    "What that page loads",
    Answer(
        description="The file",
        content=[_text("text/javascript"), _text("text/css")],
        headers={**_SECURITY_HEADERS, "Cache-Control": "How long it may be cached"},
    ),
)


@dataclass(frozen=True, kw_only=True)
class DocsPage:
    """The document is made, and files are read, at the first request for them."""

    document: Callable[[], Mapping[str, Any]]

    async def index(self, _request: AuthenticatedRequest) -> Response:
        return as_json(_INDEX)

    async def openapi(self, _request: AuthenticatedRequest) -> Response:
        return as_json(self.document())

    async def page(self, _request: AuthenticatedRequest) -> Response:
        headers = {"content-type": "text/html; charset=utf-8", **SECURITY}
        return Response(status=200, body=_read("page.html"), headers=headers)

    async def asset(self, request: AuthenticatedRequest) -> Response:
        name = request.path["asset"]
        if name not in ASSETS:
            raise Problem(404, "Not found")
        headers = {"content-type": ASSETS[name], **SECURITY, "cache-control": "public, max-age=3600"}
        return Response(status=200, body=_read(name), headers=headers)


@cache
def _read(name: str) -> bytes:
    return (files("tidings_swagger") / name).read_bytes()

"""The operator's console: the files of the folder `console`, and `registry.js`, the channels that there are.

It is a client of the API like any other. Its files are for everyone and hold no secret; what they show, they ask the
API for, with the key that a person types in. So there is no session here, no cookie, and no state.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tidings.api.app import AuthenticatedRequest, Problem, Response, Route
from tidings.domain.channels import CHANNELS

INDEX = "index.html"
REGISTRY = "registry.js"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# What a notification says comes from strangers. Should any of it ever become markup, it could load, run and send
# nothing: no script but ours, no text that turns into script, no address but our own.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-cache",  # asked for each time, and answered 304: an update is seen at once
}


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """One file, as it is sent."""

    body: bytes
    content_type: str
    etag: str


class Console:
    """The routes. The folder is read at the first request: nothing is opened at import."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def routes(self) -> Sequence[Route]:
        return (
            Route(method="GET", path="/", scope=None, handle=self.enter),
            Route(method="GET", path="/console", scope=None, handle=self.enter),
            Route(method="GET", path="/console/", scope=None, handle=self.page),
            Route(method="GET", path="/console/{file}", scope=None, handle=self.file),
        )

    async def enter(self, _call: AuthenticatedRequest) -> Response:
        """Relative, so that it holds behind a gateway's prefix as well."""
        return Response(status=308, headers={**HEADERS, "location": "console/"})

    async def page(self, call: AuthenticatedRequest) -> Response:
        return self._answer(call, INDEX)

    async def file(self, call: AuthenticatedRequest) -> Response:
        return self._answer(call, call.path["file"])

    def _answer(self, call: AuthenticatedRequest, name: str) -> Response:
        file = self.files.get(name)  # a name that is looked up is no path: there is nothing to climb out of
        if file is None:
            raise Problem(404, "Not found", headers=HEADERS)
        headers = {**HEADERS, "etag": file.etag}
        if file.etag in call.request.headers.get("if-none-match", ""):
            return Response(status=304, headers=headers)
        return Response(status=200, body=file.body, headers={**headers, "content-type": file.content_type})

    @cached_property
    def files(self) -> Mapping[str, File]:
        """By name: those of the folder whose type is known, and the registry."""
        files = {
            path.name: _file(path.name, path.read_bytes())
            for path in sorted(self._folder.iterdir())
            if path.suffix in TYPES and not path.name.startswith(".")
        }
        return {**files, REGISTRY: _file(REGISTRY, registry())}


def registry() -> bytes:
    """The channels as a JavaScript module: each with its label, and its example for the test form."""
    channels = {name: {"label": content.label, **content.example} for name, content in CHANNELS.items()}
    return f"export const CHANNELS = {json.dumps(channels)};\n".encode()


def _file(name: str, body: bytes) -> File:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return File(body=body, content_type=TYPES[Path(name).suffix], etag=etag)

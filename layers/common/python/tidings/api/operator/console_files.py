"""Serves the operator's console: the files of the folder `console`, and `registry.js`, the channels that there are.

The console is a client of the API. Its files are public and hold no secret. A person types in a key, which it sends
with each request, so there is no session and no cookie.

The page names its files under a version, which is a hash of them all. So a browser keeps the files until one of them
changes, and asks only for the page: on Lambda, one invocation for each visit instead of one for each file.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tidings.api.endpoint import BoundEndpoint, Endpoint
from tidings.api.http import AuthenticatedRequest, Handler, Response
from tidings.api.problems import Problem
from tidings.domain.channels import CHANNELS

INDEX = "index.html"
REGISTRY = "registry.js"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# A notification's content may come from an attacker. If it ever became markup, the browser would still run only our own
# scripts and connect only to this function.
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
    "cache-control": "no-cache",
}
FOR_EVER = {**HEADERS, "cache-control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """One file, as it is served."""

    body: bytes
    content_type: str


class Console:
    """The folder is read at the first request."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def endpoints(self) -> Sequence[BoundEndpoint]:
        return [
            _get("/", self.enter),
            _get("/console", self.enter),
            _get("/console/", self.page),
            _get("/console/{version}/{file}", self.file),
        ]

    async def enter(self, _request: AuthenticatedRequest) -> Response:
        """Redirect to a relative address, which is also right behind a gateway's prefix."""
        return Response(status=308, headers={**HEADERS, "location": "console/"})

    async def page(self, _request: AuthenticatedRequest) -> Response:
        return _answer(self.index, HEADERS)

    async def file(self, request: AuthenticatedRequest) -> Response:
        """During an update, a page may ask the other release for its files. It gets them, but must not keep them."""
        file = self.files.get(request.path["file"])  # names are only looked up, so `..` leads nowhere
        if file is None:
            raise Problem(404, "Not found", headers=HEADERS)
        return _answer(file, FOR_EVER if request.path["version"] == self.version else HEADERS)

    @cached_property
    def files(self) -> Mapping[str, File]:
        """By name: those of the folder whose type is known, and the registry."""
        bodies = {
            path.name: path.read_bytes()
            for path in sorted(self._folder.iterdir())
            if path.suffix in TYPES and not path.name.startswith(".")
        }
        bodies[REGISTRY] = registry()
        return {name: File(body=body, content_type=TYPES[Path(name).suffix]) for name, body in bodies.items()}

    @cached_property
    def version(self) -> str:
        digest = hashlib.sha256()
        for name, file in self.files.items():
            digest.update(f"{name} {len(file.body)} ".encode() + file.body)
        return digest.hexdigest()[:16]

    @cached_property
    def index(self) -> File:
        """The page. In the folder it names its files as they lie there."""
        page = self.files[INDEX]
        body = page.body.decode()
        for name in self.files:
            body = body.replace(f'"{name}"', f'"{self.version}/{name}"')
        return replace(page, body=body.encode())


def _get(path: str, handler: Handler) -> BoundEndpoint:
    return BoundEndpoint(endpoint=Endpoint(method="GET", path=path, scope=None), handle=handler)


def registry() -> bytes:
    """The channels as a JavaScript module: each with its label, and its example for the test form."""
    channels = {name: {"label": content.label, **content.example} for name, content in CHANNELS.items()}
    return f"export const CHANNELS = {json.dumps(channels)};\n".encode()


def _answer(file: File, headers: Mapping[str, str]) -> Response:
    return Response(status=200, body=file.body, headers={**headers, "content-type": file.content_type})

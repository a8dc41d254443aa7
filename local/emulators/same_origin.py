"""Which pages may use the control API from a browser: the emulator's own, and no other.

It has no login. So another site's page, open in the same browser, must not empty the inbox or arm failures (CSRF), and
must not read it under a name of its own that leads here (DNS rebinding). Programs send neither header.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

READS = ("GET", "HEAD")


class OwnPagesOnly:
    """Refuses what comes from elsewhere. `names`: host names of ours besides localhost and IP addresses; None: the Host
    may be any, as a vendor's client has that vendor's."""

    def __init__(self, app: ASGIApp, *, names: frozenset[str] | None) -> None:
        self._app = app
        self._names = names | {"localhost"} if names is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(scope["method"], Headers(scope=scope)) if scope["type"] == "http" else None
        if refused is not None:
            await JSONResponse({"error": refused}, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return "this Host is not the emulator's; use its address, localhost, or the name in --public-url"
        if method in READS:
            return None
        origin = headers.get("origin")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "only the emulator's own page may do this"
        if origin is not None and urlsplit(origin).netloc != host:
            return "only the emulator's own page may do this"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return self._names is None or name in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    """No name can be led here that is none."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

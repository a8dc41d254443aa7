"""Protects the control API, which has no login, against other sites' pages in the same browser.

They must not change anything (CSRF), nor read it under a host name of theirs that resolves to this machine (DNS
rebinding). Programs send neither an Origin nor a Sec-Fetch-Site header.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

READS = ("GET", "HEAD")


class SameOriginOnly:
    """Refuses requests of other sites. `names`: allowed host names besides localhost and IP addresses; None: any Host,
    because a vendor's client sends that vendor's."""

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
        if not self._is_known(host):
            return "unknown Host; use an IP address, localhost, or the name in --public-url"
        if method in READS:
            return None
        origin = headers.get("origin")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "only the emulator's own page may send this request"
        if origin is not None and urlsplit(origin).netloc != host:
            return "only the emulator's own page may send this request"
        return None

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return self._names is None or name in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    """Whether it is an IP address, which DNS rebinding cannot use."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

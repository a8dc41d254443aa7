"""Requests to our own processes: never by a proxy, whatever the environment says about the way out."""

import os
import urllib.request
from http.client import HTTPResponse
from typing import cast

HOSTS = "127.0.0.1,localhost"


def ask(request: str | urllib.request.Request, *, timeout: float) -> HTTPResponse:
    """The answer, to be closed. Raise urllib.error.URLError, HTTPError included."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return cast(HTTPResponse, opener.open(request, timeout=timeout))


def environment() -> dict[str, str]:
    """For processes that talk to each other with libraries that look for a proxy."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    hosts = f"{known},{HOSTS}" if known else HOSTS
    return {"no_proxy": hosts, "NO_PROXY": hosts}

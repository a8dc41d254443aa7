"""Requests to our own processes, never through a proxy of the environment."""

import os
import urllib.request
from http.client import HTTPResponse
from typing import cast

HOSTS = "127.0.0.1,localhost"


def open_url(request: str | urllib.request.Request, *, timeout: float) -> HTTPResponse:
    """The response; close it. Raise urllib.error.URLError, HTTPError included."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return cast(HTTPResponse, opener.open(request, timeout=timeout))


def environment() -> dict[str, str]:
    """Environment variables for processes whose libraries use a proxy of the environment."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    hosts = f"{known},{HOSTS}" if known else HOSTS
    return {"no_proxy": hosts, "NO_PROXY": hosts}

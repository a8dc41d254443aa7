"""The emulated device's app: it acknowledges a push message at the address in its data."""

import asyncio
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from local.emulators.records import Received

FIELD = "tidings_ack"
TRIES, PAUSE = 6, 1.0  # as an app does it whose request failed


class Acknowledgements:
    """In the background."""

    def __init__(self) -> None:
        self._running = set[asyncio.Task[None]]()

    def acknowledge(self, received: Received) -> None:
        url = received.fields["data"].get(FIELD)
        if url is not None:
            task = asyncio.create_task(_acknowledge(str(url)))
            self._running.add(task)
            task.add_done_callback(self._running.discard)


async def _acknowledge(url: str) -> None:
    for _ in range(TRIES):
        if await asyncio.to_thread(_post, url):
            return
        await asyncio.sleep(PAUSE)


def _post(url: str) -> bool:
    """False: to be tried again."""
    try:
        with build_opener(ProxyHandler({})).open(Request(url, data=b""), timeout=15):
            return True
    except HTTPError as error:
        with error:
            return error.code < 500
    except (URLError, OSError, ValueError):
        return False

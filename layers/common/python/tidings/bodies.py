"""The bodies of requests: how much of them a process holds, one by one and all together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidings.web import RETRY_AFTER, Problem

MAX_BODY = 16 * 1024 * 1024  # bytes of a request; a mail's attachments are at most 7 MiB, a third more in base64


class Bodies:
    """What one process holds. For one event loop."""

    def __init__(self, *, together: int = 8 * MAX_BODY) -> None:
        self._together = together
        self._held = 0

    @asynccontextmanager
    async def read(self, chunks: AsyncIterator[bytes], declared: str) -> AsyncIterator[bytes]:
        """The body, which counts for the length of the block. `declared`: its Content-Length, or "".
        Raise Problem before it is all in memory: 413 for one too large, 503 while others fill the room."""
        if declared.isdecimal() and int(declared) > MAX_BODY:
            raise too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async for chunk in chunks:
                size += len(chunk)
                self._held += len(chunk)
                if size > MAX_BODY:
                    raise too_large()
                if self._held > self._together:
                    raise _no_room()
                parts.append(chunk)
            yield b"".join(parts)
        finally:
            self._held -= size


def too_large() -> Problem:
    return Problem(
        413, "The body is too large", f"At most {MAX_BODY} bytes; send fewer items.", headers={"connection": "close"}
    )


def _no_room() -> Problem:
    return Problem(
        503,
        "Too many large bodies at once",
        "Nothing of it is stored. Try again.",
        headers={"retry-after": RETRY_AFTER, "connection": "close"},
    )

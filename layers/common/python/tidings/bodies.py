"""The bodies of requests: how much of them a process holds, one by one and all together."""

from collections.abc import AsyncIterator

from tidings.web import RETRY_AFTER, Problem

MAX_BODY = 16 * 1024 * 1024  # bytes of a request; a mail's attachments are at most 7 MiB, a third more in base64


class Bodies:
    """What one process holds. For one event loop."""

    def __init__(self, *, together: int = 8 * MAX_BODY) -> None:
        self.together = together
        self.held = 0

    def read(self, chunks: AsyncIterator[bytes], declared: str) -> "_Reading":
        """The body, which counts for the length of the `async with`. `declared`: its Content-Length, or "".
        It raises Problem before it is all in memory: 413 for one too large, 503 while others fill the room."""
        return _Reading(self, chunks, declared)


class _Reading:
    """One body, as a context manager."""

    __slots__ = ("_chunks", "_declared", "_room", "_size")

    def __init__(self, room: Bodies, chunks: AsyncIterator[bytes], declared: str) -> None:
        self._room, self._chunks, self._declared = room, chunks, declared
        self._size = 0

    async def __aenter__(self) -> bytes:
        if self._declared.isdecimal() and int(self._declared) > MAX_BODY:
            raise too_large()
        parts: list[bytes] = []
        try:
            async for chunk in self._chunks:
                self._size += len(chunk)
                self._room.held += len(chunk)
                if self._size > MAX_BODY:
                    raise too_large()
                if self._room.held > self._room.together:
                    raise _no_room()
                parts.append(chunk)
        except BaseException:
            self._leave()
            raise
        return b"".join(parts)

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._room.held -= self._size


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

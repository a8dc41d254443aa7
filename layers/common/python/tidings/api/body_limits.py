"""Reads request bodies, and limits how much memory one body and all bodies of a process use."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping

from tidings.api.http import RETRY_AFTER
from tidings.api.problems import Problem

MAX_BODY = 16 * 1024 * 1024  # bytes of a request; a mail's attachments are at most 7 MiB, a third more in base64
_PIECE = 256 * 1024  # bytes that are decompressed at a time, in about half a millisecond


class BodyBudget:
    """The bodies that one process holds. For one event loop."""

    def __init__(self, *, together: int = 8 * MAX_BODY) -> None:
        self.together = together
        self.held = 0

    def read(self, chunks: AsyncIterator[bytes], headers: Mapping[str, str], *, most: int = MAX_BODY) -> "_Reading":
        """The body, decompressed, which counts for the length of the `async with`. It raises Problem before it is all
        in memory: 413 for one of over `most` bytes, 415 for an encoding that is not known, 503 while others fill the
        room."""
        return _Reading(self, chunks, headers, most)


class _Reading:
    """One body, as a context manager."""

    __slots__ = ("_chunks", "_headers", "_most", "_room", "_size")

    def __init__(self, room: BodyBudget, chunks: AsyncIterator[bytes], headers: Mapping[str, str], most: int) -> None:
        self._room, self._chunks, self._headers, self._most = room, chunks, headers, most
        self._size = 0

    async def __aenter__(self) -> bytes | bytearray:
        inflate = _inflater(self._headers)
        declared = self._headers.get("content-length", "").lstrip("0")
        # int() is not given longer numbers: it refuses thousands of digits with an exception of its own.
        if declared.isdecimal() and (len(declared) > 18 or int(declared) > self._most):
            raise too_large(self._most)
        body: bytes | bytearray = b""
        try:
            async for chunk in self._chunks:
                for piece in (chunk,) if inflate is None else inflate.pieces(chunk):
                    self._hold(piece)
                    body = _with(body, piece)
                    if inflate is not None:
                        await asyncio.sleep(0)  # a little may become much, and others wait meanwhile
            if inflate is not None:
                inflate.finish()
        except BaseException:
            self._leave()
            raise
        return body

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _hold(self, piece: bytes) -> None:
        self._size += len(piece)
        self._room.held += len(piece)
        if self._size > self._most:
            raise too_large(self._most)
        if self._room.held > self._room.together:
            raise _no_room()

    def _leave(self) -> None:
        self._room.held -= self._size


def _with(body: bytes | bytearray, piece: bytes) -> bytes | bytearray:
    """A single piece is used as it is; several are appended in place, so that none is in memory twice."""
    if not body:
        return piece
    if isinstance(body, bytes):
        body = bytearray(body)
    body += piece
    return body


# --- compressed bodies ------------------------------------------------------------------------------------------------


def decoded(body: bytes, headers: Mapping[str, str], *, most: int = MAX_BODY) -> bytes:
    """A complete body, decompressed. Raise Problem, as `BodyBudget.read`."""
    inflate = _inflater(headers)
    if inflate is None:
        parts = [body]
    else:
        parts = []
        for piece in inflate.pieces(body):
            parts.append(piece)
            if sum(map(len, parts)) > most:
                raise too_large(most)
        inflate.finish()
    if sum(map(len, parts)) > most:
        raise too_large(most)
    return b"".join(parts)


class _Gunzip:
    """gzip, a piece at a time, so that at most one piece is not counted yet."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: the format is gzip

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        try:
            while chunk and not self._stream.eof:
                yield self._stream.decompress(chunk, _PIECE)
                chunk = self._stream.unconsumed_tail
        except zlib.error:
            raise _not_gzip() from None

    def finish(self) -> None:
        if not self._stream.eof or self._stream.unused_data:
            raise _not_gzip()


def _inflater(headers: Mapping[str, str]) -> _Gunzip | None:
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip"):
        return _Gunzip()
    raise Problem(
        415,
        "Unsupported Content-Encoding",
        "Send the body as it is, or compressed with gzip.",
        code="unsupported_encoding",
        headers={"accept-encoding": "gzip"},
    )


# --- what is refused --------------------------------------------------------------------------------------------------


def too_large(most: int = MAX_BODY) -> Problem:
    return Problem(413, "Body too large", f"At most {most} bytes.", code="body_too_large", headers=_CLOSE)


def _not_gzip() -> Problem:
    return Problem(400, "The body is not gzip", "Its Content-Encoding says so.", code="invalid_encoding")


def _no_room() -> Problem:
    return Problem(
        503,
        "Too many large bodies at once",
        "Nothing of it is stored. Try again.",
        code="overloaded",
        headers={"retry-after": RETRY_AFTER, **_CLOSE},
    )


_CLOSE = {"connection": "close"}

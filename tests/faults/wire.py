"""Watches find a piece of a stream: a confirm, a COMMIT, a mail's final dot, the end of an HTTP request.

A watch splits a stream into pieces without changing its bytes, and marks the watched piece. It delays a few bytes at
most, until it can identify them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

Piece = tuple[bytes, bool]
"""Bytes, and whether they are the watched piece."""


class Watch(ABC):
    """One direction of one connection, from its first byte on."""

    from_client: ClassVar[bool] = True

    @abstractmethod
    def pieces(self, chunk: bytes) -> Iterator[Piece]: ...


class Nothing(Watch):
    """Watches nothing."""

    def pieces(self, chunk: bytes) -> Iterator[Piece]:
        yield chunk, False


class Frames(Watch):
    """For protocols with length-prefixed messages. The watched message has a unique size."""

    size: ClassVar[int]  # of what is watched for, all of it
    header: ClassVar[int]  # bytes after which the length is known

    def __init__(self) -> None:
        self._held = bytearray()
        self._rest = 0  # bytes of the current frame that need not be inspected

    def pieces(self, chunk: bytes) -> Iterator[Piece]:
        self._held += chunk
        start = at = 0  # what lies between them passes in one piece
        while at < len(self._held):
            if self._rest:
                step = min(self._rest, len(self._held) - at)
                self._rest -= step
                at += step
                continue
            begun = bytes(self._held[at : at + self.size])
            if len(begun) < self.header or len(begun) < min(length := self._length(begun), self.size):
                break
            if length == self.size and self._is_watched(begun):
                if start < at:
                    yield bytes(self._held[start:at]), False
                yield begun, True
                start = at = at + self.size
            else:
                self._rest = length
        if start < at:
            yield bytes(self._held[start:at]), False
        del self._held[:at]

    @abstractmethod
    def _length(self, begun: bytes) -> int:
        """Of the whole frame."""

    @abstractmethod
    def _is_watched(self, frame: bytes) -> bool: ...


class Confirms(Frames):
    """AMQP 0-9-1: the server's Basic.Ack to a publisher. A consumer gets none."""

    from_client = False
    header = 7  # type, channel, length
    size = header + 4 + 8 + 1 + 1  # class and method, delivery tag, multiple, end

    def _length(self, begun: bytes) -> int:
        return self.header + int.from_bytes(begun[3:7], "big") + 1

    def _is_watched(self, frame: bytes) -> bool:
        return frame[0] == 1 and frame[7:11] == b"\x00\x3c\x00\x50"


class Commits(Frames):
    """MySQL: COM_QUERY "COMMIT"."""

    header = 4  # length, sequence
    size = header + len(b"\x03COMMIT")

    def _length(self, begun: bytes) -> int:
        return self.header + int.from_bytes(begun[:3], "little")

    def _is_watched(self, frame: bytes) -> bool:
        return frame[4:] == b"\x03COMMIT"


class FinalDots(Watch):
    """SMTP: the line with only a dot, which ends the mail."""

    def __init__(self) -> None:
        self._before = b"\r\n"  # the last two bytes that passed
        self._held = b""

    def pieces(self, chunk: bytes) -> Iterator[Piece]:
        stream = self._before + self._held + chunk
        at = 2
        while (dot := stream.find(b"\r\n.\r\n", at - 2)) >= 0:
            if dot + 2 > at:
                yield stream[at : dot + 2], False
            at = dot + 5
            yield stream[dot + 2 : at], True
        end = len(stream) - next((len(part) for part in (b".\r", b".") if stream.endswith(b"\r\n" + part)), 0)
        if end > at:
            yield stream[at:end], False
        self._before, self._held = stream[end - 2 : end], stream[end:]


class Requests(Watch):
    """HTTP/1.1: the last byte of a POST, whose length its head declares."""

    def __init__(self) -> None:
        self._head = b""
        self._body = 0  # bytes of it that are still to come

    def pieces(self, chunk: bytes) -> Iterator[Piece]:
        while chunk:
            if not self._body:
                known = len(self._head)
                head, end, _ = (self._head + chunk).partition(b"\r\n\r\n")
                if not end:
                    self._head = head
                    yield chunk, False
                    return
                of_head = len(head) + len(end) - known
                yield chunk[:of_head], False
                chunk, self._head, self._body = chunk[of_head:], b"", _declared(head)
                continue
            part, chunk = chunk[: self._body], chunk[self._body :]
            self._body -= len(part)
            if len(part) > (not self._body):
                yield part[:-1] if not self._body else part, False
            if not self._body:
                yield part[-1:], True


def _declared(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0

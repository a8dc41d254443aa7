"""Long strings, taken out of a JSON body before it is parsed: a parser reads each in one call, 2 to 6 ms a megabyte.

Each is parsed in pieces here. In the JSON a placeholder takes its place, so that the models check the rest as always.
Fields with a `MaxLength` find the text again by its placeholder; for any other field the placeholder is too long, as
the text was.
"""

import secrets
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from pydantic_core import from_json, to_json

from tidings.domain.channels.long_text import LongText

LONG = 25_000  # bytes; no field without a MaxLength takes so many: 4,096 characters, each in at most 6 bytes
PIECE = 64 * 1024  # bytes that are parsed in one call, in up to 0.4 ms

_PADDING = "x" * 5000  # a placeholder is longer than any field without a MaxLength may be
_LONGEST_ESCAPE = 12  # bytes: a surrogate pair
_SHOWN = 100  # characters of an unknown field's name in an answer; a placeholder begins as its string does


class Item(NamedTuple):
    """One value of a body, as the models read it. `texts`: its long strings, by their placeholders in `json`."""

    json: bytes | bytearray
    texts: Mapping[str, LongText] = MappingProxyType({})
    removed: Sequence[tuple[int, int]] = ()  # a place in `json`, and how many bytes less than in the body are there

    def column(self, line: int, column: int) -> int:
        """Where that is in the body. Lines are the same: no string has a line break."""
        start = 0
        for _ in range(line - 1):
            start = self.json.index(b"\n", start) + 1
        return column + sum(size for at, size in self.removed if start <= at < start + column)


class Skeleton:
    """What is left of one value of the body, while the scanner goes through it. `size`: bytes up to `end`."""

    def __init__(self, body: bytes | bytearray, start: int) -> None:
        self._body = body
        self._parts: list[bytes | bytearray] = []
        self._copied, self._size = start, 0
        self._texts: dict[str, LongText] = {}
        self._removed: list[tuple[int, int]] = []

    def size(self, end: int) -> int:
        return self._size + end - self._copied

    def item(self, end: int) -> Item:
        rest = self._body[self._copied : end]
        return Item(b"".join([*self._parts, rest]) if self._parts else rest, self._texts, self._removed)

    def take_out(self, cuts: Sequence[int]) -> None:
        """A string: from behind its first quote to its last, and between them where it can be cut."""
        text, length, beginning = BytesIO(), 0, ""
        ends = []
        for start, end in pairwise(cuts):
            raw = self._body[start:end]
            try:
                piece = from_json(b'"' + raw + b'"')
            except ValueError:
                self._leave_only(start, end, cuts)
                return
            text.write(to_json(piece)[1:-1])
            ends.append(text.tell())
            length += len(piece)
            if len(beginning) < _SHOWN:
                beginning = (beginning + piece)[:_SHOWN]
        name = secrets.token_hex(16)
        placeholder = f"{beginning}{name}{_PADDING}"
        self._texts[placeholder] = LongText(name, length, text.getvalue(), ends)
        self._replace(cuts[0], cuts[-1], to_json(placeholder)[1:-1])

    def _leave_only(self, start: int, end: int, cuts: Sequence[int]) -> None:
        """The piece that is no JSON, and what follows it closely: the parser says what is wrong with it."""
        end = min(end + _LONGEST_ESCAPE, cuts[-1])
        self._replace(cuts[0], start, b"")
        self._replace(end, cuts[-1], b"")

    def _replace(self, start: int, end: int, by: bytes) -> None:
        kept = self._body[self._copied : start]
        self._size += len(kept)
        self._removed.append((self._size, end - start - len(by)))
        self._parts += (kept, by)
        self._size += len(by)
        self._copied = end

"""Scans a JSON body before it is parsed: finds the items of an array, and refuses what exceeds a limit.

The parser reads its input in one call, and no other thread runs meanwhile. So it is given one item at a time, of
bounded size, depth and number of values, without long strings (`long_strings`). Invalid JSON is found by the parser.
"""

import re
from collections.abc import Iterator

from tidings.api.long_strings import LONG, PIECE, Item, Skeleton
from tidings.api.problems import Problem

Body = bytes | bytearray

MAX_DEPTH = 32  # nested arrays and objects; a notification has 4
MAX_VALUES = 2500  # of an item: a push message of 4,051 bytes has up to 2,073 keys
MAX_VALUES_TOGETHER = 250_000  # of a body
MAX_SIZE = 800_000  # bytes of an item besides its long strings: a mail with twenty files of 25,000 bytes has less
MAX_NUMBER = 1000  # characters of a number or another value that is no string

MAX_GAP = 64 * 1024  # characters in a row outside of strings

# Each reads at most 64 KiB: one call for megabytes would block all requests.
_ARRAY = re.compile(rb"[ \t\r\n]{0,65536}\[")
_GAP = re.compile(rb'[^\[\]{},"]{0,65536}')
_QUOTE = ord('"')
_STRING = re.compile(
    rb"""(?:[^"\\]{1,256}+|\\(?:u[dD][89abAB][^"\\]{2}\\u[^"\\]{4}|u[^"\\]{4}|.)){0,256}+""", re.DOTALL
)  # it never ends within an escape or within a surrogate pair


def is_array(body: Body) -> bool:
    return _ARRAY.match(body) is not None


def items(body: Body) -> Iterator[Item | Problem]:
    """The items of an array, or the Problem of one that exceeds a limit. Raise Problem if the whole body does."""
    return _Scan(body).items()


SMALL = 4096  # bytes, in which there are fewer values than an item may have, and no number is too long for the parser


def as_item(body: Body) -> Item:
    """The whole body as one item. Raise Problem if it exceeds a limit."""
    if len(body) <= SMALL and body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return Item(body)  # nearly every body: the scan would cost a fifth of the request
    return _Scan(body).whole()


def check(body: Body) -> None:
    """Raise Problem if the body exceeds a limit."""
    as_item(body)


class _Scan:
    """`absurd`: the limit that the current value exceeds."""

    def __init__(self, body: Body) -> None:
        self.absurd: Problem | None = None
        self._body = body
        self._at = 0
        self._depth = 0
        self._values = self._together = 0
        self._skeleton = Skeleton(body, 0)

    def whole(self) -> Item:
        while self.next_sign() is not None and self.absurd is None:
            self.count()
        item = self._item(len(self._body))
        if isinstance(item, Problem):
            raise item
        return item

    def items(self) -> Iterator[Item | Problem]:
        self.next_sign()  # its bracket
        start, number = self._at, 0
        self._skeleton = Skeleton(self._body, start)
        while (sign := self.next_sign()) is not None:
            self.count()
            if self._depth > 1 or (self._depth == 1 and sign != b","):
                continue
            item = self._item(self._at - 1)
            if number or sign == b"," or isinstance(item, Problem) or item.json.strip():  # else the array is empty
                yield item
            start, number = self._at, number + 1
            self._values, self.absurd = 0, None
            self._skeleton = Skeleton(self._body, start)
            if self._depth == 0:
                break
        if self._depth != 0 or sign != b"]":
            raise not_json("the array has no end")
        if len(self._body) - start > MAX_GAP or self._body[start:].strip():
            raise not_json("there is more after the array's end")

    def _item(self, end: int) -> Item | Problem:
        if self._skeleton.size(end) > MAX_SIZE:
            self._is_absurd(f"Its long texts aside, it has more than {MAX_SIZE} bytes.")
        return self.absurd or self._skeleton.item(end)

    def next_sign(self) -> Body | None:
        """Skip to the next bracket or comma. Raise Problem."""
        body = self._body
        while self._at < len(body):
            begun, self._at = self._at, _GAP.match(body, self._at).end()  # type: ignore[union-attr]
            if self._at - begun > MAX_NUMBER:
                self._look_at_gap(begun)
            sign = body[self._at : self._at + 1]
            if sign == b'"':
                self._pass_string()
            elif sign and sign in b"[]{},":
                self._at += 1
                self._depth += (sign in b"[{") - (sign in b"]}")
                return sign
        return None

    def _look_at_gap(self, begun: int) -> None:
        if self._at - begun >= MAX_GAP:
            self._is_absurd(f"Over {MAX_GAP} characters of white space are between its values.")
        elif len(self._body[begun : self._at].strip(b" \t\r\n:")) > MAX_NUMBER:
            self._is_absurd(f"A number has more than {MAX_NUMBER} characters.")

    def _pass_string(self) -> None:
        body, at = self._body, self._at + 1
        cuts = [at]
        while at < len(body) and body[at] != _QUOTE:
            begun, at = at, _STRING.match(body, at).end()  # type: ignore[union-attr]
            if at == begun:
                break  # a backslash is the last
            if at - cuts[-1] >= PIECE:
                cuts.append(at := self._after_character(at))
        if at >= len(body) or body[at] != _QUOTE:
            raise not_json("a string has no end")
        if at - cuts[0] > LONG and self.absurd is None:
            self._skeleton.take_out([*cuts, at])
        self._at = at + 1

    def _after_character(self, at: int) -> int:
        """Skip the rest of a UTF-8 character, at most three bytes."""
        end = min(at + 3, len(self._body))
        while at < end and self._body[at] & 0xC0 == 0x80:
            at += 1
        return at

    def count(self) -> None:
        """Count a comma or bracket as a value. Raise Problem if the body has too many."""
        self._values += 1
        self._together += 1
        if self._depth > MAX_DEPTH:
            self._is_absurd(f"Its arrays and objects are nested more than {MAX_DEPTH} levels deep.")
        if self._values > MAX_VALUES:
            self._is_absurd(f"It has more than {MAX_VALUES} values.")
        if self._together > MAX_VALUES_TOGETHER:
            raise too_complex(f"There are more than {MAX_VALUES_TOGETHER} values together.")

    def _is_absurd(self, why: str) -> None:
        if self.absurd is None:
            self.absurd = too_complex(why)


def not_json(why: str) -> Problem:
    return Problem(400, "The body is not JSON", f"Invalid JSON: {why}.", code="invalid_json")


def too_complex(why: str) -> Problem:
    return Problem(422, "The body is too complex", why, code="too_complex")

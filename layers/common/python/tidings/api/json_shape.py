"""A look at a JSON body before it is parsed: where an array's items are, and whether anything of it is absurd.

The parser builds whatever it reads, and nobody else's turn comes meanwhile. So nothing is handed to it but one item
after another, of bounded depth and number of values. What is no JSON at all the parser finds.
"""

import re
from collections.abc import Iterator

from tidings.api.problems import Problem

Body = bytes | bytearray

MAX_DEPTH = 32  # of arrays and objects in each other; a notification has 4
MAX_VALUES = 2500  # of an item: a push message of 4,051 bytes has up to 2,073 keys
MAX_VALUES_TOGETHER = 250_000  # of a body
MAX_NUMBER = 1000  # characters of a number, a word or what else is no string

MAX_GAP = 64 * 1024  # characters in a row that are in no string

# Each looks at 64 KiB at most: a single call that reads megabytes would hold everybody up.
_ARRAY = re.compile(rb"[ \t\r\n]{0,65536}\[")
_GAP = re.compile(rb'[^\[\]{},"]{0,65536}')
_QUOTE = ord('"')
_STRING = re.compile(rb'(?:[^"\\]{1,256}+|\\.){0,256}+', re.DOTALL)


def is_array(body: Body) -> bool:
    return _ARRAY.match(body) is not None


def items(body: Body) -> Iterator[Body | Problem]:
    """The items of the array that the body is, or what is absurd about one. Raise Problem, if the whole is."""
    return _Scan(body).items()


SMALL = 4096  # bytes, in which there are fewer values than an item may have, and no number is too long for the parser


def check(body: Body) -> None:
    """Raise Problem for a body that is absurd, whether it is an array or not."""
    if len(body) <= SMALL and body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return  # nearly every body: the scan would cost a fifth of the request
    scan = _Scan(body)
    while scan.next_sign() is not None and scan.absurd is None:
        scan.count()
    if scan.absurd is not None:
        raise scan.absurd


class _Scan:
    """`absurd`: what is wrong with the value that is looked at."""

    def __init__(self, body: Body) -> None:
        self.absurd: Problem | None = None
        self._body = body
        self._at = 0
        self._depth = 0
        self._values = self._together = 0

    def items(self) -> Iterator[Body | Problem]:
        self.next_sign()  # its bracket
        start, number = self._at, 0
        while (sign := self.next_sign()) is not None:
            self.count()
            if self._depth > 1 or (self._depth == 1 and sign != b","):
                continue
            item = self._body[start : self._at - 1]
            if number or sign == b"," or item.strip():  # else the array is empty
                yield self.absurd or item
            start, number = self._at, number + 1
            self._values, self.absurd = 0, None
            if self._depth == 0:
                break
        if self._depth != 0 or sign != b"]":
            raise not_json("the array has no end")
        if len(self._body) - start > MAX_GAP or self._body[start:].strip():
            raise not_json("there is more after the array's end")

    def next_sign(self) -> Body | None:
        """The next bracket or comma, past strings and all else. Raise Problem."""
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
            self._is_absurd(f"Over {MAX_GAP} characters are between its values.")
        elif len(self._body[begun : self._at].strip(b" \t\r\n:")) > MAX_NUMBER:
            self._is_absurd(f"A number has more than {MAX_NUMBER} characters.")

    def _pass_string(self) -> None:
        body, at = self._body, self._at + 1
        while at < len(body) and body[at] != _QUOTE:
            begun, at = at, _STRING.match(body, at).end()  # type: ignore[union-attr]
            if at == begun:
                break  # a backslash is the last
        if at >= len(body) or body[at] != _QUOTE:
            raise not_json("a string has no end")
        self._at = at + 1

    def count(self) -> None:
        """A comma or a bracket: about one value. Raise Problem for too many together."""
        self._values += 1
        self._together += 1
        if self._depth > MAX_DEPTH:
            self._is_absurd(f"More than {MAX_DEPTH} arrays and objects are in each other.")
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

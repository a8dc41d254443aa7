"""A look at a JSON body before it is parsed: where an array's items are, and whether anything of it is absurd.

The parser builds whatever it reads, and nobody else's turn comes meanwhile. So nothing is handed to it but one item
after another, of bounded depth and number of values. What is no JSON at all the parser finds.
"""

import re
from collections.abc import Iterator

from tidings.responses import Problem

MAX_DEPTH = 32  # of arrays and objects in each other; a notification has 4
MAX_VALUES = 2500  # of an item: a push message of 4,051 bytes has up to 2,073 keys
MAX_VALUES_TOGETHER = 250_000  # of a body
MAX_NUMBER = 100  # characters of a number, a word or what else is no string

# Each looks at 64 KiB at most: a single call that reads megabytes would hold everybody up.
_ARRAY = re.compile(rb"[ \t\r\n]{0,65536}\[")
_GAP = re.compile(rb'[^\[\]{},"]{0,65536}')
_STRING = re.compile(rb'(?:[^"\\]{1,256}+|\\.){0,256}+', re.DOTALL)


def is_array(body: bytes) -> bool:
    return _ARRAY.match(body) is not None


def items(body: bytes) -> Iterator[bytes]:
    """The items of the array that the body is, one by one; or the one value that it is. Raise Problem."""
    return (body[start:end] for start, end in _Scan(body).items())


def check(body: bytes) -> None:
    """Raise Problem for a value that is absurd, or an array with an item that is."""
    for _ in _Scan(body).items():
        pass


class _Scan:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0
        self._depth = 0
        self._values = self._together = 0

    def items(self) -> Iterator[tuple[int, int]]:
        if not is_array(self._body):
            while self._next_sign() is not None:
                self._count()
            yield 0, len(self._body)
            return
        self._next_sign()  # its bracket
        start, number = self._at, 0
        while (sign := self._next_sign()) is not None:
            if self._depth > 1 or (self._depth == 1 and sign != b","):
                self._count()
                continue
            end = self._at - 1
            if number or sign == b"," or self._values or self._body[start:end].strip():  # else it is empty
                yield start, end
            start, number, self._values = self._at, number + 1, -1
            self._count()
            if self._depth == 0:
                break
        if self._depth != 0 or sign != b"]":
            raise not_json("the array has no end")
        if len(self._body) - start > MAX_NUMBER or self._body[start:].strip():
            raise not_json("there is more after the array's end")

    def _next_sign(self) -> bytes | None:
        """The next bracket or comma, past strings and all else."""
        body = self._body
        while self._at < len(body):
            begun, self._at = self._at, _GAP.match(body, self._at).end()  # type: ignore[union-attr]
            if self._at - begun > MAX_NUMBER and len(body[begun : self._at].strip(b" \t\r\n:")) > MAX_NUMBER:
                raise too_complex(f"A number has more than {MAX_NUMBER} characters.")
            if self._at == len(body):
                return None
            sign = body[self._at : self._at + 1]
            if sign == b'"':
                self._pass_string()
            elif sign in b"[]{},":
                self._at += 1
                self._depth += (sign in b"[{") - (sign in b"]}")
                return sign
        return None

    def _pass_string(self) -> None:
        body, at = self._body, self._at + 1
        while at < len(body) and body[at] != ord('"'):
            begun, at = at, _STRING.match(body, at).end()  # type: ignore[union-attr]
            if at == begun:
                break  # a backslash is the last
        if at >= len(body) or body[at] != ord('"'):
            raise not_json("a string has no end")
        self._at = at + 1

    def _count(self) -> None:
        """A comma or a bracket: at least one value."""
        self._values += 1
        self._together += 1
        if self._depth > MAX_DEPTH:
            raise too_complex(f"More than {MAX_DEPTH} arrays and objects are in each other.")
        if self._values > MAX_VALUES:
            raise too_complex(f"A notification has more than {MAX_VALUES} values.")
        if self._together > MAX_VALUES_TOGETHER:
            raise too_complex(f"It has more than {MAX_VALUES_TOGETHER} values together.")


def not_json(why: str) -> Problem:
    return Problem(400, "The body is not JSON", f"Invalid JSON: {why}.", code="invalid_json")


def too_complex(why: str) -> Problem:
    return Problem(422, "The body is too complex", why, code="too_complex")

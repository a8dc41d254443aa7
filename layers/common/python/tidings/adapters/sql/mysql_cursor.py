"""PyMySQL's cursor for statements with megabytes in them.

PyMySQL escapes a text in one call, in which no other thread has its turn, and copies a statement five times on its way
to the socket. Here a large text goes piece by piece from its escape into the bytes that are sent.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pymysql.cursors import Cursor

LARGE = 64 * 1024  # characters of a text that are escaped at a time; one without more goes PyMySQL's own way


class FrugalCursor(Cursor):
    """A row with a large text is a statement of its own: several would be in memory together."""

    def _mogrify(self, query: Any, args: Any) -> Any:
        """As bytes, which `execute` sends as they are, where a value is large."""
        if not isinstance(args, tuple | list) or not _is_large(args):
            return super()._mogrify(query, args)  # type: ignore[misc]
        statement = bytearray()
        for piece in self._pieces(query, args):
            statement += piece  # it grows in place: the pieces and the whole are never in memory together
        return bytes(statement)

    def _do_execute_many(  # noqa: PLR0917 - the driver's
        self, prefix: Any, values: str, postfix: Any, args: Iterable[Any], max_stmt_length: int, encoding: str
    ) -> int:
        rows = [*args]
        if not any(map(_is_large, rows)):
            done: int = super()._do_execute_many(prefix, values, postfix, rows, max_stmt_length, encoding)  # type: ignore[misc]
            return done
        # PyMySQL, too, begins a new statement after a megabyte.
        self.rowcount = sum(self.execute(f"{prefix}{values}{postfix}", row) for row in rows)
        return self.rowcount

    def _pieces(self, query: str, args: Sequence[Any]) -> Iterator[bytes]:
        connection = self.connection
        encoding = connection.encoding
        first, *literals = query.replace("%%", "%").split("%s")
        yield first.encode(encoding)
        for value, literal in zip(args, literals, strict=True):
            if isinstance(value, str) and len(value) > LARGE:
                yield b"'"
                for start in range(0, len(value), LARGE):
                    yield connection.escape(value[start : start + LARGE])[1:-1].encode(encoding)
                yield b"'"
            else:
                yield connection.escape(value).encode(encoding, "surrogateescape")
            yield literal.encode(encoding)


def _is_large(row: Sequence[Any]) -> bool:
    return any(isinstance(value, str) and len(value) > LARGE for value in row)

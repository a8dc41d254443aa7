"""PyMySQL's cursor for statements with megabytes in them.

PyMySQL escapes a text in one call, in which no other thread runs, and copies a statement five times on its way to the
socket. Here a text that is given as bytes goes to the socket piece by piece, and there is no statement of it in memory.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from pymysql.constants.COMMAND import COM_QUERY
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_NO_BACKSLASH_ESCAPES
from pymysql.cursors import Cursor
from pymysql.err import InterfaceError

from tidings.domain.fairness import give_way

LARGE = 64 * 1024  # bytes that are escaped at a time
REPEATED = 64  # literals that are remembered while many rows are written
MAX_PACKET = 2**24 - 1  # bytes; a statement that is larger is sent as several packets


class FrugalCursor(Cursor):
    """A row with bytes is a statement of its own: several would be in memory together. Bytes are UTF-8."""

    _literal: Callable[[Any], str] | None = None  # while many rows are written: most of their values are the same

    def _mogrify(self, query: Any, args: Any) -> Any:
        """The statement, which `execute` gives to `_query`: in pieces, where a value is bytes."""
        if not isinstance(args, tuple | list) or not _has_bytes(args):
            if self._literal is not None:
                return query % tuple(map(self._literal, args))
            return super()._mogrify(query, args)  # type: ignore[misc]
        return lambda: self._pieces(query, args)

    def _query(self, statement: Any) -> int:
        if not callable(statement):
            return super()._query(statement)  # type: ignore[misc, no-any-return]
        size = sum(map(len, statement()))  # the packet begins with it
        if size + 1 >= MAX_PACKET:
            return super()._query(b"".join(statement()))  # type: ignore[misc, no-any-return]
        self._clear_result()  # type: ignore[attr-defined]
        self._send(size, statement())
        self._do_get_result()  # type: ignore[attr-defined]
        return self.rowcount

    def _send(self, size: int, pieces: Iterable[bytes]) -> None:
        """What PyMySQL's `Connection.query` does, without a copy of the statement."""
        connection: Any = self.connection
        if connection._sock is None:
            raise InterfaceError(0, "")
        connection._result = None
        connection._write_bytes(struct.pack("<iB", size + 1, COM_QUERY))
        for piece in pieces:
            give_way()
            connection._write_bytes(piece)
        connection._next_seq_id = 1
        connection._affected_rows = connection._read_query_result()

    def _do_execute_many(  # noqa: PLR0917 - the driver's
        self, prefix: Any, values: str, postfix: Any, args: Iterable[Any], max_stmt_length: int, encoding: str
    ) -> int:
        rows = [*args]
        if not any(map(_has_bytes, rows)):
            connection: Any = self.connection
            self._literal = lru_cache(REPEATED)(connection.escape)
            done: int = super()._do_execute_many(prefix, values, postfix, rows, max_stmt_length, encoding)  # type: ignore[misc]
            return done
        # PyMySQL, too, begins a new statement after a megabyte.
        self.rowcount = sum(self.execute(f"{prefix}{values}{postfix}", row) for row in rows)
        return self.rowcount

    def _pieces(self, query: str, args: Sequence[Any]) -> Iterator[bytes]:
        connection: Any = self.connection
        encoding = connection.encoding
        has_escapes = not connection.server_status & SERVER_STATUS_NO_BACKSLASH_ESCAPES
        first, *literals = query.replace("%%", "%").split("%s")
        yield first.encode(encoding)
        for value, literal in zip(args, literals, strict=True):
            if isinstance(value, bytes):
                yield b"'"
                for start in range(0, len(value), LARGE):
                    quoted = value[start : start + LARGE].replace(b"'", b"''")
                    yield quoted.replace(b"\\", b"\\\\") if has_escapes else quoted
                yield b"'"
            else:
                yield connection.escape(value).encode(encoding, "surrogateescape")
            yield literal.encode(encoding)


def _has_bytes(row: Sequence[Any]) -> bool:
    return bytes in map(type, row)

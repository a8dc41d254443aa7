"""Read a file of suppressions, CSV or NDJSON, line by line, and store it page by page."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from tidings.api.http import RETRY_AFTER
from tidings.api.operator.suppression_models import BadLine, ImportedRow, ImportedView
from tidings.api.problems import Problem
from tidings.api.validation_problems import problem_of
from tidings.domain.errors import StoreUnavailable
from tidings.domain.fairness import give_way
from tidings.ports import PAGE

MAX_ROWS = 100_000
MAX_LINE = 16 * 1024  # bytes; one call reads a line, and no other thread runs meanwhile
COLUMNS = ("channel", "recipient", "reason", "expires_at", "note", "scope", "category")
INVALID_IMPORT = "The file cannot be imported"

Store = Callable[[str, Sequence[ImportedRow]], None]
"""Stores rows of one channel. Raise StoreUnavailable."""


def imported(body: bytes | bytearray, store: Store) -> ImportedView:
    """Good lines are stored even if others are bad. Raise Problem: 422 with nothing stored; 503 if the database fails
    on the way, which says how far it came."""
    if body.count(b"\n") > MAX_ROWS + 1:
        raise Problem(422, INVALID_IMPORT, f"At most {MAX_ROWS} rows; split the file.")
    writer = _Writer(store)
    for number, row in _rows(body):
        if isinstance(row, str):
            writer.bad.append(BadLine(line=number, error=row))
        else:
            writer.add(number, row)
        if number % 100 == 0:
            give_way()
    writer.flush()
    return ImportedView(stored=writer.stored, bad=len(writer.bad), errors=writer.bad)


@dataclass
class _Writer:
    """Holds at most a page of rows."""

    store: Store
    stored: int = 0
    bad: list[BadLine] = field(default_factory=list)
    _page: dict[str, list[ImportedRow]] = field(default_factory=dict)
    _held: int = 0
    _line: int = 0  # up to which all is stored

    def add(self, number: int, row: ImportedRow) -> None:
        self._page.setdefault(row.channel, []).append(row)
        self._held += 1
        if self._held == PAGE:
            self.flush(number)

    def flush(self, number: int = 0) -> None:
        try:
            for channel, rows in self._page.items():
                self.store(channel, rows)
        except StoreUnavailable:
            raise interrupted(self._line) from None
        self.stored += self._held
        self._page, self._held, self._line = {}, 0, number


def interrupted(line: int) -> Problem:
    return Problem(
        503,
        "The database does not answer",
        f"The good lines up to line {line} are stored, and perhaps some more. Import the file again: that is harmless.",
        code="import_interrupted",
        headers={"retry-after": RETRY_AFTER},
    )


def _rows(body: bytes | bytearray) -> Iterator[tuple[int, ImportedRow | str]]:
    """Each line that is not blank, with its number: the row, or what is wrong with it."""
    lines = ((number, line) for number, line in enumerate(io.BytesIO(body), 1) if line.strip())
    first = next(lines, None)
    if first is None:
        raise Problem(422, INVALID_IMPORT, "It is empty.")
    number, line = first
    line = line.removeprefix(b"\xef\xbb\xbf")
    if line.lstrip().startswith(b"{"):
        yield number, _row(line, from_json)
        read: Callable[[bytes], Any] = from_json
    else:
        read = _csv(line)
    for number, line in lines:
        yield number, _row(line, read)


def _csv(head: bytes) -> Callable[[bytes], Mapping[str, str]]:
    """Reads a line by the names in the first one. Raise Problem."""
    try:
        names = [name.strip().lower() for name in _cells(head)]
    except ValueError as error:
        raise Problem(422, INVALID_IMPORT, f"The first line {error}.") from None
    wrong = [f"unknown column {name[:40]!r}" for name in names if name not in COLUMNS]
    wrong += [f"the column {name} is missing" for name in COLUMNS[:2] if name not in names]
    if wrong or len(set(names)) < len(names):
        what = "; ".join(wrong) or "a column is named twice"
        raise Problem(422, INVALID_IMPORT, f"The first line must name columns of {', '.join(COLUMNS)}: {what}.")

    def read(line: bytes) -> Mapping[str, str]:
        cells = _cells(line)
        if len(cells) != len(names):
            raise ValueError(f"has {len(cells)} columns, not {len(names)}")
        return {name: cell.strip() for name, cell in zip(names, cells, strict=True) if cell.strip()}

    return read


def _cells(line: bytes) -> list[str]:
    """Raise ValueError."""
    if len(line) > MAX_LINE:
        raise ValueError(f"has more than {MAX_LINE} bytes")
    try:
        return next(csv.reader([line.decode().strip("\r\n")], strict=True), [])
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"is not CSV: {error}") from None


def _row(line: bytes, read: Callable[[bytes], Any]) -> ImportedRow | str:
    try:
        if len(line) > MAX_LINE:
            return f"has more than {MAX_LINE} bytes"
        return ImportedRow.model_validate(read(line))
    except ValidationError as invalid:
        first = problem_of(invalid).document["errors"][0]
        return f"{first['field']} {first['detail']}".strip()
    except ValueError as error:  # from_json's too
        return "is not a JSON object" if read is from_json else str(error)

"""The reference: plain inserts of the same rows into a copy of the table with PyMySQL: the database's maximum, in the
same minutes on the same machine."""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pymysql.cursors import Cursor

from local.services.database import connection
from tests.load.figures import shown

COPY = "plain_notifications"
ENOUGH = 10_000  # rows, to measure thousands by
YARDSTICK = 1000  # rows


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of `notifications`, with all their columns."""

    columns: Sequence[str]
    values: Sequence[tuple[Any, ...]]

    def insert(self, table: str = COPY) -> str:
        holders = ", ".join(["%s"] * len(self.columns))
        return f"INSERT INTO {table} ({', '.join(self.columns)}) VALUES ({holders})"


def rows(url: str, count: int) -> Rows:
    """The first so many that are in the table, and an empty copy of it."""
    with connection(url) as connected, connected.cursor() as cursor:
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {COPY} LIKE notifications")
        cursor.execute(f"SELECT * FROM notifications ORDER BY id LIMIT {count}")
        columns = [column[0] for column in cursor.description]
        found = Rows(columns=columns, values=list(cursor.fetchall()))
    assert len(found.values) == count, f"{len(found.values)} rows where {count} are wanted"
    return found


def one_by_one(url: str, given: Rows, *, threads: int = 2) -> float:
    """Rows a second, one commit a row."""
    _empty(url)

    def insert(part: Sequence[tuple[Any, ...]]) -> None:
        with connection(url) as connected, connected.cursor() as cursor:
            for values in part:
                cursor.execute(given.insert(), values)

    begun = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(insert, [given.values[place::threads] for place in range(threads)]))
    return len(given.values) / (time.monotonic() - begun)


def by_the_thousand(url: str, given: Rows) -> float:
    """Rows a second, 1,000 a statement, one commit each; of few rows, again and again."""
    times = math.ceil(ENOUGH / len(given.values))
    seconds = sum(_seconds_by_the_thousand(url, given) for _ in range(times))
    return times * len(given.values) / seconds


def _seconds_by_the_thousand(url: str, given: Rows) -> float:
    _empty(url)
    with connection(url) as connected, connected.cursor(_Whole) as cursor:
        begun = time.monotonic()
        for start in range(0, len(given.values), 1000):
            cursor.executemany(given.insert(), given.values[start : start + 1000])
        return time.monotonic() - begun


def beside(url: str, rate: float) -> str:
    """This rate as a share of the reference's, which runs now, with rows that are in the table."""
    given = rows(url, YARDSTICK)
    one, many = one_by_one(url, given), by_the_thousand(url, given)
    return (
        f"{shown(rate / one)} of plain inserts with one commit a row ({shown(one, '/s')}), "
        f"{shown(rate / many)} of 1,000 a statement ({shown(many, '/s')}), just after"
    )


class _Whole(Cursor):
    """PyMySQL cuts what is inserted together at 1 MB; not here."""

    max_stmt_length = 8 * 1024 * 1024


def _empty(url: str) -> None:
    with connection(url) as connected, connected.cursor() as cursor:
        cursor.execute(f"TRUNCATE {COPY}")

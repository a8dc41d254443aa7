"""A database whose answer to COMMIT is lost, as if the connection broke then: committed, without an answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tidings.adapters.sql.database import Database

LOST_CONNECTION = 2013  # "Lost connection to server during query"


@contextmanager
def commits_unanswered(database: Database, *, times: int) -> Iterator[None]:
    """In the block, the answers to this many COMMITs are lost."""
    dialect: Any = database.engine.dialect
    commit, left = dialect.do_commit, times

    def committed(connection: Any) -> None:
        nonlocal left
        commit(connection)
        if left > 0:
            left -= 1
            raise dialect.loaded_dbapi.OperationalError(LOST_CONNECTION, "Lost connection")

    dialect.do_commit = committed
    try:
        yield
    finally:
        dialect.do_commit = commit

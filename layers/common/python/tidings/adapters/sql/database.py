"""The database: one engine a process, short transactions, retried after a deadlock or a lost connection."""

import functools
import random
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import Field, field_validator
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tidings.adapters.sql.mysql_connection import FrugalConnection
from tidings.adapters.sql.mysql_cursor import FrugalCursor
from tidings.config.rotation import Rotation
from tidings.config.settings import Settings
from tidings.domain.errors import StoreUnavailable

T = TypeVar("T")
P = ParamSpec("P")

_DEADLOCKS = {1205, 1213}  # lock wait timeout, deadlock: the server has rolled back, nothing happened
_LOST = {
    0,
    1927,
    2003,
    2006,
    2013,
    2014,
    2055,
    4031,
}  # the connection is lost; so is the transaction, unless COMMIT had arrived
_OLD_SCHEMA = {1054, 1146}  # no such column, no such table
_OLD_SQLITE = re.compile(r"no such (table|column)|table \S+ has no column")
_DENIED = {1045, 1698}  # a wrong user or password, or one that was changed
_ATTEMPTS = 5
_SOON = 3.0  # seconds: an error that came sooner was no time-out, even on a busy machine
_SERVER_TIMEOUT, _RECYCLE_AFTER = 20, 15
"""Seconds. The server closes a connection that is silent for longer, and rolls back: after a network failure nothing
else would release its locks for hours. We replace a connection before it is that old, so that the server closes none in
use. Between two statements of a transaction we are silent for milliseconds."""
_CONVERSIONS = {**conversions, FIELD_TYPE.DATETIME: datetime.fromisoformat}
"""PyMySQL reads a time by a regular expression, which takes fifteen times as long."""
_READ_ONLY = {"tidings_read_only": True}


class DatabaseSettings(Settings):
    """Where the rows are. Prefix TIDINGS_."""

    database_url: str = Field(
        default="sqlite:///.tidings/tidings.db",
        description="mysql+pymysql://user:password@host:3306/tidings, or sqlite:///path for the embedded default",
    )
    database_pool: int = Field(default=8, ge=1, le=200, description="connections a process, at most")
    database_timeout: float = Field(default=10.0, gt=0, le=300, description="seconds to wait for an answer or a lock")

    @field_validator("database_url")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            url = make_url(value)
        except Exception:
            raise ValueError("not a database URL") from None
        if url.drivername == "mysql":
            url = url.set(drivername="mysql+pymysql")
        if url.drivername not in ("mysql+pymysql", "mariadb+pymysql", "sqlite"):
            raise ValueError(f"{url.drivername} is not supported; use mysql+pymysql or sqlite")
        return url.render_as_string(hide_password=False)


class Database:
    """Transactions on one engine. Opened at its first use, so that it can be created before a fork."""

    def __init__(
        self, settings: DatabaseSettings, *, clock: Callable[[], datetime] | None = None, patience: float | None = None
    ) -> None:
        """`clock`: in place of the database's time, for tests of leases and delays. `patience`: seconds to wait for an
        answer or a lock, in place of the setting: a migration of a large table takes long."""
        self._settings = settings
        self._rotation = Rotation(settings)
        self._clock = clock
        self._patience = patience or settings.database_timeout
        self._sqlite = settings.database_url.startswith("sqlite")

    @functools.cached_property
    def engine(self) -> Engine:
        settings = self._settings
        if self._sqlite:
            engine = create_engine(
                settings.database_url, hide_parameters=True, connect_args={"timeout": self._patience}
            )
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        engine = create_engine(
            settings.database_url,
            # Lock only the matching rows: under REPEATABLE READ two batches block each other by gap locks.
            isolation_level="READ COMMITTED",
            hide_parameters=True,  # the text of an error would hold recipients
            pool_size=settings.database_pool,
            max_overflow=0,
            pool_timeout=settings.database_timeout,
            pool_recycle=_RECYCLE_AFTER,
            paramstyle="format",  # by position, as on SQLite: bulk_insert has no names
            pool_reset_on_return=None,  # every use is a transaction: no ROLLBACK after its COMMIT
            connect_args={
                "charset": "utf8mb4",
                "cursorclass": FrugalCursor,
                "conv": _CONVERSIONS,
                "connect_timeout": settings.database_timeout,
                "read_timeout": self._patience,
                "write_timeout": self._patience,
                "init_command": f"SET time_zone = '+00:00', wait_timeout = {_SERVER_TIMEOUT}",
            },
        )
        event.listen(engine, "do_connect", self._connect)
        return engine

    def _connect(self, _dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> Any:
        def connect(settings: DatabaseSettings) -> FrugalConnection:
            url = make_url(settings.database_url)
            return FrugalConnection(**options | url.translate_connect_args(username="user"))

        return self._rotation.connect(connect, is_refusal=lambda error: error.args[:1] in {(code,) for code in _DENIED})

    def now(self, connection: Connection) -> datetime:
        """The database's time: the one clock that all processes share."""
        if self._clock is not None:
            return self._clock()
        if self._sqlite:  # in this process, so it has our clock
            return datetime.now(UTC)
        value: datetime = connection.exec_driver_sql("SELECT UTC_TIMESTAMP(6)").scalar_one()
        return value.replace(tzinfo=UTC)

    def now_and(self, connection: Connection, question: str, values: Sequence[Any]) -> tuple[datetime, Any]:
        """The time, and the answer to a question, an SQL expression: in one statement where the time takes one."""
        parameters = tuple(values)
        if self._sqlite:
            return self.now(connection), _asked_of_sqlite(connection, f"SELECT {question}", parameters)
        if self._clock is not None:
            return self._clock(), connection.exec_driver_sql(f"SELECT {question}", parameters).scalar()
        at, answer = connection.exec_driver_sql(f"SELECT UTC_TIMESTAMP(6), {question}", parameters).one()
        return at.replace(tzinfo=UTC), answer

    def close(self) -> None:
        if "engine" in self.__dict__:
            self.engine.dispose()
            del self.__dict__["engine"]


def transaction(
    work: Callable[Concatenate[Any, Connection, P], T],
) -> Callable[Concatenate[Any, P], T]:
    """Run the method in a transaction of `self.database`, and again after a deadlock or a lost connection.

    So the method must be safe to run twice, even if the first COMMIT had arrived and only its answer was lost. Raise
    StoreUnavailable if the database does not answer.
    """

    @functools.wraps(work)
    def run(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        database: Database = self.database
        return _run(database.engine, lambda connection: work(self, connection, *args, **kwargs))

    return run


def reading(work: Callable[Concatenate[Any, Connection, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Like `transaction`, for a method that only reads: on SQLite it waits for no writer."""

    @functools.wraps(work)
    def run(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        database: Database = self.database
        reader = database.engine.execution_options(**_READ_ONLY)
        return _run(reader, lambda connection: work(self, connection, *args, **kwargs))

    return run


def see_one_moment(connection: Connection) -> None:
    """Call it first: all reads of the transaction then see the state at its first read. On SQLite they always do."""
    if connection.dialect.name != "sqlite":
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


def _run(engine: Engine, work: Callable[[Connection], T]) -> T:
    begun = time.monotonic()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            was_quick = time.monotonic() - begun < _SOON
            if attempt == _ATTEMPTS or not _may_retry(error, attempt, was_quick):
                raise _translated(error) from error
            time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311
        except PoolTimeout as error:
            raise StoreUnavailable(f"no free connection: {error}") from error
    raise AssertionError("unreachable")


def _code(error: DBAPIError) -> int | None:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def _may_retry(error: DBAPIError, attempt: int, was_quick: bool) -> bool:
    code = _code(error)
    # Try again once after a lost connection, and more often while they are lost at once: a claim that is given up after
    # its COMMIT keeps its rows until the lease expires, and then counts as ambiguous. If the database is down, the
    # caller waits.
    return code in _DEADLOCKS or (code in _LOST - {2003} and (attempt == 1 or was_quick))


def _translated(error: DBAPIError) -> Exception:
    code = _code(error)
    if code in _OLD_SCHEMA or _OLD_SQLITE.match(str(error.orig)):  # temporary: the migration is still to come
        return StoreUnavailable("the schema is missing or older than this release: run `python -m tidings.migrate`")
    # SQLite raises exactly DatabaseError for a file that is no database.
    if (
        isinstance(error, OperationalError)
        or type(error) is DatabaseError
        or code in _LOST | _DEADLOCKS
        or error.connection_invalidated
    ):
        # Never the statement or its parameters: they hold recipients.
        return StoreUnavailable(
            f"the database does not answer ({type(error.orig).__name__} {code or ''})".rstrip(" )") + ")"
        )
    return error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # our begin event sends BEGIN, not the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _asked_of_sqlite(connection: Connection, statement: str, parameters: tuple[Any, ...]) -> Any:
    """By the driver, as SQLAlchemy takes twenty times as long as SQLite does."""
    driver: Any = connection.connection.driver_connection
    try:
        return driver.execute(statement, parameters).fetchone()[0]
    except sqlite3.Error:  # once more, for SQLAlchemy's error
        return connection.exec_driver_sql(statement, parameters).scalar()


def _begin_sqlite(connection: Connection) -> None:
    # Under WAL a transaction that first reads and then writes cannot upgrade its lock: take the write lock at once.
    read_only = connection.get_execution_options().get("tidings_read_only")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

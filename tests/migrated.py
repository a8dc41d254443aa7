"""A database with this version's schema. This process migrates once; the others are copies, which take a tenth of the
time."""

import re
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from pymysql.constants import CLIENT
from sqlalchemy import URL, create_engine, inspect, make_url
from tidings.adapters.sql.database import DatabaseSettings
from tidings.adapters.sql.mysql_connection import FrugalConnection
from tidings.migrate import migrate

MIGRATIONS = Path(__file__).parents[1] / "infra" / "migrations"

_statements_of: dict[tuple[str | None, int | None], str] = {}
"""By host and port of a MariaDB or MySQL server: what makes the schema there."""


def migrated(url: str) -> DatabaseSettings:
    """Of the empty database at this URL: an SQLite file that is not there yet, or on MariaDB or MySQL."""
    settings, parts = DatabaseSettings(database_url=url), make_url(url)
    if parts.drivername == "sqlite":
        Path(str(parts.database)).write_bytes(_sqlite_file())
    elif (statements := _statements_of.get((parts.host, parts.port))) is not None:
        _run(parts, statements)
    else:
        migrate(settings, MIGRATIONS)
        _statements_of[parts.host, parts.port] = _dumped(url)
    return settings


@cache
def _sqlite_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tidings.db")
        migrate(DatabaseSettings(database_url=f"sqlite:///{file}"), MIGRATIONS)
        return file.read_bytes()


def _dumped(url: str) -> str:
    """The tables, and the few rows that migrations write."""
    engine = create_engine(url)
    statements = []
    with engine.connect() as connection:
        for table in inspect(connection).get_table_names():
            [(_, create)] = connection.exec_driver_sql(f"SHOW CREATE TABLE `{table}`")
            statements.append(create)
            for row in connection.exec_driver_sql(f"SELECT * FROM `{table}`"):
                values = ", ".join("NULL" if value is None else f"'{value}'" for value in row)
                statements.append(f"INSERT INTO `{table}` VALUES ({values})")
    engine.dispose()
    return ";\n".join(statements)


def empty(url: str) -> None:
    """Make a database on MariaDB as it was after `migrated`, unless a test changed its tables. Much quicker than a new
    one."""
    parts = make_url(url)
    made = _statements_of[parts.host, parts.port]
    tables = re.findall(r"^CREATE TABLE (`\w+`)", made, re.MULTILINE)
    rows = re.findall(r"^INSERT .*$", made, re.MULTILINE)
    _run(parts, "\n".join([*(f"DELETE FROM {table};" for table in tables), *rows]))


def _run(parts: URL, statements: str) -> None:
    """All of them in one request."""
    with closing(
        FrugalConnection(
            host=str(parts.host),
            port=parts.port or 3306,
            user=parts.username,
            password=parts.password or "",
            database=parts.database,
            client_flag=CLIENT.MULTI_STATEMENTS,
            autocommit=True,
        )
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(statements)
        while cursor.nextset():
            pass

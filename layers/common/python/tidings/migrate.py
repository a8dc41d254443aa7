"""Bring the database to this version's schema: `python -m tidings.migrate [REVISION]` (default: head).

It may run while the previous release serves: see docs/upgrades.md.
"""

import sys
import time
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from pydantic import Field
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.exc import DBAPIError

from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.config.settings import Settings, load
from tidings.domain.errors import ConfigurationError, StoreUnavailable

PATIENCE = 24 * 3600.0  # seconds; an index of a large table takes its time
LOCK_WITHIN, LOCK_AGAIN, LOCK_TRIES = 1, 3.0, 200
"""Seconds. A statement that waits for a table blocks all later users of the table. So it waits briefly, and tries again
after a pause, for ten minutes."""

_BUSY = {1205, 1213}  # lock wait time-out, deadlock: nothing was changed
_EXISTS = {1050, 1060, 1061}  # the table, column or index exists


class MigrationSettings(Settings):
    """Where the migrations are. Prefix TIDINGS_."""

    migrations: Path = Field(default=Path("infra/migrations"), description="the folder with alembic's env.py")


def migrate(database: DatabaseSettings, migrations: Path, revision: str = "head") -> None:
    """Upgrade to this revision. Of two runs at once, one waits. After an interrupted run, the next one continues. A
    later release's schema is left alone. Raise ConfigurationError or StoreUnavailable."""
    config = _config(migrations)
    url = make_url(database.database_url)
    if url.drivername == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    opened = Database(database, patience=LOCK_TRIES * LOCK_AGAIN if url.drivername == "sqlite" else PATIENCE)
    try:
        with opened.engine.connect() as connection:
            if connection.dialect.name != "sqlite":  # SQLite has one writer, and rolls back an interrupted run
                _wait_for_others(connection)
                connection.execute(text(f"SET SESSION lock_wait_timeout = {LOCK_WITHIN}"))
                event.listen(opened.engine, "do_execute", _execute_online)
            present = MigrationContext.configure(connection).get_current_revision()
            if is_later(present, _head(config)):
                return
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
    except DBAPIError as error:
        raise StoreUnavailable(f"{type(error.orig).__name__}: {error.orig}") from error
    except CommandError as error:
        raise ConfigurationError(f"{error}; is it the database of Tidings?") from None
    finally:
        opened.close()


def _execute_online(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Run a statement while others use the tables: without locking them, and without waiting for long."""
    online = {"ALTER TABLE": ", LOCK=NONE", "CREATE INDEX": " LOCK=NONE", "CREATE UNIQUE INDEX": " LOCK=NONE"}
    statement = statement.strip()
    statement += next((lock for verb, lock in online.items() if statement.startswith(verb)), "")
    for last in range(LOCK_TRIES - 1, -1, -1):
        try:
            context.dialect.do_execute(cursor, statement, parameters, context)
        except context.dialect.dbapi.Error as error:
            if error.args[0] in _EXISTS:
                break  # by an interrupted run: MySQL commits a schema change at once
            if error.args[0] not in _BUSY or not last:
                raise
            time.sleep(LOCK_AGAIN)
        else:
            break
    return True


def versions(database: DatabaseSettings, migrations: Path) -> tuple[str | None, str]:
    """The revision of the database, None if it has none, and that of this release. Raise ConfigurationError or
    StoreUnavailable."""
    head = _head(_config(migrations))
    opened = Database(database)
    try:
        with opened.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision(), head
    except DBAPIError as error:
        raise StoreUnavailable(f"the database does not answer ({type(error.orig).__name__})") from None
    finally:
        opened.close()


def is_later(present: str | None, ours: str) -> bool:
    """Whether the revision is of a later release. Revisions are numbers."""
    return present is not None and present.isdigit() and int(present) > int(ours)


def _head(config: Config) -> str:
    return str(ScriptDirectory.from_config(config).get_current_head())


def _config(migrations: Path) -> Config:
    if not (migrations / "env.py").is_file():
        raise ConfigurationError(
            f"TIDINGS_MIGRATIONS: no env.py in {migrations}; run from the project's root or set it"
        )
    config = Config()
    config.set_main_option("script_location", str(migrations))
    return config


def _wait_for_others(connection: Connection) -> None:
    """Wait for another migration. By short queries, because a silent connection is closed."""
    for _ in range(60):
        if connection.scalar(text("SELECT GET_LOCK('tidings_migrations', 2)")) == 1:
            return
    raise ConfigurationError("another migration has been running for two minutes: wait for its end, then try again")


def main() -> int:
    try:
        database, migrations = load(DatabaseSettings), load(MigrationSettings).migrations
        migrate(database, migrations, *sys.argv[1:2])
        present, ours = versions(database, migrations)
    except (ConfigurationError, StoreUnavailable) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, ConfigurationError) else 1
    if is_later(present, ours):
        print(f"the database is at {present}, a later release's; this one's is {ours}: nothing to do")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())

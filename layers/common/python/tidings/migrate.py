"""Bring the database to this version's schema: `python -m tidings.migrate [REVISION]` (default: head)."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import Field
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from tidings.adapters.database import Database, DatabaseSettings
from tidings.errors import ConfigurationError, StoreUnavailable
from tidings.settings import Settings, load


class MigrationSettings(Settings):
    """Where the migrations lie. Prefix TIDINGS_."""

    migrations: Path = Field(default=Path("infra/migrations"), description="the folder with alembic's env.py")


def migrate(database: DatabaseSettings, migrations: Path, revision: str = "head") -> None:
    """Upgrade to this revision. Two that run at once wait for each other."""
    config = _config(migrations)
    url = make_url(database.database_url)
    if url.drivername == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    opened = Database(database)
    try:
        with opened.engine.connect() as connection:
            if connection.dialect.name != "sqlite":  # which has one writer anyway
                _alone(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
    finally:
        opened.close()


def versions(database: DatabaseSettings, migrations: Path) -> tuple[str | None, str]:
    """The database's revision, None where it has none; and this version's. Raise ConfigurationError or
    StoreUnavailable."""
    head = str(ScriptDirectory.from_config(_config(migrations)).get_current_head())
    opened = Database(database)
    try:
        with opened.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision(), head
    except DBAPIError as error:
        raise StoreUnavailable(f"the database does not answer ({type(error.orig).__name__})") from None
    finally:
        opened.close()


def _config(migrations: Path) -> Config:
    if not (migrations / "env.py").is_file():
        raise ConfigurationError(
            f"TIDINGS_MIGRATIONS: no env.py in {migrations}; run from the project's root or set it"
        )
    config = Config()
    config.set_main_option("script_location", str(migrations))
    return config


def _alone(connection: Connection) -> None:
    """Wait for another's migration. In short questions, because a connection that is silent for long is given up."""
    for _ in range(60):
        if connection.scalar(text("SELECT GET_LOCK('tidings_migrations', 2)")) == 1:
            return
    raise ConfigurationError("another migration has been running for two minutes: wait for its end, and try again")


def main() -> int:
    try:
        migrate(load(DatabaseSettings), load(MigrationSettings).migrations, *sys.argv[1:2])
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

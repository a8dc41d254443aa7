"""Migrations that run while the version before serves: they only add, lock nobody out, and may be cut off."""

import gc
import io
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import default
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.schema import metadata
from tidings.adapters.sql.store import SqlStore
from tidings.domain.errors import ConfigurationError, StoreUnavailable
from tidings.migrate import migrate, versions

from tests import forks, make
from tests.clock import TestClock
from tests.migrated import MIGRATIONS

RULE = "a migration adds, so that the release before goes on; see docs/upgrades.md"
ADDS = (
    r"CREATE TABLE \w+ \(.*",
    r"CREATE INDEX \w+ ON \w+ \(.*",
    r"ALTER TABLE \w+ ADD COLUMN (?!.*NOT NULL)(?!.*UNIQUE).*",
    r"ALTER TABLE \w+ ADD COLUMN (?=.*DEFAULT )(?!.*UNIQUE).*",
)
"""What the release before does not notice. It writes its rows without a new column: that may be NULL, or has a default.
With a table of its own a migration may do anything; old rows are filled by the code, page by page."""
OF_A_TABLE = r"(?:CREATE UNIQUE INDEX \w+ ON|(?:INSERT|REPLACE) INTO) (\w+) "


@pytest.fixture(params=["sqlite", "mariadb"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseSettings:
    """A database with nothing in it."""
    url = f"sqlite:///{tmp_path}/tidings.db" if request.param == "sqlite" else request.getfixturevalue("mariadb_url")
    return DatabaseSettings(database_url=url)


@pytest.fixture
def served(mariadb_url: str) -> DatabaseSettings:
    settings = DatabaseSettings(database_url=mariadb_url, database_timeout=15)
    migrate(settings, MIGRATIONS)
    return settings


def with_next(folder: Path, *upgrade: str, revision: str = "9999") -> Path:
    """The migrations, and the one of a next release."""
    migrations = shutil.copytree(MIGRATIONS, folder / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    body = "\n    ".join(upgrade)
    (migrations / "versions" / f"{revision}_next.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\n\nrevision = {revision!r}\n"
        f"down_revision = {_scripts()[-1].revision!r}\n\n\ndef upgrade():\n    {body}\n"
    )
    return migrations


def _scripts(migrations: Path = MIGRATIONS) -> list[Script]:
    """Oldest first."""
    return list(ScriptDirectory(str(migrations)).walk_revisions())[::-1]


@contextmanager
def connected(settings: DatabaseSettings) -> Iterator[Any]:
    opened = Database(settings)
    with opened.engine.connect() as connection:
        yield connection
    opened.close()


# --- they only add ----------------------------------------------------------------------------------------------------


def statements(script: Script) -> list[str]:
    """What it has a server do."""
    written = io.StringIO()
    context = MigrationContext.configure(dialect_name="mysql", opts={"as_sql": True, "output_buffer": written})
    with Operations.context(context):
        script.module.upgrade()
    return [" ".join(part.split()) for part in written.getvalue().split(";") if part.strip()]


def not_added(script: Script) -> list[str]:
    """What it does besides."""
    made = statements(script)
    new = {found[1] for one in made if (found := re.match(r"CREATE TABLE (\w+)", one))}

    def adds(one: str) -> bool:
        found = re.match(OF_A_TABLE, one)
        return found[1] in new if found else any(re.fullmatch(rule, one) for rule in ADDS)

    return [one for one in made if not adds(one)]


@pytest.mark.parametrize("script", _scripts(), ids=lambda script: script.revision)
def test_a_migration_only_adds_unless_it_says_that_it_contracts(script: Script) -> None:
    contract = getattr(script.module, "contract", None)
    assert contract is None or isinstance(contract, str), "say which release was the last to use what goes"
    assert contract or not not_added(script), RULE


@pytest.mark.parametrize(
    ("operation", "adds"),
    [
        ("op.add_column('notifications', sa.Column('new', sa.Integer))", True),
        ("op.add_column('notifications', sa.Column('new', sa.Integer, nullable=False, server_default='0'))", True),
        ("op.create_index('ix_new', 'notifications', ['tenant'])", True),
        ("op.add_column('notifications', sa.Column('new', sa.Integer, nullable=False))", False),
        ("op.create_index('ux_new', 'notifications', ['recipient'], unique=True)", False),
        ("op.drop_column('notifications', 'provider')", False),
        ("op.drop_table('pauses')", False),
        ("op.drop_index('ix_notifications_wake', 'notifications')", False),
        ("op.rename_table('pauses', 'stops')", False),
        ("op.alter_column('notifications', 'provider', existing_type=sa.String(32), nullable=False)", False),
        ("op.alter_column('notifications', 'provider', existing_type=sa.Text, new_column_name='who')", False),
        ("op.execute('UPDATE notifications SET provider = 1')", False),
        ("op.execute('DELETE FROM events')", False),
        ("op.execute('INSERT INTO notifications (id) VALUES (1)')", False),
    ],
)
def test_the_rule_tells_what_adds_from_what_does_not(tmp_path: Path, operation: str, adds: bool) -> None:
    script = _scripts(with_next(tmp_path, operation))[-1]
    assert (not not_added(script)) is adds


def test_revisions_are_numbers_in_a_row() -> None:
    """So a release knows a later one's when it meets it."""
    assert [script.revision for script in _scripts()] == [f"{n:04}" for n in range(1, len(_scripts()) + 1)]


# --- while others serve -----------------------------------------------------------------------------------------------


def test_rows_go_in_while_a_migration_waits_for_a_long_transaction(
    served: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits to change a table is waited for by all who come after: by default for a day."""
    tried, clock, store = threading.Event(), TestClock(), SqlStore(Database(served))

    def pause(seconds: float) -> None:
        tried.set()
        time.sleep(seconds)

    monkeypatch.setattr("tidings.migrate.LOCK_AGAIN", 0.3)
    monkeypatch.setattr("tidings.migrate.time", SimpleNamespace(sleep=pause))
    next_one = with_next(tmp_path, "op.add_column('notifications', sa.Column('new', sa.Integer))")
    job = threading.Thread(target=migrate, args=[served, next_one])
    with connected(served) as holder:
        holder.execute(text("SELECT 1 FROM notifications"))  # uses the table, until its transaction ends
        job.start()
        assert tried.wait(60), "it never gave up waiting for the lock"
        for _ in range(20):
            store.insert([make.notification(clock())])  # raises if it has to wait for longer than database_timeout
        assert job.is_alive(), "it changed a table that is in use"
    job.join(60)
    assert versions(served, next_one) == ("9999", "9999")
    store.insert([make.notification(clock())])
    store.close()


@pytest.mark.parametrize(
    "operation",
    [
        "op.execute('ALTER TABLE notifications CONVERT TO CHARACTER SET latin1')",
        "op.alter_column('notifications', 'attempt', existing_type=sa.Integer, type_=sa.BigInteger)",
    ],
)
def test_a_migration_that_would_lock_the_others_out_is_refused(
    served: DatabaseSettings, tmp_path: Path, operation: str
) -> None:
    with pytest.raises(StoreUnavailable, match=r"LOCK=NONE|1846|1845"):
        migrate(served, with_next(tmp_path, operation))


def test_a_migration_may_take_longer_than_an_answer_of_the_database(mariadb_url: str, tmp_path: Path) -> None:
    settings = DatabaseSettings(database_url=mariadb_url, database_timeout=5)
    next_one = with_next(tmp_path, "op.execute('DO SLEEP(6)')")
    migrate(settings, next_one)
    assert versions(settings, next_one) == ("9999", "9999")


def test_several_processes_that_migrate_at_once_do_not_collide(empty: DatabaseSettings, tmp_path: Path) -> None:
    given = {"TIDINGS_DATABASE_URL": empty.database_url, "TIDINGS_MIGRATIONS": str(MIGRATIONS)}
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    jobs = [forks.popen(["tidings.migrate"], environment={**os.environ, **given}, log=log) for log in logs]
    assert [job.wait() for job in jobs] == [0, 0, 0], "\n".join(log.read_text() for log in logs)
    assert versions(empty, MIGRATIONS)[0] == _scripts()[-1].revision


def test_a_migration_that_was_cut_off_goes_on_at_the_next_run(
    empty: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, nightly: bool
) -> None:
    """After whichever statement: each run dies after the first change of the database that no run before has made. By
    day in the last two migrations: the older ones have been released, and do not change."""
    if not nightly:
        migrate(empty, MIGRATIONS, _scripts()[-3].revision)
    execute: Any = default.DefaultDialect.do_execute
    made = set[str]()

    def dies(self: Any, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        execute(self, cursor, statement, parameters, context)
        if not statement.lstrip().startswith(("SELECT", "SHOW", "SET", "BEGIN", "PRAGMA")) and statement not in made:
            made.add(statement)
            raise KeyboardInterrupt

    monkeypatch.setattr(default.DefaultDialect, "do_execute", dies)
    runs, done = 0, False
    while not done:
        runs += 1
        with suppress(KeyboardInterrupt):
            migrate(empty, MIGRATIONS)
            done = True
        gc.collect()  # a dead process leaves no cursor in a traceback, by which SQLite's file stays locked
    assert runs > (20 if nightly else 3), "it did not die often"
    with connected(empty) as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []
        assert connection.scalar(text("SELECT COUNT(*) FROM watermark")) == 1


# --- two versions on one database -------------------------------------------------------------------------------------


def test_the_schema_of_a_later_release_serves_this_one_and_its_migration_changes_nothing(
    empty: DatabaseSettings, tmp_path: Path
) -> None:
    """After going back: also where an older release's migration is run again, as a deployment would."""
    migrate(
        empty,
        with_next(
            tmp_path,
            "op.add_column('notifications', sa.Column('new', sa.Integer, nullable=False, server_default='0'))",
            "op.add_column('events', sa.Column('new', sa.Integer))",
            "op.create_table('next', sa.Column('id', sa.Integer, primary_key=True))",
        ),
    )
    migrate(empty, MIGRATIONS)
    assert versions(empty, MIGRATIONS)[0] == "9999"
    store, clock = SqlStore(Database(empty)), TestClock()
    row = make.notification(clock(), idempotency_hash="h")
    store.check()
    assert [found.existing is not None for found in [*store.insert([row]), *store.insert([row])]] == [False, False]
    assert [found.id for found in store.claim([make.message(row)], timedelta(seconds=60)).acquired] == [row.id]
    assert store.cancel("acme", row.id) is not None
    store.close()


@pytest.mark.parametrize("missing", ["ALTER TABLE notifications DROP COLUMN provider", "DROP TABLE pauses"])
def test_a_release_that_starts_before_its_migration_waits_and_is_not_ready(
    empty: DatabaseSettings, missing: str
) -> None:
    """Its batch comes again, and wears nothing out: that is what StoreUnavailable says."""
    migrate(empty, MIGRATIONS)
    with connected(empty) as connection:
        connection.execute(text(missing))
        connection.commit()
    store = SqlStore(Database(empty))
    with pytest.raises(StoreUnavailable, match=r"python -m tidings\.migrate"):
        store.check()
    with pytest.raises(StoreUnavailable, match=r"python -m tidings\.migrate"):
        store.paused() if "pauses" in missing else store.insert([make.notification(TestClock()(), provider="x")])
    store.close()


def test_a_database_of_something_else_is_left_alone(empty: DatabaseSettings) -> None:
    with connected(empty) as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('ae1027a6acf')"))
        connection.commit()
    with pytest.raises(ConfigurationError, match="is it the database of Tidings"):
        migrate(empty, MIGRATIONS)


def test_a_missing_database_is_reported_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidings.migrate"],
        env={
            "TIDINGS_DATABASE_URL": "mysql://tidings:secret-word@127.0.0.1:9/tidings",
            "TIDINGS_MIGRATIONS": str(MIGRATIONS),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "secret-word" not in done.stderr

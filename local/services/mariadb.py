"""A private MariaDB, as durable as in production: a confirmed commit is on disk."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import pymysql

from local.services import database
from local.services.access import USER
from local.services.packages import mariadb_program
from local.services.process import ServiceError
from local.services.service import Service


class MariaDB(Service):
    name: ClassVar[str] = "MariaDB"

    def __init__(
        self,
        state: Path,
        port: int | None = None,
        *,
        buffer_pool: str = "256M",
        log_file: str = "64M",
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        beside: Self | None = None,
    ) -> None:
        """`buffer_pool`: memory for data. `log_file`: size of the redo log; a small one makes a new instance start a
        third faster. `options`, `environment`: added to the server's."""
        super().__init__(state, port, beside=beside)
        self.buffer_pool, self.log_file = buffer_pool, log_file
        self.options, self.environment = tuple(options), dict(environment or {})

    @property
    def url(self) -> str:
        """Of the database `tidings`, for a user with all privileges."""
        return f"mysql+pymysql://{USER}:{self._reached_by.password}@127.0.0.1:{self.port}/tidings"

    @cached_property
    def version(self) -> str:
        """Such as "MariaDB 10.11.19". Does not start it."""
        return program_version()

    def create_database(self, name: str) -> str:
        """Create an empty database (utf8mb4) and return its URL."""
        return database.create(self.url, name)

    def drop_database(self, name: str) -> None:
        database.drop(self.url, name)

    def _prepare(self) -> None:
        (self.state / "tmp").mkdir(mode=0o700, exist_ok=True)
        self._install()
        statements = f"""
            CREATE OR REPLACE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{self._reached_by.password}';
            GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION;
            CREATE DATABASE IF NOT EXISTS tidings CHARACTER SET utf8mb4;
        """
        init = self.state / "init.sql"
        init.touch(mode=0o600)
        # The server reads one statement per line.
        init.write_text("\n".join(line.strip() for line in statements.strip().splitlines()) + "\n")

    def _install(self) -> None:
        """Create the data folder. It is renamed last, so that an interrupted creation is repeated."""
        data, unfinished = self.state / "data", self.state / "data.new"
        if data.exists():
            return
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        made = subprocess.run(
            [
                mariadb_program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={unfinished}",
                # No account without a password: root may connect by the socket only, which is in our folder.
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
                "--skip-name-resolve",
                f"--innodb-log-file-size={self.log_file}",
                # No --user, even for root: the script would change the owner of a file of the system's MariaDB.
            ],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if made.returncode:
            raise ServiceError(f"MariaDB's data folder cannot be created:\n{made.stdout[-2000:]}")
        unfinished.rename(data)

    def _command(self) -> list[str]:
        return [
            mariadb_program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.state / 'data'}",
            f"--init-file={self.state / 'init.sql'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            # Both are in the data folder. Relative, because the path of a socket is limited to 107 bytes.
            "--socket=mariadb.sock",
            "--pid-file=mariadb.pid",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--character-set-server=utf8mb4",
            "--innodb-flush-log-at-trx-commit=1",
            f"--innodb-buffer-pool-size={self.buffer_pool}",
            f"--innodb-log-file-size={self.log_file}",
            "--max-connections=500",
            # Runs as our user: another one might not reach the folder. For root, MariaDB demands this option.
            *(["--user=root"] if os.geteuid() == 0 else []),
            *self.options,
        ]

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MYSQL", "MARIADB"))}
        # Its own TMPDIR: a server that starts removes all temporary tables there, also those of another server. Not an
        # option, because the install script would split it at a space.
        return inherited | {"TMPDIR": str(self.state / "tmp")} | self.environment

    def _is_ready(self) -> bool:
        # OperationalError: not listening yet. RuntimeError: from PyMySQL, if the connection ends in the handshake.
        with contextlib.suppress(pymysql.Error, OSError, RuntimeError), database.connection(self.url):
            return True
        return False


def program_version() -> str:
    done = subprocess.run(
        [mariadb_program("mariadbd"), "--no-defaults", "--version"], capture_output=True, text=True, check=False
    )
    found = re.search(r"Ver (\d+(?:\.\d+)+)", done.stdout)
    return f"MariaDB {found[1]}" if found else "MariaDB"

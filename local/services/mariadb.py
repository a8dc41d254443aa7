"""A private MariaDB, durable as in production: a commit that was answered is on disk."""

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
        """`buffer_pool`: how much of the data it keeps in memory. `log_file`: how much may be changed there before it
        must be written; by default little, which makes a new instance a third faster. `options`, `environment`: more of
        the server's."""
        super().__init__(state, port, beside=beside)
        self.buffer_pool, self.log_file = buffer_pool, log_file
        self.options, self.environment = tuple(options), dict(environment or {})

    @property
    def url(self) -> str:
        """Of the database `tidings`, for a user who may do everything on this server."""
        return f"mysql+pymysql://{USER}:{self._reached_by.password}@127.0.0.1:{self.port}/tidings"

    @cached_property
    def version(self) -> str:
        """Such as "MariaDB 10.11.19". Known without starting it."""
        return program_version()

    def create_database(self, name: str) -> str:
        """Make an empty database (utf8mb4) and give its URL."""
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
        # The server reads one statement a line.
        init.write_text("\n".join(line.strip() for line in statements.strip().splitlines()) + "\n")

    def _install(self) -> None:
        """Make the data folder. It gets its name last, so that one that was interrupted is made again."""
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
                # No account without a password: root may come in by the socket only, and the socket is in our folder.
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
                "--skip-name-resolve",
                f"--innodb-log-file-size={self.log_file}",
                # No --user, even for root: the script would then change the owner of a file of the system's MariaDB.
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
            raise ServiceError(f"MariaDB's data folder cannot be made:\n{made.stdout[-2000:]}")
        unfinished.rename(data)

    def _command(self) -> list[str]:
        return [
            mariadb_program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.state / 'data'}",
            f"--init-file={self.state / 'init.sql'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            # Both lie in the data folder. Relative, because the path of a socket is limited to 107 bytes.
            "--socket=mariadb.sock",
            "--pid-file=mariadb.pid",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--character-set-server=utf8mb4",
            "--innodb-flush-log-at-trx-commit=1",
            f"--innodb-buffer-pool-size={self.buffer_pool}",
            f"--innodb-log-file-size={self.log_file}",
            "--max-connections=500",
            # As whoever we are. Another user might not reach the folder, and root must be asked for by name.
            *(["--user=root"] if os.geteuid() == 0 else []),
            *self.options,
        ]

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MYSQL", "MARIADB"))}
        # Of its own: a server that starts removes all temporary tables in there, also those that another works on. Not
        # as an option: the script that makes the data folder would break it up at a space.
        return inherited | {"TMPDIR": str(self.state / "tmp")} | self.environment

    def _is_ready(self) -> bool:
        # OperationalError: nobody listens yet. RuntimeError: PyMySQL's, when the connection ends in the handshake.
        with contextlib.suppress(pymysql.Error, OSError, RuntimeError), database.connection(self.url):
            return True
        return False


def program_version() -> str:
    told = subprocess.run(
        [mariadb_program("mariadbd"), "--no-defaults", "--version"], capture_output=True, text=True, check=False
    )
    found = re.search(r"Ver (\d+(?:\.\d+)+)", told.stdout)
    return f"MariaDB {found[1]}" if found else "MariaDB"

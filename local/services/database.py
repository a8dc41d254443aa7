"""Create databases on a MySQL or MariaDB server, ours or a given one."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

from pymysql.connections import Connection
from pymysql.cursors import Cursor
from tidings.adapters.sql.mysql_connection import FrugalConnection

from local.services.process import ServiceError


class DatabaseServer(Protocol):
    """A server for tests, ours or a given one."""

    @property
    def url(self) -> str: ...

    def create_database(self, name: str) -> str:
        """Create an empty database (utf8mb4) and return its URL."""

    def drop_database(self, name: str) -> None: ...


@dataclass(frozen=True)
class GivenDatabase:
    """A given server. The user in the URL needs the right to create databases."""

    url: str

    def create_database(self, name: str) -> str:
        return create(self.url, name)

    def drop_database(self, name: str) -> None:
        drop(self.url, name)


def create(url: str, name: str) -> str:
    with connection(url) as connected, connected.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{_plain(name)}` CHARACTER SET utf8mb4")
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def drop(url: str, name: str) -> None:
    with connection(url) as connected, connected.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS `{_plain(name)}`")


@contextlib.contextmanager
def connection(url: str) -> Iterator["Connection[Cursor]"]:
    parts = urlsplit(url)
    connected = FrugalConnection(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.lstrip("/") or None,
        connect_timeout=5,
        read_timeout=30,
        autocommit=True,
    )
    with connected:
        yield connected


def _plain(name: str) -> str:
    if not name.replace("_", "").isalnum():
        raise ServiceError(f"{name!r} is not a valid database name: use letters, digits and _")
    return name

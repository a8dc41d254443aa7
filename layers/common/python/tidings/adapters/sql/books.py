"""The Books on SQLite, MySQL and MariaDB."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import Connection

from tidings.adapters.sql import audit, ledger
from tidings.adapters.sql.database import Database, reading, see_one_moment
from tidings.ports.books import Accepted, AuditedRows, Day


class SqlBooks:
    """Books."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reading
    def day(self, connection: Connection, tenant: str, day: date) -> Day:
        see_one_moment(connection)
        return ledger.day_of(connection, self.database.now(connection), tenant, day)

    @reading
    def rows(
        self,
        connection: Connection,
        tenant: str,
        since: datetime | None,
        until: datetime | None,
        *,
        after: str | None,
        limit: int,
    ) -> AuditedRows:
        see_one_moment(connection)
        now = self.database.now(connection)
        return audit.rows(connection, now, tenant, since, until, after=after, limit=limit)

    @reading
    def accepted(
        self, connection: Connection, tenant: str, since: datetime, until: datetime | None
    ) -> Sequence[Accepted]:
        see_one_moment(connection)
        return ledger.accepted(connection, tenant, since, until)

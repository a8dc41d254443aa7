"""The ReturnedMails on SQLite, MySQL and MariaDB."""

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select

from tidings.adapters.sql.database import Database, transaction
from tidings.adapters.sql.rows import insert_if_missing
from tidings.adapters.sql.schema import returned_mails
from tidings.domain.timing import RETURNED_MAILS_KEPT
from tidings.ports.returned_mails import KeptMail

MAX_SIZE = 64 * 1024  # bytes of one that are kept
MAX_KEPT = 1000
PAGE = 500

m = returned_mails.c


class SqlReturnedMails:
    """ReturnedMails."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @transaction
    def keep(self, connection: Connection, mails: Sequence[KeptMail]) -> int:
        new = {hashlib.sha256(mail.content).hexdigest(): mail for mail in mails}
        known = set(connection.scalars(select(m.id).where(m.id.in_(sorted(new)))))
        room = MAX_KEPT - (connection.scalar(select(func.count()).select_from(returned_mails)) or 0)
        chosen = [(id, mail) for id, mail in new.items() if id not in known][: max(0, room)]
        if chosen:
            now = self.database.now(connection)
            rows = (
                {"id": id, "received_at": now, "verdict": mail.verdict, "content": mail.content[:MAX_SIZE]}
                for id, mail in chosen
            )
            insert_if_missing(connection, returned_mails, *rows)
        return len(chosen)

    @transaction
    def purge(self, connection: Connection) -> int:
        before = self.database.now(connection) - RETURNED_MAILS_KEPT
        old = list(connection.scalars(select(m.id).where(m.received_at < before).order_by(m.received_at).limit(PAGE)))
        if old:
            connection.execute(delete(returned_mails).where(m.id.in_(old)))
        return len(old)

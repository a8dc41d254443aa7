"""A MariaDB and its replica; after a promotion, the transactions that only the dead primary's log has."""

import contextlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from local.services.database import connection
from local.services.mariadb import MariaDB
from local.services.packages import mariadb_program
from local.services.rabbitmq import RabbitMQ
from tests.faults.proxy import Proxy
from tests.faults.world import Servers, wait

NEVER = 2**32 - 1  # milliseconds, the maximum: no COMMIT is answered without the replica
ROW = re.compile(r"^### (INSERT INTO|UPDATE|DELETE FROM) `tidings`\.`notifications`$")
VALUE = re.compile(r"^###   @(\d+)='(.*)'$")
NOTHING_AFTER = "Binary logs never reached expected GTID state"
TRANSACTION = re.compile(r"^#.*\tGTID \d+-\d+-\d+ trans", re.MULTILINE)


@contextlib.contextmanager
def replicated(folder: Path, *, semi_synchronous: bool) -> Iterator[Servers]:
    """The world's MariaDB is the primary. Semi-synchronous: a COMMIT is answered when the replica has it on disk."""
    with (
        RabbitMQ(folder / "rabbitmq") as rabbitmq,
        MariaDB(folder / "mariadb", options=logged(1)) as primary,
        MariaDB(folder / "replica", options=[*logged(2), "--rpl-semi-sync-slave-enabled=1"], beside=primary) as replica,
    ):
        _follow(replica, primary)
        if semi_synchronous:
            told(
                primary,
                "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC",
                f"SET GLOBAL rpl_semi_sync_master_timeout = {NEVER}",
                "SET GLOBAL rpl_semi_sync_master_enabled = 1",
            )
            wait("a replica that acknowledges", lambda: acknowledged(primary))
        yield Servers(rabbitmq=rabbitmq, mariadb=primary, replica=replica)


def logged(number: int) -> list[str]:
    return [
        f"--server-id={number}",
        "--log-bin=binlog",
        "--binlog-format=ROW",
        "--sync-binlog=1",
        "--log-slave-updates",
        "--gtid-strict-mode=1",
        "--relay-log=relay",
    ]


def _follow(replica: MariaDB, primary: MariaDB) -> None:
    """From the first transaction on. The creation of the replica's user is also in the primary's log."""
    to = urlsplit(primary.url)
    told(
        replica,
        "RESET MASTER",
        "SET GLOBAL gtid_slave_pos = ''",
        f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {primary.port}, MASTER_USER = '{to.username}',"
        f" MASTER_PASSWORD = '{unquote(to.password or '')}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
        "SET GLOBAL read_only = 1",
        "START SLAVE",
    )


def acknowledged(primary: MariaDB) -> bool:
    """Whether every COMMIT so far has waited for the replica, and the next one will."""
    status: dict[str, str] = dict(told(primary, "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master%'"))
    return (
        status["Rpl_semi_sync_master_status"] == "ON"
        and status["Rpl_semi_sync_master_clients"] == "1"
        and status["Rpl_semi_sync_master_no_tx"] == "0"
    )


def promote(servers: Servers, way: Proxy) -> None:
    """The primary is dead: promote the replica, once it has applied all that it has received."""
    replica = servers.replica
    assert replica is not None, "this world has no replica"
    wait("the relay log, applied", lambda: _has_applied_all(replica))
    told(replica, "STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0")
    servers.mariadb, servers.replica = replica, None
    way.server = replica.port


def _has_applied_all(replica: MariaDB) -> bool:
    with connection(replica.url) as connected, connected.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute("SHOW SLAVE STATUS")
        status: Mapping[str, Any] = cursor.fetchone() or {}
        cursor.execute("SELECT @@gtid_slave_pos AS applied")
        applied = (cursor.fetchone() or {})["applied"]
    assert not status["Last_SQL_Errno"], status["Last_SQL_Error"]
    return (
        status["Slave_IO_Running"] != "Yes"
        and status["Gtid_IO_Pos"] == applied
        and str(status["Slave_SQL_Running_State"]).startswith("Slave has read all relay log")
    )


def told(server: MariaDB, *statements: str) -> list[tuple[Any, ...]]:
    """The answer to the last statement."""
    with connection(server.url) as connected, connected.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


# --- what the replica never got ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Transactions of the dead primary's log, and the notifications in them: by id, their recipients as stored."""

    transactions: int
    inserted: Mapping[str, str]
    changed: Mapping[str, str]  # which the replica has, in an older state


def missing(dead: MariaDB, promoted: MariaDB) -> Missing:
    """Transactions in the dead primary's log after the last one that the replica applied. It must not be written to."""
    position = told(promoted, "SELECT @@gtid_slave_pos")[0][0]
    columns = told(
        promoted,
        "SELECT column_name, ordinal_position FROM information_schema.columns"
        " WHERE table_schema = 'tidings' AND table_name = 'notifications'",
    )
    return read(dead, position, dict(columns))


def read(server: MariaDB, position: str, columns: Mapping[str, int]) -> Missing:
    """Transactions after this position. `columns`: the indexes of id and recipient in a row."""
    log = _shown(server, position)
    wanted = {columns["id"], columns["recipient"]}
    rows: list[tuple[str, dict[int, str]]] = []
    ours = False  # whether the next values belong to a notification
    for line in log.splitlines():
        if begun := ROW.match(line):
            ours = True
            rows.append((begun[1], {}))
        elif line.startswith(("### INSERT", "### UPDATE", "### DELETE")) or not line.startswith("###"):
            ours = False
        elif ours and (value := VALUE.match(line)) and int(value[1]) in wanted:
            rows[-1][1][int(value[1])] = value[2]
    found = [(what, row[columns["id"]], row[columns["recipient"]]) for what, row in rows]
    inserted = {id: recipient for what, id, recipient in found if what == "INSERT INTO"}
    changed = {id: recipient for _, id, recipient in found if id not in inserted}
    return Missing(transactions=len(TRANSACTION.findall(log)), inserted=inserted, changed=changed)


def _shown(server: MariaDB, position: str) -> str:
    """Each row with its values by index; for an update, the old ones first."""
    done = subprocess.run(
        [
            mariadb_program("mariadb-binlog"),
            "--no-defaults",
            "--base64-output=decode-rows",
            "--verbose",
            f"--start-position={position}",
            *map(str, sorted((server.state / "data").glob("binlog.[0-9]*"))),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0 or NOTHING_AFTER in done.stderr, done.stderr
    return done.stdout

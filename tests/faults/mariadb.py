"""MariaDB killed, hung, locked, full, read-only and overrun."""

import contextlib
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pymysql

from local.services.database import connection
from local.stack import no_proxy
from tests.faults.fault import Fault, Scene, let_go
from tests.faults.world import wait

DEADLOCK = 1213

Told = Callable[[str], list[tuple[Any, ...]]]
"""A statement in, rows out."""


def killed(scene: Scene) -> None:
    let_go(scene)
    scene.world.mariadb.kill()
    time.sleep(3)
    scene.world.mariadb.start()


def hung(scene: Scene) -> None:
    let_go(scene)
    scene.world.mariadb.pause()
    try:
        time.sleep(8)
    finally:
        scene.world.mariadb.resume()


def deadlocks(scene: Scene) -> None:
    """Other sessions lock rows of the load in the opposite order of Tidings."""
    before, over = _deadlocks(scene), threading.Event()
    ours: list[int] = []  # one per deadlock that we lost
    scene.world.mariadb.create_database("heavy")
    scene.world.query("CREATE TABLE heavy.ballast (id INT AUTO_INCREMENT PRIMARY KEY)")
    threads = [threading.Thread(target=_lock_backwards, args=(scene, over, ours, seed)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        let_go(scene)
        wait("deadlocks that Tidings lost", lambda: _deadlocks(scene) - before - len(ours) > 10)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        scene.world.mariadb.drop_database("heavy")
    scene.notes.append(f"{_deadlocks(scene) - before - len(ours)} deadlocks that Tidings lost")


def _lock_backwards(scene: Scene, over: threading.Event, ours: list[int], seed: int) -> None:
    choice = random.Random(seed)
    with connection(scene.world.database_url) as session, session.cursor() as cursor:
        while not over.is_set():
            cursor.execute(
                "SELECT id FROM notifications WHERE status IN ('pending', 'sending', 'retrying') ORDER BY id DESC"
            )
            ids = [id for (id,) in cursor.fetchall()]
            session.begin()
            try:
                # The server rolls back the transaction with fewer changes.
                cursor.execute("INSERT INTO heavy.ballast SELECT NULL FROM seq_1_to_300")
                for id in sorted(choice.sample(ids, min(8, len(ids))), reverse=True):
                    cursor.execute("UPDATE notifications SET updated_at = updated_at WHERE id = %s", (id,))
                    over.wait(0.002)
            except pymysql.err.OperationalError as error:
                if error.args[0] != DEADLOCK:
                    raise
                ours.append(seed)
            session.rollback()


def _deadlocks(scene: Scene) -> int:
    return int(scene.world.query("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[0][1])


def rows_locked(scene: Scene) -> None:
    """All rows and the gap after the last, for longer than the lock time-out."""
    with _administrator(scene) as told:
        waited = told("SELECT @@GLOBAL.innodb_lock_wait_timeout")[0][0]
        told("SET GLOBAL innodb_lock_wait_timeout = 1")
        _new_sessions(told)
        let_go(scene)
        try:
            wait("all locks", lambda: told("BEGIN") or told("SELECT id FROM notifications FOR UPDATE"))
            _answers_503(scene)
            time.sleep(2)
        finally:
            told("ROLLBACK")
            told(f"SET GLOBAL innodb_lock_wait_timeout = {waited}")
            _new_sessions(told)


def tables_locked(scene: Scene) -> None:
    """For longer than the read time-out: clients that gave up leave statements that still run."""
    let_go(scene)
    with connection(scene.world.database_url) as session, session.cursor() as cursor:
        cursor.execute("LOCK TABLES notifications WRITE, events WRITE")
        time.sleep(12)
        cursor.execute("UNLOCK TABLES")


def disk_full(scene: Scene) -> None:
    """Each write ends with the server's error for a file that cannot grow.

    Not with a limit on the files themselves: 10.11 then damages its own indexes now and then, or aborts, and nothing
    that is built on it could mend that.
    """
    full = "FOR EACH ROW SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'"
    writes = [(table, write) for table in ("notifications", "events") for write in ("INSERT", "UPDATE")]
    let_go(scene)
    with _administrator(scene) as told:
        try:
            for table, write in writes:
                told(f"CREATE TRIGGER full_{table}_{write} BEFORE {write} ON {table} {full}")
            _answers_503(scene)
            time.sleep(3)
        finally:
            for table, write in writes:
                told(f"DROP TRIGGER IF EXISTS full_{table}_{write}")


def read_only(scene: Scene) -> None:
    """As after a failover that made it a replica. Also users who may ignore read_only cannot write."""
    with _administrator(scene) as told:
        user = told("SELECT CURRENT_USER()")[0][0].replace("@", "'@'")
        told(f"REVOKE READ ONLY ADMIN ON *.* FROM '{user}'")
        _new_sessions(told)
        let_go(scene)
        told("SET GLOBAL read_only = 1")
        try:
            _answers_503(scene)
            time.sleep(3)
        finally:
            told("SET GLOBAL read_only = 0")
            told(f"GRANT READ ONLY ADMIN ON *.* TO '{user}'")


def overrun(scene: Scene) -> None:
    """Other clients have all connections."""
    let_go(scene)
    with _administrator(scene) as told, contextlib.ExitStack() as stack:
        allowed = told("SELECT @@GLOBAL.max_connections")[0][0]
        theirs = urlsplit(scene.world.database_url)._replace(path="/mysql").geturl()
        for _ in range(15):
            stack.enter_context(connection(theirs))
        told("SET GLOBAL max_connections = 10")
        try:
            _new_sessions(told)
            _answers_503(scene)
            time.sleep(3)
        finally:
            told(f"SET GLOBAL max_connections = {allowed}")


@contextlib.contextmanager
def _administrator(scene: Scene) -> Iterator[Told]:
    """A session that keeps its rights during the fault."""
    with connection(scene.world.database_url) as session, session.cursor() as cursor:

        def told(statement: str) -> list[tuple[Any, ...]]:
            cursor.execute(statement)
            return list(cursor.fetchall())

        yield told


def _new_sessions(told: Told) -> None:
    """End every other session: new ones read the changed setting."""
    for (id,) in told("SELECT id FROM information_schema.processlist WHERE db = 'tidings' AND id <> CONNECTION_ID()"):
        with contextlib.suppress(pymysql.err.OperationalError):  # it has just ended by itself
            told(f"KILL {id}")


def _answers_503(scene: Scene, **more: object) -> None:
    """503 with Retry-After."""
    body = {"channel": "email", "recipient": "nobody@example.com", "content": {"subject": "No", "text": "No"}, **more}
    request = urllib.request.Request(
        f"{scene.world.stack.url}/v1/notifications",
        data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {scene.world.caller.key}", "content-type": "application/json"},
    )

    def answered() -> tuple[int, str | None]:
        try:
            with no_proxy.open_url(request, timeout=60) as answer:
                return answer.status, None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["retry-after"]

    status, retry_after = wait("a refusal", answered, lambda seen: seen[0] != 202)
    assert status == 503, f"answered {status}"
    assert retry_after is not None, "no Retry-After"


FAULTS = (
    Fault(name="MariaDB killed", inject=killed, quick=True),
    Fault(name="MariaDB hung for 8 s", inject=hung),
    Fault(name="MariaDB: deadlocks", inject=deadlocks, quick=True),
    Fault(name="MariaDB: all rows locked", inject=rows_locked),
    Fault(name="MariaDB: tables locked for 12 s", inject=tables_locked),
    Fault(name="MariaDB: disk full", inject=disk_full),
    Fault(name="MariaDB: read-only", inject=read_only),
    Fault(name="MariaDB: too many connections", inject=overrun),
)

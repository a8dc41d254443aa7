"""The runbook "Restore from a backup": notifications sent since the backup are not sent again."""

import contextlib
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymysql.cursors import Cursor

from local.emulators.client import Emulator
from local.services.broker import BrokerServer
from local.services.database import DatabaseServer, connection
from local.stack.stack import Options, Stack, running
from tests import forks
from tests.scenarios.caller import Caller, wait_for

ROOT = Path(__file__).parents[2]
IN_ORDER = ("trigger", "schedule", "intake", "email", "sms", "push", "replay")
"""In which the runbook stops them."""

Backup = dict[str, list[tuple[Any, ...]]]
"""Each table's rows."""


@dataclass(frozen=True, kw_only=True)
class House:
    stack: Stack
    database_url: str

    @property
    def caller(self) -> Caller:
        return Caller(url=self.stack.url, ops_url=self.stack.ops_url, key=self.stack.secrets.api_key)

    def mails(self) -> Counter[str]:
        return Counter(mail["recipient"] for mail in Emulator(url=self.stack.inbox_url).inbox("email"))

    @contextlib.contextmanager
    def database(self) -> Iterator[Cursor]:
        with connection(self.database_url) as connected, connected.cursor() as cursor:
            yield cursor
            connected.commit()

    def backup(self) -> Backup:
        """What mariadb-dump --single-transaction reads."""
        with self.database() as cursor:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            cursor.execute("SHOW TABLES")
            tables = [str(row[0]) for row in cursor.fetchall()]
            saved: Backup = {}
            for table in tables:
                cursor.execute(f"SELECT * FROM `{table}`")
                saved[table] = list(cursor.fetchall())
            return saved

    def restore(self, saved: Backup) -> None:
        with self.database() as cursor:
            for table, rows in saved.items():
                cursor.execute(f"DELETE FROM `{table}`")
                if rows:
                    cursor.executemany(f"INSERT INTO `{table}` VALUES ({', '.join(['%s'] * len(rows[0]))})", rows)

    def put_aside(self) -> None:
        """mariadb tidings < infra/restored.sql"""
        lines = (ROOT / "infra/restored.sql").read_text(encoding="utf-8").splitlines()
        with self.database() as cursor:
            for statement in "\n".join(line for line in lines if not line.startswith("--")).split(";"):
                if statement.strip():
                    cursor.execute(statement)


@pytest.fixture
def house(mariadb: DatabaseServer, rabbitmq: BrokerServer) -> Iterator[House]:
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="tidings-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        name = f"restore_{secrets.token_hex(6)}"
        broker_url, database_url = rabbitmq.create_vhost(name), mariadb.create_database(name)
        stack.callback(rabbitmq.delete_vhost, name)
        stack.callback(mariadb.drop_database, name)
        options = Options(
            state=folder,
            first_port=0,
            use_services=True,
            database_url=database_url,
            broker_url=broker_url,
            start=forks.start,
        )
        yield House(stack=stack.enter_context(running(options)), database_url=database_url)


def mail(name: str, **more: str) -> dict[str, Any]:
    return {"channel": "email", "recipient": f"{name}@example.com", "content": {"subject": "x", "text": "x"}, **more}


def pause(caller: Caller, what: str) -> None:
    assert caller.ask(f"{caller.ops_url}/v1/channels/email/{what}", {}).status == 200


def test_what_was_sent_since_the_backup_waits_for_an_operator_and_is_not_sent_again(house: House) -> None:
    caller, processes = house.caller, house.stack.processes
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    pause(caller, "pause")  # so that the backup has them all, and none of them sent
    wait_for(lambda: '"message":"trigger_paused"' in processes.log("trigger").read_text())  # it polls
    waiting = [*(mail(f"waits{n}") for n in range(20)), *(mail(f"holds{n}", on_ambiguous="hold") for n in range(5))]
    ids = caller.post_all(waiting)
    (scheduled,) = caller.post_all([mail("tomorrow", send_at=tomorrow)])
    saved = house.backup()
    pause(caller, "resume")
    assert {caller.ended(id)["status"] for id in ids} == {"sent"}

    parts = dict(processes.specs)
    for name in IN_ORDER:
        processes.remove(name)
    house.restore(saved)
    house.put_aside()
    house.put_aside()  # twice is harmless
    for name in reversed(IN_ORDER):
        processes.add(name, parts[name])
    pause(caller, "resume")  # the backup was made while it was paused

    assert caller.ended(caller.post(mail("new")))["status"] == "sent"
    assert caller.ask(f"{caller.ops_url}/v1/sweep", {}).status == 200
    aside = caller.dead_letters(code="restored", limit=200)
    assert sorted(row["id"] for row in aside) == sorted(ids)
    assert {row["status"] for row in aside} == {"unknown"}
    assert [event["status"] for event in caller.get(ids[0])["events"]] == ["pending", "unknown"]
    assert caller.get(scheduled)["status"] == "pending"
    assert set(house.mails().values()) == {1}

    for id in ids[:-3]:
        assert caller.ask(f"{caller.ops_url}/v1/notifications/{id}/resolve", {"outcome": "sent"}).status == 200
    assert caller.replay(code="restored", status="unknown")["count"] == 3
    wait_for(lambda: {caller.get(id)["status"] for id in ids}, lambda found: found == {"sent"})
    again = [recipient for recipient, count in house.mails().items() if count > 1]
    assert sorted(again) == sorted(str(one["recipient"]) for one in waiting[-3:])

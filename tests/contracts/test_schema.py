"""The migrations and the queries: alike on every database, and every query with its index."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event, text
from tidings.adapters.embedded import EmbeddedBroker
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.insight import SqlInsight
from tidings.adapters.sql.schema import metadata
from tidings.adapters.sql.store import SqlStore
from tidings.domain.errors import ConfigurationError
from tidings.domain.notification import Priority, Status
from tidings.domain.receipt import Receipt, ReceiptKind
from tidings.messaging.topology import queues, work
from tidings.migrate import migrate
from tidings.ports import Outgoing, Selection, Settlement, Suppression, SuppressionSelection

from tests import make
from tests.clock import TestClock
from tests.migrated import MIGRATIONS

LEASE = timedelta(seconds=60)
WHOLE_TABLE = ("ALL", "notifications")


def test_the_migrations_make_what_the_code_expects(database: DatabaseSettings) -> None:
    opened = Database(database)
    with opened.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    opened.close()


def test_migrating_twice_and_at_once_is_harmless(mariadb_url: str) -> None:
    settings = DatabaseSettings(database_url=mariadb_url)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            migrate(settings, MIGRATIONS)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_folder_without_migrations_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="TIDINGS_MIGRATIONS"):
        migrate(DatabaseSettings(database_url=f"sqlite:///{tmp_path}/x.db"), tmp_path)


def _exercise(store: SqlStore, broker: EmbeddedBroker, clock: TestClock) -> None:
    """Every query that the code makes, at least once."""
    everything = Selection(tenant="acme")
    rows = [make.notification(clock(), idempotency_hash=f"h{number}") for number in range(20)]
    store.insert(rows)
    store.insert(rows)
    store.mark_queued(rows)
    claims = store.claim([make.message(row) for row in rows[:10]], LEASE)
    store.settle([Settlement(claims=claims, notification=row, status=Status.FAILED) for row in claims.acquired])
    store.mark_dead_letter_published([rows[0]])
    clock.advance(hours=1)
    store.overdue(500, LEASE)
    for selection in (
        everything,
        replace(everything, statuses=[Status.FAILED]),
        replace(everything, statuses=[Status.FAILED, Status.UNKNOWN], error_code="550"),
        replace(everything, channel="sms"),
        replace(everything, recipient="ada@example.com"),
        replace(everything, ids=[rows[0].id, rows[1].id]),
        replace(everything, since=clock(), until=clock()),
        replace(everything, before_id=rows[5].id),
        replace(everything, after_id=rows[5].id),
        replace(everything, statuses=[Status.FAILED], lasts=timedelta(0)),
        replace(everything, statuses=[Status.FAILED], expires_within=timedelta(0)),
    ):
        store.find(selection, 50)
        store.count(selection)
        if selection.statuses is not None:
            store.count_by_expiry(selection)
            store.count_doubtful(selection, 5)
    store.find(everything, 50, oldest_first=True)
    store.may_have_been_sent([row.id for row in rows])
    store.count(replace(everything, statuses=[Status.FAILED]))
    store.reset_for_replay(everything, 5, timedelta(0), expires_at=clock() + timedelta(hours=1))
    store.cancel("acme", rows[15].id)
    store.get("acme", rows[0].id)
    store.get_with_timeline("acme", rows[0].id)
    store.filter_failed([make.message(row) for row in rows])
    names: dict[str, Any] = {"provider": "twilio", "connection": "main", "kind": ReceiptKind.DELIVERED, "at": clock()}
    batch = [Receipt(event_id=f"{number}", provider_message_id=f"SM{number}", **names) for number in range(20)]
    batch += [Receipt(event_id=row.id, notification_id=row.id, **names) for row in rows]
    store.apply_receipts(batch)
    store.kept_receipts([row.id for row in rows])
    clock.advance(seconds=10)
    store.retry_receipts(100)
    clock.advance(hours=100)
    store.purge_receipts()
    store.purge(timedelta(0), 10)
    store.add_suppressions("acme", "email", [Suppression(recipient=row.recipient, reason="manual") for row in rows])
    store.claim([make.message(row) for row in rows[16:]], LEASE)
    suppressed = SuppressionSelection(tenant="acme")
    store.find_suppressions(suppressed, 5)
    store.find_suppressions(replace(suppressed, channel="email", recipients=["a@example.com"], in_force=True), 5)
    store.find_suppressions(replace(suppressed, reason="manual", source="operator", in_force=False, before=9), 5)
    store.remove_suppression("acme", "email", rows[0].recipient, "", "a key")
    store.adopt_suppressions({}, 10)
    store.purge_suppressions(timedelta(0), 10)
    store.check()
    message = make.message(rows[0])
    broker.publish([Outgoing(message=message, to=work("email", Priority.NORMAL)) for _ in range(5)])
    consumer = broker.consume(["tidings.email.high", "tidings.email"])
    received = consumer.receive(3, timedelta(0))
    consumer.acknowledge(received[:1])
    consumer.give_back(received[1:2])
    consumer.close()
    broker.depth("tidings.email")
    broker.depths([queue.name for queue in queues()])
    insight = SqlInsight(store.database)
    insight.activity("acme", clock() - timedelta(hours=2))
    insight.summarize(10)
    insight.backlog("acme")
    insight.backlog()
    insight.dead_groups(everything)
    insight.count_by_status("acme", [row.id for row in rows])


def _recorded(database: Database, run: Callable[[], None]) -> list[tuple[str, Any]]:
    recorded: dict[str, tuple[str, Any]] = {}

    def record(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if not many and statement.lstrip()[:6] in ("SELECT", "UPDATE", "DELETE"):
            recorded.setdefault(statement, (statement, parameters))

    event.listen(database.engine, "before_cursor_execute", record)
    run()
    event.remove(database.engine, "before_cursor_execute", record)
    return list(recorded.values())


def test_every_query_has_its_index(database: DatabaseSettings, clock: TestClock) -> None:
    """In tables with rows that the query does not want, no statement reads a whole table."""
    opened = Database(database, clock=clock)
    store, broker = SqlStore(opened), EmbeddedBroker(opened)
    ended, numbers = Status.SENT, itertools.count()
    for _ in range(4):
        rows = [make.notification(clock(), status=ended) for _ in range(500)]
        rows += [make.notification(clock(), status=ended, idempotency_hash=f"k{next(numbers)}") for _ in range(500)]
        rows += [make.notification(clock(), status=ended, tenant="other", channel="push") for _ in range(500)]
        store.insert(rows)
    with opened.engine.begin() as connection:
        connection.execute(text("UPDATE notifications SET wake_at = NULL, provider_message_id = id"))
        if connection.dialect.name != "sqlite":
            connection.execute(text("ANALYZE TABLE notifications, events, messages"))
        else:
            connection.execute(text("ANALYZE"))
    statements = _recorded(opened, lambda: _exercise(store, broker, clock))
    assert len(statements) > 20
    scans = []
    with opened.engine.connect() as connection:
        for statement, parameters in statements:
            if "WHERE" not in statement:  # the check's look at one row
                continue
            if connection.dialect.name == "sqlite":
                steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
                # anon: bounded, made before; constant rows: the statement's own values
                read = [step for step in steps if step.startswith("SCAN") and not step.startswith("SCAN anon")]
                scans += [(step, statement) for step in read if "INDEX" not in step and "CONSTANT" not in step]
            else:
                # MySQL 9 would draw a tree. MariaDB knows this form alone, and no word for it.
                explain = (
                    "EXPLAIN" if getattr(connection.dialect, "is_mariadb", False) else "EXPLAIN FORMAT=TRADITIONAL"
                )
                plan = connection.exec_driver_sql(f"{explain} {statement}", parameters).mappings().all()
                scans += [(str(dict(row)), statement) for row in plan if (row["type"], row["table"]) == WHOLE_TABLE]
    store.close()
    assert scans == []

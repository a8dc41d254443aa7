"""On a Galera cluster, COMMIT itself may be refused, as a deadlock: another node has changed the same row."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.store import SqlStore
from tidings.cli import diagnostics
from tidings.domain.errors import StoreUnavailable
from tidings.domain.notification import Status
from tidings.ports import Settlement
from tidings.runtime.container import build_container

from tests import make
from tests.clock import TestClock

DEADLOCK = 1213
LEASE = timedelta(seconds=60)


@contextmanager
def commits_refused(database: Database, *, times: int) -> Iterator[None]:
    """In the block, this many COMMITs are refused, as by another node: everything is rolled back."""
    dialect: Any = database.engine.dialect
    commit, left = dialect.do_commit, times

    def refused(connection: Any) -> None:
        nonlocal left
        if left == 0:
            commit(connection)
            return
        left -= 1
        connection.rollback()
        raise dialect.loaded_dbapi.OperationalError(DEADLOCK, "Deadlock found when trying to get lock")

    dialect.do_commit = refused
    try:
        yield
    finally:
        dialect.do_commit = commit


def test_a_commit_that_another_node_refuses_is_tried_again_and_nothing_is_written_twice(
    store: SqlStore, clock: TestClock
) -> None:
    row = make.notification(clock())
    with commits_refused(store.database, times=2):
        store.insert([row])
    with commits_refused(store.database, times=1):
        claims = store.claim([make.message(row)], LEASE)
    (claimed,) = claims.acquired
    assert claimed.attempt == 1
    settlement = Settlement(claims=claims, notification=claimed, status=Status.SENT, provider="smtp")
    with commits_refused(store.database, times=2):
        assert store.settle([settlement]) == []
    found = store.get_with_timeline(row.tenant, row.id)
    assert found is not None
    assert [entry.status for entry in found[1]] == [Status.SENT]


def test_if_it_is_refused_again_and_again_nothing_is_written(store: SqlStore, clock: TestClock) -> None:
    row = make.notification(clock())
    with commits_refused(store.database, times=100), pytest.raises(StoreUnavailable):
        store.insert([row])
    assert store.get(row.tenant, row.id) is None


def test_a_server_of_one_writer_numbers_without_gaps(
    database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDINGS_DATABASE_URL", database.database_url)
    monkeypatch.delenv("TIDINGS_BROKER_URL", raising=False)
    container = build_container()
    try:
        assert container.numbering_step() == 1
        assert [*diagnostics._writers(container)] == []
    finally:
        container.close()


def test_the_doctor_warns_of_a_cluster_in_which_several_write() -> None:
    container: Any = SimpleNamespace(numbering_step=lambda: 3)
    (finding,) = diagnostics._writers(container)
    assert (finding.name, finding.state) == ("writers", "warning")

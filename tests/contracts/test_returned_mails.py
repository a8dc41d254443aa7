"""What every ReturnedMails promises: what is kept is bounded, once, and for a while."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.returned_mails import MAX_KEPT, MAX_SIZE, SqlReturnedMails
from tidings.adapters.sql.schema import returned_mails
from tidings.domain.timing import RETURNED_MAILS_KEPT
from tidings.ports.returned_mails import KeptMail

from tests.clock import TestClock


@pytest.fixture
def kept(database: DatabaseSettings, clock: TestClock) -> Iterator[SqlReturnedMails]:
    opened = Database(database, clock=clock)
    yield SqlReturnedMails(opened)
    opened.close()


def mail(content: bytes, verdict: str = "unreadable") -> KeptMail:
    return KeptMail(verdict=verdict, content=content)


def contents(kept: SqlReturnedMails) -> list[bytes]:
    with kept.database.engine.connect() as connection:
        return sorted(connection.scalars(select(returned_mails.c.content)))


def test_a_copy_is_kept_once_and_a_large_one_is_cut(kept: SqlReturnedMails) -> None:
    large = b"\xff\x00" * MAX_SIZE
    assert kept.keep([mail(b"a"), mail(b"a", "no_mark"), mail(large)]) == 2
    assert kept.keep([mail(b"a")]) == 0
    assert contents(kept) == [b"a", large[:MAX_SIZE]]


def test_no_more_than_a_thousand_are_kept(kept: SqlReturnedMails) -> None:
    assert kept.keep([mail(b"%d" % number) for number in range(MAX_KEPT + 5)]) == MAX_KEPT
    assert kept.keep([mail(b"one more")]) == 0


def test_they_are_deleted_after_thirty_days(kept: SqlReturnedMails, clock: TestClock) -> None:
    kept.keep([mail(b"old")])
    clock.now += RETURNED_MAILS_KEPT
    kept.keep([mail(b"new")])
    assert kept.purge() == 0
    clock.now += timedelta(seconds=1)
    assert kept.purge() == 1
    assert contents(kept) == [b"new"]

"""A process uses the wrong clock for times and waits, from the moment it is set."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from local.services.database import connection
from local.services.mariadb import MariaDB
from tests.faults.wrong_clock import SettableClock

HOUR = 3600


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> SettableClock:
    return SettableClock.made(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def server(private_servers: None, clock: SettableClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with MariaDB(tmp_path_factory.mktemp("mariadb"), environment=clock.environment) as started:
        yield started


def now(server: MariaDB) -> datetime:
    with connection(server.url) as session, session.cursor() as cursor:
        cursor.execute("SELECT UTC_TIMESTAMP(6)")
        return datetime.fromisoformat(str((cursor.fetchone() or ())[0]))


def test_the_clock_of_a_running_server_is_set_back_and_corrected(clock: SettableClock, server: MariaDB) -> None:
    before = now(server)
    clock.set_off(-HOUR)
    back = now(server)
    clock.set_off(0)
    assert timedelta(0) <= now(server) - before < timedelta(seconds=30)
    assert timedelta(seconds=-HOUR) <= back - before < timedelta(seconds=30 - HOUR)


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_a_lock_wait_is_as_long_as_with_a_correct_clock(clock: SettableClock, server: MariaDB, seconds: int) -> None:
    """The kernel has the correct clock: without translation such a wait would end at once, or in an hour."""
    clock.set_off(seconds)
    try:
        with connection(server.url) as holder, holder.cursor() as held, connection(server.url) as other:
            held.execute(f"SELECT GET_LOCK('{seconds}', 0)")
            begun = time.monotonic()
            with other.cursor() as waiting:
                waiting.execute(f"SELECT GET_LOCK('{seconds}', 2)")
                assert waiting.fetchone() == (0,)
        assert 1.5 < time.monotonic() - begun < 20
    finally:
        clock.set_off(0)


def test_a_process_with_a_constant_error_sees_it(clock: SettableClock) -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time()); time.sleep(0.1)"],
        env={"LD_PRELOAD": str(clock.library), "WRONG_CLOCK": str(HOUR)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert abs(float(told.stdout) - time.time() - HOUR) < 30

"""A run of pytest with workers shares one server of each kind, and leaves no process."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from local.services.access import accepts
from local.services.process import ServiceError
from tests.servers import DATABASE, OwnServers, ServersOverSocket, SharedServers
from tests.wait import eventually

ROOT = Path(__file__).parents[1]
ENDS_WITHIN = 60.0  # seconds
ASKS = """
import os, time
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", NUMBERS)
def test_asks(mariadb, number):
    Path(__file__).with_name(f"{number}").write_text(f"{os.getpid()} {mariadb.url}")
    deadline = time.monotonic() + 60
    while len({one.read_text() for one in Path(__file__).parent.glob("[0-3]")}) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)  # for the other worker
    while Path(__file__).with_name("hang").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
"""


def run(folder: Path) -> "subprocess.Popen[bytes]":
    """Two workers, each of which has a file of tests that ask for the database server."""
    for name, numbers in (("first", "[0, 1]"), ("second", "[2, 3]")):
        (folder / f"test_{name}.py").write_text(ASKS.replace("NUMBERS", numbers))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TIDINGS_", "PYTEST_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "pyproject.toml", "-n2", "-q", str(folder)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def told(folder: Path) -> set[str]:
    return {path.read_text() for path in folder.glob("[0-3]")}


@pytest.mark.usefixtures("private_servers")
def test_the_workers_share_one_server_and_it_ends_with_the_run(tmp_path: Path) -> None:
    with run(tmp_path) as pytest_run:
        said, _ = pytest_run.communicate(timeout=2 * ENDS_WITHIN)
    assert pytest_run.returncode == 0, said.decode()
    workers, urls = zip(*(one.split() for one in told(tmp_path)), strict=True)
    assert (len(set(workers)), len(set(urls))) == (2, 1)
    assert not accepts(urlsplit(urls[0]).port or 0)


@pytest.mark.usefixtures("private_servers")
@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, id="Ctrl-C", marks=pytest.mark.nightly), pytest.param(signal.SIGKILL, id="killed")],
)
def test_no_process_is_left_when_the_run_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    hang = tmp_path / "hang"
    hang.touch()
    with run(tmp_path) as pytest_run:
        eventually("a test has its server", lambda: any(told(tmp_path)), within=2 * ENDS_WITHIN)
        port = urlsplit(next(iter(told(tmp_path))).split()[1]).port or 0
        assert accepts(port)
        pytest_run.send_signal(number)
        pytest_run.communicate(timeout=ENDS_WITHIN)
    eventually("the server has ended", lambda: not accepts(port), within=ENDS_WITHIN)


def test_a_worker_gets_the_reason_if_a_server_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without(OwnServers):
        def database(self) -> list[str]:
            raise ServiceError("mariadb-server cannot be installed")

    own = Without()
    over_socket = ServersOverSocket(own)
    try:
        with pytest.raises(ServiceError, match="cannot be installed"):
            SharedServers(over_socket.path).database()
    finally:
        over_socket.end()
        own.end()
    assert not own.folder.exists()


def test_a_given_server_is_used_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATABASE, "mysql+pymysql://root:secret@db.example.com:3306/")
    own = OwnServers()
    assert own.database() == ["mysql+pymysql://root:secret@db.example.com:3306/"]
    own.end()

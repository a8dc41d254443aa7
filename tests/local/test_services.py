"""Private MariaDB and RabbitMQ: they keep their data, survive faults, and leave no process behind."""

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pika
import pytest

from local.services import docker, packages
from local.services.access import free_port
from local.services.broker import BrokerServer, ManagedBroker
from local.services.database import DatabaseServer, GivenDatabase, connection
from local.services.mariadb import MariaDB
from local.services.process import ServiceError, SupervisedProcess, locked
from local.services.provision import services
from local.services.rabbitmq import RabbitMQ
from local.services.service import Service
from tests.scenarios.caller import wait_for

GIVEN_DATABASE = "mysql+pymysql://somebody:secret@db.example:3306/tidings"
GIVEN_BROKER = "amqp://somebody:secret@broker.example:5672/"


def query(url: str, *statements: str) -> object:
    """Run the statements; the first value of the last one's first row."""
    with connection(url) as connected, connected.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        row = cursor.fetchone()
        return row[0] if row else None


def channel(url: str) -> "pika.adapters.blocking_connection.BlockingChannel":
    opened = pika.BlockingConnection(pika.URLParameters(url)).channel()
    opened.confirm_delivery()
    return opened


def processes_of(state: Path) -> list[str]:
    """Command lines of the processes that were started with this folder, by their arguments or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
        if os.fsencode(state) in command + environment and process.name != str(os.getpid()):
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def parent_of(pid: str) -> str | None:
    """The parent's id; None if the process has ended and was reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1]
    except OSError:
        return None


@pytest.fixture(scope="module")
def broker(private_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A broker beside the run's, which tests may kill."""
    own = RabbitMQ(tmp_path_factory.mktemp("broker"))
    try:
        yield own.start()
    finally:
        own.kill()


@pytest.fixture(scope="module")
def new_data(private_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a new server, which takes seconds to create."""
    with MariaDB(tmp_path_factory.mktemp("new")) as server:
        return server.state / "data"


@pytest.fixture
def folder(new_data: Path, tmp_path: Path) -> Path:
    """For a server, with new data."""
    shutil.copytree(new_data, tmp_path / "data")
    return tmp_path


@pytest.mark.usefixtures("private_servers")
class TestMariaDB:
    def test_data_and_url_survive_a_restart(self, folder: Path) -> None:
        with MariaDB(folder) as first:
            url = first.url
            query(url, "CREATE TABLE kept (id INT)", "INSERT INTO kept VALUES (42)")
        with MariaDB(folder) as second:
            assert second.url == url
            assert query(url, "SELECT id FROM kept") == 42

    def test_a_kill_loses_no_commit(self, folder: Path) -> None:
        with MariaDB(folder) as database:
            query(database.url, "CREATE TABLE kept (id INT)", "INSERT INTO kept VALUES (42)")
            database.kill()
            assert not database.running
            assert processes_of(folder) == []
            database.start()
            assert query(database.url, "SELECT id FROM kept") == 42

    def test_it_ends_when_stopped_even_if_paused(self, folder: Path) -> None:
        with MariaDB(folder) as database:
            pid = database.pid
            assert processes_of(folder) != []
            database.pause()
        assert not Path(f"/proc/{pid}").exists()
        assert processes_of(folder) == []

    def test_it_answers_again_after_a_pause(self, folder: Path) -> None:
        with MariaDB(folder) as database, connection(database.url) as connected, connected.cursor() as cursor:
            database.pause()
            resume = threading.Timer(0.5, database.resume)
            asked = time.monotonic()
            resume.start()
            cursor.execute("SELECT 1")
            assert time.monotonic() - asked > 0.4
            resume.join()

    def test_two_run_side_by_side(self, new_data: Path, tmp_path: Path) -> None:
        for name in ("one", "two"):
            shutil.copytree(new_data, tmp_path / name / "data")
        with MariaDB(tmp_path / "one") as one, MariaDB(tmp_path / "two") as two:
            query(one.url, "CREATE TABLE only_here (id INT)")
            assert one.port != two.port
            assert query(two.url, "SHOW TABLES") is None

    def test_a_folder_serves_one_instance_at_a_time(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with MariaDB(folder):
            monkeypatch.setattr(MariaDB, "stop_within", MariaDB.stop_within * 0)
            with pytest.raises(ServiceError, match="in use by another process"):
                MariaDB(folder).start()

    def test_it_is_durable_and_listens_on_the_loopback_only(self, folder: Path) -> None:
        with MariaDB(folder) as database:
            assert query(database.url, "SELECT @@innodb_flush_log_at_trx_commit") == 1
            assert query(database.url, "SELECT @@bind_address") == "127.0.0.1"
            assert query(database.url, "SELECT COUNT(*) FROM mysql.global_priv WHERE host <> '127.0.0.1'") == 2
            assert f"MariaDB {query(database.url, 'SELECT VERSION()')}".startswith(f"{database.version}-MariaDB")

    def test_a_deep_folder_works(self, tmp_path: Path) -> None:
        with MariaDB(tmp_path / ("deep" * 30) / "with a space") as database:  # a socket's path ends at 107 bytes
            assert query(database.url, "SELECT 1") == 1

    def test_a_failed_start_shows_the_end_of_the_log(self, folder: Path) -> None:
        database = MariaDB(folder)
        with database:
            pass
        (folder / "data" / "ibdata1").write_bytes(b"broken")
        with pytest.raises(ServiceError, match=r"(?s)MariaDB ended while it was starting.*InnoDB"):
            database.start()
        assert processes_of(folder) == []


@pytest.mark.usefixtures("private_servers")
class TestRabbitMQ:
    @pytest.mark.nightly  # by day, faults of tests/faults run and kill one beside the run's
    def test_two_run_side_by_side(self, broker: RabbitMQ, rabbitmq_url: str) -> None:
        with channel(broker.url).connection as connected:
            connected.channel().queue_declare("only-here")
        with channel(rabbitmq_url).connection as connected, pytest.raises(pika.exceptions.ChannelClosedByBroker):
            connected.channel().queue_declare("only-here", passive=True)

    def test_a_vhost_is_made_and_deleted(self, rabbitmq: BrokerServer) -> None:
        name = f"fresh-{secrets.token_hex(6)}"
        url = rabbitmq.create_vhost(name)
        with channel(url).connection as connected:
            connected.channel().queue_declare("q")
        rabbitmq.delete_vhost(name)
        with pytest.raises(pika.exceptions.ProbableAccessDeniedError):
            channel(url)

    @pytest.mark.nightly  # by day, the tests of a whole run reach its server as a given one
    def test_a_given_broker_serves_as_well(self, broker: RabbitMQ) -> None:
        given = ManagedBroker.given(
            f"{broker.url}%2f?heartbeat=30", broker.management_url.replace("tidings", "%74idings")
        )
        url = given.create_vhost("of its own")
        assert url == f"{broker.url}of%20its%20own?heartbeat=30"
        with channel(url).connection as connected:
            connected.channel().queue_declare("q")
        given.delete_vhost("of its own")
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            channel(url)

    @pytest.mark.nightly  # by day, a fault of tests/faults
    def test_a_kill_loses_no_confirmed_message(self, broker: RabbitMQ) -> None:
        url = broker.url
        opened = channel(url)
        opened.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
        # RabbitMQ 3.10 stores its list of quorum queues every 0.5 s: a newer queue would be lost.
        wait_for(lambda: any(b"_kept" in names.read_bytes() for names in broker.state.glob("mnesia/**/names.dets")))
        opened.basic_publish("", "kept", b"still here")
        broker.kill()
        assert processes_of(broker.state) == []
        with pytest.raises(pika.exceptions.AMQPError):
            opened.queue_declare("kept", passive=True)
        broker.start()
        assert broker.url == url
        with channel(url).connection as connected:
            assert connected.channel().basic_get("kept", auto_ack=True)[2] == b"still here"

    @pytest.mark.nightly  # starting a server takes many times as long as all other tests of this file; by day, MariaDB
    def test_stopped_it_leaves_no_process(self, broker: RabbitMQ) -> None:
        pid = broker.pid
        assert any("epmd" in command for command in processes_of(broker.state))
        broker.stop()
        assert not Path(f"/proc/{pid}").exists()
        assert processes_of(broker.state) == []


@pytest.mark.usefixtures("private_servers")
@pytest.mark.parametrize("kind", [MariaDB, pytest.param(RabbitMQ, marks=pytest.mark.nightly)])
def test_the_death_of_the_owner_ends_it(kind: type[Service], tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys, time; from pathlib import Path; from {kind.__module__} import {kind.__name__} as Kind;"
            "print(Kind(Path(sys.argv[1])).start().pid, flush=True); time.sleep(600)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert processes_of(tmp_path) != []
        owner.kill()
    wait_for(lambda: processes_of(tmp_path), lambda found: found == [])
    assert not Path(f"/proc/{pid}").exists()


def test_the_supervisor_reaps_orphans_of_its_command(tmp_path: Path) -> None:
    orphans = f"cd {tmp_path}; for i in 1 2 3; do (setsid sh -c 'sleep 0.1; touch ended-'$i &); done; sleep 600"
    with locked(tmp_path / "lock", timedelta()) as lock:
        process = SupervisedProcess.start(
            ["sh", "-c", orphans], environment=os.environ, log=tmp_path / "log", lock=lock, grace=timedelta(seconds=1)
        )
    supervisor = parent_of(str(process.pid))
    try:
        wait_for(lambda: len(list(tmp_path.glob("ended-*"))) == 3)
        # A zombie would stay.
        wait_for(lambda: [parent_of(other.name) for other in Path("/proc").glob("[0-9]*")].count(supervisor) == 1)
    finally:
        process.stop()


def test_a_stop_before_the_command_has_begun_ends_it_too() -> None:
    """The child is slow to begin, and its owner is already gone."""
    slow = (
        "import os, sys, time; from local.services import supervisor\n"
        "prctl = supervisor._prctl\n"
        "def slow(option, value):\n"
        "    time.sleep(0.5 if option == supervisor.PR_SET_PDEATHSIG else 0)\n"
        "    prctl(option, value)\n"
        "supervisor._prctl = slow\n"
        "sys.exit(supervisor.supervise(lambda: os.execvp('sleep', ['sleep', '600']), 10.0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", slow], cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 256 - signal.SIGTERM  # it was not killed after the grace


class TestShared:
    def test_each_test_gets_an_empty_database(self, mariadb_url: str) -> None:
        assert query(mariadb_url, "SHOW TABLES") is None
        assert query(mariadb_url, "SELECT @@character_set_database") == "utf8mb4"

    def test_each_test_gets_a_vhost(self, rabbitmq_url: str) -> None:
        with channel(rabbitmq_url).connection as connected:
            assert connected.channel().queue_declare("q").method.message_count == 0

    def test_a_given_database_serves_as_well(self, mariadb: DatabaseServer) -> None:
        given = GivenDatabase(mariadb.url)
        name = f"given_{secrets.token_hex(6)}"
        assert query(given.create_database(name), "SELECT DATABASE()") == name
        given.drop_database(name)

    @pytest.mark.parametrize(
        ("broker", "management", "found"),
        [
            ("amqp://u:p%40@mq.example:5672/x", None, "http://u:p%40@mq.example:15672"),
            ("amqp://u:p@mq.example", None, "http://u:p@mq.example:15672"),
            ("amqps://u:p@mq.example:5671/", "https://mq.example", "https://u:p@mq.example"),
            ("amqp://u:p@mq.example/", "http://a:b@other.example:1", "http://a:b@other.example:1"),
        ],
    )
    def test_a_given_broker_is_managed_at_its_usual_port_or_where_it_is_said(
        self, broker: str, management: str | None, found: str
    ) -> None:
        assert ManagedBroker.given(broker, management).management_url == found

    def test_a_broker_without_its_management_api_is_reported(self) -> None:
        with pytest.raises(ServiceError, match="management API"):
            ManagedBroker.given(f"amqp://u:p@127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}").create_vhost(
                "x"
            )

    def test_an_invalid_database_name_is_refused(self, mariadb: DatabaseServer) -> None:
        with pytest.raises(ServiceError, match="not a valid database name"):
            mariadb.create_database("x`; DROP DATABASE tidings; --")


class TestPorts:
    DRAWN = (
        "import random, sys; from local.services.access import free_port\n"
        "drawn, draw = [int(sys.argv[1])], random.randrange\n"
        "random.randrange = lambda *limits: drawn.pop() if drawn else draw(*limits)\n"
        "print(free_port(), drawn)"
    )

    def test_a_reserved_port_is_not_reserved_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given, draw = free_port(), random.randrange
        drawn = [given]
        monkeypatch.setattr(random, "randrange", lambda *limits: drawn.pop() if drawn else draw(*limits))
        assert free_port() != given
        assert drawn == []

    def test_a_reserved_port_is_not_reserved_by_another_process(self) -> None:
        given = free_port()
        command = [sys.executable, "-c", self.DRAWN, str(given)]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
        other, left = done.stdout.split()
        assert other != str(given)
        assert left == "[]"


class TestProvision:
    def test_given_urls_are_used_as_they_are(self, tmp_path: Path) -> None:
        with services(tmp_path, GIVEN_DATABASE, GIVEN_BROKER) as given:
            assert (given.database_url, given.broker_url) == (GIVEN_DATABASE, GIVEN_BROKER)
        assert list(tmp_path.iterdir()) == []

    def test_without_docker_the_machines_packages_are_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_docker: Path
    ) -> None:
        fake_docker.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
        with services(tmp_path / "state", None, GIVEN_BROKER) as given:
            assert query(given.database_url, "SELECT 1") == 1
            assert given.broker_url == GIVEN_BROKER
            assert given.described.startswith("MariaDB ")
        assert processes_of(tmp_path / "state") == []

    def test_docker_is_tried_first_and_starts_only_missing_servers(self, tmp_path: Path, fake_docker: Path) -> None:
        calls = tmp_path / "calls"
        fake_docker.write_text(f'#!/bin/sh\necho "$@ mysql=$TIDINGS_LOCAL_MYSQL_PORT" >> {calls}\n')
        with services(tmp_path / "state", None, GIVEN_BROKER) as given:
            port = given.database_url.rpartition(":")[2].partition("/")[0]
            assert given.described == "MySQL in Docker"
        up, down = calls.read_text().splitlines()[-2:]
        assert up.endswith(f"up --detach --wait mysql mysql={port}")
        assert f"--file {docker.COMPOSE}" in up
        assert f"{down} ".startswith(up.partition(" up ")[0] + " down ")

    def test_a_failed_compose_up_is_stopped_and_reported(self, tmp_path: Path, fake_docker: Path) -> None:
        calls = tmp_path / "calls"
        fake_docker.write_text(
            f'#!/bin/sh\necho "$@" >> {calls}\ncase "$*" in *up*) echo no space left; exit 1;; esac\n'
        )
        with pytest.raises(ServiceError, match="no space left"), services(tmp_path / "state"):
            pass
        assert calls.read_text().splitlines()[-1].endswith(" down")

    @pytest.fixture
    def fake_docker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        return fake(tmp_path, monkeypatch, "docker")


class TestPackages:
    def test_packages_are_installed_without_starting_their_services(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        calls, policy = tmp_path / "calls", tmp_path / "policy-rc.d"
        # As on a machine without package lists: the first install fails.
        fake(tmp_path, monkeypatch, "apt-get").write_text(
            f"#!/bin/sh\n{policy}; echo $3 policy=$? $DEBIAN_FRONTEND >> {calls}\n"
            f"test $3 = update || grep -q update {calls}\n"
        )
        packages.install(["rabbitmq-server"], policy=policy)
        assert calls.read_text().split("\n")[:3] == [
            "install policy=101 noninteractive",
            "update policy=101 noninteractive",
            "install policy=101 noninteractive",
        ]
        assert not policy.exists()
        assert "Installing rabbitmq-server" in capsys.readouterr().out

    def test_an_existing_policy_script_is_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake(tmp_path, monkeypatch, "apt-get").write_text("#!/bin/sh\n")
        policy = tmp_path / "policy-rc.d"
        policy.write_text("theirs")
        packages.install(["rabbitmq-server"], policy=policy)
        assert policy.read_text() == "theirs"

    def test_a_failure_names_its_cause_and_the_remedy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake(tmp_path, monkeypatch, "apt-get").write_text("#!/bin/sh\necho E: no network\nexit 100\n")
        with pytest.raises(ServiceError, match=r"^apt-get cannot .* E: no network\. Instead, .* Docker .* URLs .*\.$"):
            packages.install(["mariadb-server"], policy=tmp_path / "policy-rc.d")
        assert not (tmp_path / "policy-rc.d").exists()

    def test_a_user_who_may_not_install_gets_a_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(ServiceError, match=r"install rabbitmq-server and mariadb-server, start a Docker engine"):
            packages.install(["rabbitmq-server", "mariadb-server"])


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Path:
    """Put a program of this name first in PATH. The user may install packages."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return program

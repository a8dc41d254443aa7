"""What lies in AWS: asked seldom, changed while a process runs, and wrong. On moto's server, a real database and a real
broker, whose passwords change."""

import base64
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pymysql.cursors import Cursor
from sqlalchemy import Connection, text
from tidings.adapters.rabbitmq.broker import BrokerSettings, RabbitBroker
from tidings.adapters.sql.database import Database, DatabaseSettings, reading
from tidings.api.api_keys import Scope, new_key
from tidings.config import secrets
from tidings.config.rotation import PAUSE, Rotation
from tidings.config.settings import load
from tidings.domain.errors import BrokerUnavailable, StoreUnavailable
from tidings.messaging import topology
from tidings.ports import Outgoing

from local.services.broker import BrokerServer
from local.services.database import connection as connected
from tests import forks
from tests.aws import CREDENTIALS, Aws, running

OLD, NEW = "old-Passw0rd", "new-Passw0rd/%:@#{}?"
"""The second has everything in it that means something in a URL."""
URL = "{secretsmanager:tidings/password#username}:{secretsmanager:tidings/password#password}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with running(tmp_path_factory.mktemp("aws")) as aws:
        yield aws


@pytest.fixture
def aws(server: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    # It is counted how often AWS is asked: an answer that a busy machine makes late is not to be asked for again.
    monkeypatch.setattr(secrets, "CONNECT_WITHIN", 60)
    monkeypatch.setattr(secrets, "ANSWER_WITHIN", 60)
    secrets.provider.cache_clear()
    yield server
    secrets.provider.cache_clear()


def database_settings(url: str) -> DatabaseSettings:
    return load(DatabaseSettings, {"TIDINGS_DATABASE_URL": url})


# --- where a value stands ---------------------------------------------------------------------------------------------


def test_a_part_of_a_url_may_lie_in_aws_and_is_escaped_for_it(aws: Aws) -> None:
    aws.put_secret("tidings/password", {"username": "a b", "password": NEW})
    made = load(BrokerSettings, {"TIDINGS_BROKER_URL": f"amqps://{URL}@host:5671/"}).broker_url or ""
    assert made == "amqps://a%20b:new-Passw0rd%2F%25%3A%40%23%7B%7D%3F@host:5671/"
    assert urlsplit(made).hostname == "host"


def test_a_parameter_may_be_json_as_well(aws: Aws) -> None:
    aws.put_parameter("/tidings/broker", json.dumps({"url": "amqp://host/"}))
    settings = load(BrokerSettings, {"TIDINGS_BROKER_URL": "ssm:/tidings/broker#url"})
    assert settings.broker_url == "amqp://host/"


def test_what_only_looks_like_a_reference_is_a_value() -> None:
    url = "amqp://user:{secret}@host/secretsmanager:x"
    assert load(BrokerSettings, {"TIDINGS_BROKER_URL": url}).broker_url == url


# --- how often AWS is asked -------------------------------------------------------------------------------------------


def test_a_value_is_asked_for_once_and_then_kept(aws: Aws) -> None:
    aws.put_secret("tidings/kept", {"url": "amqp://host/", "prefetch": "7"})
    before = aws.asked
    for _ in range(20):
        both = {
            "TIDINGS_BROKER_URL": "secretsmanager:tidings/kept#url",
            "TIDINGS_BROKER_PREFETCH": "secretsmanager:tidings/kept#prefetch",
        }
        assert load(BrokerSettings, both).broker_prefetch == 7
    assert aws.asked == before + 1


def test_a_cached_secret_is_read_again_after_its_time(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "KEPT", 0)
    aws.put_secret("tidings/kept", "amqp://first/")
    variables = {"TIDINGS_BROKER_URL": "secretsmanager:tidings/kept"}
    assert load(BrokerSettings, variables).broker_url == "amqp://first/"
    aws.put_secret("tidings/kept", "amqp://second/")
    assert load(BrokerSettings, variables).broker_url == "amqp://second/"


@dataclass
class Server:
    """Takes one password."""

    password: str
    tried: list[str | None] = field(default_factory=list)

    def connect(self, settings: BrokerSettings) -> str:
        self.tried.append(settings.broker_url)
        if settings.broker_url != self.password:
            raise BrokerUnavailable("refused")
        return "connected"


def is_refusal(error: Exception) -> bool:
    return isinstance(error, BrokerUnavailable)


def test_a_wrong_password_does_not_ask_aws_at_every_connection(aws: Aws) -> None:
    aws.put_secret("tidings/url", "amqp://wrong/")
    server, now = Server("amqp://right/"), 0.0
    settings = load(BrokerSettings, {"TIDINGS_BROKER_URL": "secretsmanager:tidings/url"})
    rotating, before = Rotation(settings, clock=lambda: now), aws.asked
    for _ in range(10):
        with pytest.raises(BrokerUnavailable):
            rotating.connect(server.connect, is_refusal=is_refusal)
    assert aws.asked == before + 1
    aws.put_secret("tidings/url", "amqp://right/")
    now += PAUSE
    assert rotating.connect(server.connect, is_refusal=is_refusal) == "connected"
    assert server.tried[-2:] == ["amqp://wrong/", "amqp://right/"]


def test_an_error_other_than_a_refusal_does_not_read_aws(aws: Aws) -> None:
    aws.put_secret("tidings/url", "amqp://wrong/")
    rotating = Rotation(load(BrokerSettings, {"TIDINGS_BROKER_URL": "secretsmanager:tidings/url"}))
    before, server = aws.asked, Server("amqp://right/")
    with pytest.raises(BrokerUnavailable):
        rotating.connect(server.connect, is_refusal=lambda _: False)
    assert (aws.asked, len(server.tried)) == (before, 1)


def test_settings_that_are_not_in_aws_stay_and_are_tried_once() -> None:
    """Also where the environment says something else by now."""
    server = Server("amqp://right/")
    with pytest.raises(BrokerUnavailable):
        Rotation(BrokerSettings(broker_url="amqp://wrong/")).connect(server.connect, is_refusal=is_refusal)
    assert server.tried == ["amqp://wrong/"]


def test_the_last_known_secret_is_used_while_aws_does_not_answer(
    tmp_path: Path, aws: Aws, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(secrets, "KEPT", 0)
    with running(tmp_path) as gone:
        monkeypatch.setenv("AWS_ENDPOINT_URL", gone.endpoint)
        secrets.provider.cache_clear()
        gone.put_secret("tidings/url", "amqp://right/")
        rotating = Rotation(load(BrokerSettings, {"TIDINGS_BROKER_URL": "secretsmanager:tidings/url"}))
    logging.getLogger("tidings").propagate = True  # another test may have configured the log
    with caplog.at_level("WARNING", "tidings"):
        for _ in range(3):  # and does not hold up every connection
            assert rotating.connect(Server("amqp://right/").connect, is_refusal=is_refusal) == "connected"
    assert [record.getMessage() for record in caplog.records] == ["settings_refresh_failed"]
    assert "right" not in str(caplog.records[0].__dict__)


# --- a password changes while a process runs --------------------------------------------------------------------------


class Asking:
    def __init__(self, database: Database) -> None:
        self.database = database

    @reading
    def user(self, connection: Connection) -> str:
        return str(connection.scalar(text("SELECT CURRENT_USER()")))


def test_a_new_password_of_the_database_is_used_at_the_next_connection(aws: Aws, mariadb_url: str) -> None:
    with connected(mariadb_url) as admin, contextlib.ExitStack() as ends:
        cursor = ends.enter_context(admin.cursor())
        cursor.execute("CREATE USER rotated@'127.0.0.1' IDENTIFIED BY %s", (OLD,))
        ends.callback(cursor.execute, "DROP USER rotated@'127.0.0.1'")
        cursor.execute("GRANT ALL ON *.* TO rotated@'127.0.0.1'")
        aws.put_secret("tidings/password", {"username": "rotated", "password": OLD})
        at = urlsplit(mariadb_url)
        database = Database(database_settings(f"mysql+pymysql://{URL}@127.0.0.1:{at.port}{at.path}"))
        ends.callback(database.close)
        asking, before = Asking(database), aws.asked
        assert asking.user() == "rotated@127.0.0.1"

        cursor.execute("ALTER USER rotated@'127.0.0.1' IDENTIFIED BY %s", (NEW,))
        _end_connections(cursor)
        with pytest.raises(StoreUnavailable, match="1045"):
            asking.user()  # AWS does not know it yet
        assert aws.asked == before + 1

        aws.put_secret("tidings/password", {"username": "rotated", "password": NEW})
        known = aws.asked
        database._rotation._asked_at = -PAUSE  # PAUSE is over
        assert asking.user() == "rotated@127.0.0.1"
        assert aws.asked == known + 1
        _end_connections(cursor)
        assert asking.user() == "rotated@127.0.0.1"
        assert aws.asked == known + 1


def _end_connections(cursor: Cursor) -> None:
    cursor.execute("SELECT id FROM information_schema.processlist WHERE user = 'rotated'")
    for (id,) in cursor.fetchall():
        cursor.execute(f"KILL {id:d}")


def test_a_new_password_of_the_broker_is_used_at_the_next_connection(
    aws: Aws, rabbitmq: BrokerServer, rabbitmq_url: str
) -> None:
    management = getattr(rabbitmq, "management_url", None)
    if management is None:
        pytest.skip("the given broker has no management API that we know of")
    at = urlsplit(rabbitmq_url)
    vhost = at.path.removeprefix("/")
    _ask(management, "users/rotated", {"password": OLD, "tags": ""})
    _ask(management, f"permissions/{vhost}/rotated", {"configure": ".*", "write": ".*", "read": ".*"})
    aws.put_secret("tidings/password", {"username": "rotated", "password": OLD})
    url = f"amqp://{URL}@127.0.0.1:{at.port}/{vhost}"
    patient = {"TIDINGS_BROKER_URL": url, "TIDINGS_BROKER_TIMEOUT": "60"}
    with contextlib.closing(RabbitBroker(load(BrokerSettings, patient))) as broker:
        broker.declare()
        broker.publish([one()])
        _ask(management, "users/rotated", {"password": NEW, "tags": ""})
        aws.put_secret("tidings/password", {"username": "rotated", "password": NEW})
        broker.publish([one()])  # by the connection that there is
        broker.close()
        before = aws.asked
        broker.publish([one()])
        assert aws.asked == before + 1
        assert broker.depth(topology.PARKING) == 3


def one() -> Outgoing:
    return Outgoing(to=topology.parking(), raw=b"{}", headers={})


def _ask(management: str, path: str, body: dict[str, str]) -> None:
    at = urlsplit(management)
    token = base64.b64encode(f"{at.username}:{at.password}".encode()).decode()
    request = urllib.request.Request(
        f"http://{at.hostname}:{at.port}/api/{path}",
        method="PUT",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).close()


# --- what is wrong stops the start with one line ----------------------------------------------------------------------


def started(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Intake, imported as Lambda imports it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TIDINGS_", "AWS_"))}
    given = {"AWS_LAMBDA_FUNCTION_NAME": "tidings-intake", "AWS_CONFIG_FILE": "/nowhere"}
    command = [sys.executable, "-c", "import functions.intake.main"]
    return forks.ended(command, environment={**kept, **given, **environment})


def the_line(ended: "subprocess.CompletedProcess[str]") -> str:
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr.strip()


SAYS = "tidings: intake: TIDINGS_API_KEYS: the"
SECRET, PARAMETER = "secretsmanager:tidings/keys#keys", "ssm:/tidings/keys"


def test_a_function_starts_with_readable_secrets(aws: Aws) -> None:
    key = str(new_key("acme", [Scope.SEND])[1])
    aws.put_secret("tidings/keys", {"keys": key, "other": "x"})
    aws.put_parameter("/tidings/keys", key)
    before = aws.asked
    for reference in (SECRET, PARAMETER):
        ended = started({**aws.environment, "TIDINGS_API_KEYS": reference})
        assert (ended.returncode, ended.stderr) == (0, "")
    assert aws.asked == before + 2


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("secretsmanager:tidings/none#keys", "secret tidings/none cannot be read: "),
        ("secretsmanager:tidings/keys#none", "secret tidings/keys is not a JSON object with the key none"),
        (
            "secretsmanager:tidings/keys#null",
            "secret tidings/keys is not a JSON object with the key null and a string value",
        ),
        ("ssm:/tidings/none", "parameter /tidings/none cannot be read: "),
    ],
)
def test_one_that_is_missing_stops_the_start(aws: Aws, reference: str, says: str) -> None:
    aws.put_secret("tidings/keys", '{"keys": "acme:send:hunter2", "null": null}')
    line = the_line(started({**aws.environment, "TIDINGS_API_KEYS": reference}))
    assert line.startswith(f"{SAYS} {says}")
    assert "hunter2" not in line


def test_one_that_is_no_text_stops_the_start(aws: Aws) -> None:
    with aws.client("secretsmanager") as secrets:
        secrets.create_secret(Name="tidings/binary", SecretBinary=b"\xff")
    line = the_line(started({**aws.environment, "TIDINGS_API_KEYS": "secretsmanager:tidings/binary"}))
    assert line == f"{SAYS} secret tidings/binary is not text"


def test_one_that_is_wrong_stops_the_start_and_is_not_shown(aws: Aws) -> None:
    aws.put_secret("tidings/keys", {"keys": "acme:send:hunter2"})
    line = the_line(started({**aws.environment, "TIDINGS_API_KEYS": SECRET}))
    assert line.startswith("tidings: intake: TIDINGS_API_KEYS: each key is tenant:scope+scope:sha256-hex")
    assert "hunter2" not in line


def test_a_role_that_may_not_read_it_stops_the_start(tmp_path: Path) -> None:
    """An AWS of its own: its rights hold for everybody from then on."""
    with running(tmp_path) as aws:
        aws.put_secret("tidings/keys", {"keys": "x"})
        with aws.client("iam") as iam:
            iam.create_user(UserName="intake")
            key = iam.create_access_key(UserName="intake")["AccessKey"]
        aws.check_rights(after=0)
        theirs = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        line = the_line(started({**aws.environment, **theirs, "TIDINGS_API_KEYS": SECRET}))
    assert line.startswith(f"{SAYS} secret tidings/keys cannot be read: ")
    assert "AccessDenied" in line


def test_no_region_stops_the_start(aws: Aws) -> None:
    without = {name: value for name, value in aws.environment.items() if name != "AWS_DEFAULT_REGION"}
    assert "region" in the_line(started({**without, "TIDINGS_API_KEYS": SECRET}))


def test_an_aws_that_does_not_answer_stops_the_start_before_lambda_would() -> None:
    """As where a subnet has no way out. Lambda ends a start after ten seconds, and would say nothing but that."""
    assert secrets.ATTEMPTS * max(secrets.CONNECT_WITHIN, secrets.ANSWER_WITHIN) < 10
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        line = the_line(started({**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "TIDINGS_API_KEYS": PARAMETER}))
    assert line.startswith(f"{SAYS} parameter /tidings/keys cannot be read: ")
    assert "timeout" in line.lower()

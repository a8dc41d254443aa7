"""The functions under the real `awslambdaric`: frozen whenever they wait, killed where they are late, on RabbitMQ and
MariaDB, which both lie behind a proxy that can cut what is open."""

import base64
import contextlib
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import create_engine, text
from tidings.adapters.rabbitmq.broker import BrokerSettings
from tidings.adapters.sql.database import DatabaseSettings
from tidings.domain.notification import Notification, OnAmbiguous, Priority
from tidings.domain.timing import SETTLE_RESERVE
from tidings.messaging import topology
from tidings.pipeline.outgoing import to_work
from tidings.ports import Received
from tidings.runtime.container import Container

from local.lambda_emulator.environment import Environment, InitError, InvocationResult, LambdaFunction
from local.lambda_emulator.sources import EventSourceMapping
from local.services.broker import BrokerServer
from local.services.database import DatabaseServer
from tests.collector import Collector, collector
from tests.emulator import Running, emulator
from tests.faults.proxy import Cut, Proxy, loop, proxy
from tests.faults.wire import Commits, Confirms
from tests.functions.served import Keys, mail
from tests.functions.test_lambda import entry, gateway, of_channel, rmq
from tests.migrated import migrated
from tests.scenarios.caller import wait_for

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EMAIL = topology.work_queue("email", Priority.NORMAL)

CALL = 5.0  # seconds that a call to the mail server may take
ROOM = SETTLE_RESERVE.total_seconds() + CALL  # what one call takes of an invocation
BEGIN = 5.0  # seconds more, in which an invocation may begin calls: on a busy machine the first begins late


@dataclass
class Ground:
    """What the module's functions share, and the functions, each an environment that is started when first asked."""

    variables: Mapping[str, str]
    keys: Keys
    parts: Container
    url: str  # of the database, past its proxy
    database: Proxy
    broker: Proxy
    providers: Running
    collector: Collector
    log: Path
    _output: IO[bytes]
    _environments: dict[str, Environment] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Environment:
        if name not in self._environments:
            deployed = self.deployed(name)
            self._environments[name] = Environment(deployed)
            self._environments[name].start()
        return self._environments[name]

    def deployed(self, name: str, *, timeout: float = 60, **variables: str) -> LambdaFunction:
        known = {**os.environ, **self.variables, **variables}
        return LambdaFunction(name=name, variables=known, timeout=timedelta(seconds=timeout), output=self._output)

    def email(self, *rows: Notification) -> InvocationResult:
        return self["email"].invoke(json.dumps(rmq("email", *map(entry, rows))).encode())

    def post(self) -> tuple[int, str]:
        """Hand one in; the answer's status, and the id."""
        event = gateway(
            "POST", "/v1/notifications", json.dumps(mail()).encode(), key=self.keys.send, headers={"traceparent": TRACE}
        )
        ended = self["intake"].invoke(json.dumps(event).encode())
        assert not ended.failed, ended.error
        answer = json.loads(ended.payload)
        return answer["statusCode"], json.loads(base64.b64decode(answer["body"])).get("id", "")

    def stored(self, row: Notification) -> Notification:
        found = self.parts.store.get(row.tenant, row.id)
        assert found is not None
        return found

    def sql(self, statement: str, **values: Any) -> None:
        with create_engine(self.url).begin() as connection:
            connection.execute(text(statement), values)

    def said_since(self, mark: int) -> str:
        return self.log.read_bytes()[mark:].decode()

    @property
    def mark(self) -> int:
        return self.log.stat().st_size

    @contextlib.contextmanager
    def disconnected(self, environment: Environment, *, unnoticed: bool) -> Iterator[None]:
        """It is frozen, and its connections die; `unnoticed`: until they are used."""
        assert environment.frozen.wait(60)
        state = Path(f"/proc/{environment.pid}/stat")
        wait_for(lambda: state.read_text().rpartition(")")[2].split()[0], lambda letter: letter == "T")
        if not unnoticed:
            self.database.cut()
            self.broker.cut()
            yield
            return
        with (
            self.database.cut_at(Cut.BEFORE, times=1) as database,
            self.broker.cut_at(Cut.BEFORE, times=1) as broker,
        ):
            yield
        assert (database.used, broker.used) == (1, 1)

    def close(self) -> None:
        for environment in self._environments.values():
            environment.close()


@pytest.fixture(scope="module")
def ground(
    rabbitmq: BrokerServer, mariadb: DatabaseServer, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    folder, name = tmp_path_factory.mktemp("lambda"), f"lambda_{secrets.token_hex(6)}"
    with contextlib.ExitStack() as stack:
        broker_url, database_url = rabbitmq.create_vhost(name), mariadb.create_database(name)
        stack.callback(rabbitmq.delete_vhost, name)
        stack.callback(mariadb.drop_database, name)
        migrated(database_url)
        running = stack.enter_context(loop())
        database = stack.enter_context(proxy(running, Commits, urlsplit(database_url).port or 0))
        broker = stack.enter_context(proxy(running, Confirms, urlsplit(broker_url).port or 0))
        providers = stack.enter_context(emulator(folder))
        collected = stack.enter_context(collector())
        parts = Container(DatabaseSettings(database_url=database_url), BrokerSettings(broker_url=broker_url))
        stack.callback(parts.close)
        parts.broker.declare()
        log = folder / "functions.log"
        made = Ground(
            variables={
                # MySQL would be spoken to in TLS, into which no proxy looks.
                "TIDINGS_DATABASE_URL": f"{database.through(database_url)}?ssl_disabled=true",
                "TIDINGS_BROKER_URL": broker.through(broker_url),
                "TIDINGS_API_KEYS": keys.setting,
                "TIDINGS_SMTP_URL": providers.smtp_url,
                "TIDINGS_SMTP_SENDER": "Tidings <tidings@example.com>",
                "TIDINGS_SMTP_TIMEOUT": str(CALL),
                "TIDINGS_LEASE": "600",  # longer than a new environment takes to begin
                "TIDINGS_CONCURRENCY": "1",
                "TIDINGS_METRICS": "emf",
                **collected.environment,
            },
            keys=keys,
            parts=parts,
            url=database_url,
            database=database,
            broker=broker,
            providers=providers,
            collector=collected,
            log=log,
            _output=stack.enter_context(log.open("wb", buffering=0)),
        )
        stack.callback(made.close)
        yield made


@pytest.fixture(autouse=True)
def fresh(ground: Ground) -> Iterator[None]:
    """No row, no message and no failure of the test before."""
    yield
    ground.providers.client.clear()
    for table in ("events", "notifications"):
        ground.sql(f"DELETE FROM {table}")
    for queue in topology.queues():
        drained(ground, queue.name)


def drained(ground: Ground, queue: str) -> Sequence[Received]:
    """What lies in the queue; it is gone then."""
    found: list[Received] = []
    while ground.parts.broker.depth(queue):  # the first to arrive may be alone
        consumer = ground.parts.broker.consume([queue])
        some = consumer.receive(100, timedelta(seconds=2))
        consumer.acknowledge(some)
        consumer.close()
        found += some
    return found


def wait_for_queued(ground: Ground, *ids: str) -> None:
    """Until the messages of these notifications were in the channel's queue. Nobody brings them there later: who has
    answered is frozen. Those of an earlier test may come by."""
    seen: set[str] = set()

    def look() -> set[str]:
        seen.update(json.loads(message.body)["id"] for message in drained(ground, EMAIL))
        return seen

    wait_for(look, set(ids).issubset)


def rows_of(ground: Ground, count: int, **changes: Any) -> list[Notification]:
    rows = [of_channel("email", n, **changes) for n in range(count)]
    ground.parts.store.insert(rows)
    return rows


# --- init -------------------------------------------------------------------------------------------------------------


def test_a_wrong_setting_ends_the_init_with_one_clear_line(ground: Ground) -> None:
    mark = ground.mark
    with pytest.raises(InitError) as failed:
        Environment(ground.deployed("email", TIDINGS_SMTP_URL="ftp://user:secret@mail.example.com")).start()
    assert failed.value.result.error["errorType"] == "Runtime.ExitError"
    said, report = ground.said_since(mark).splitlines()  # the other is Lambda's own
    assert said.startswith("tidings: email: TIDINGS_SMTP_URL: not smtp://, smtps:// or smtp+starttls://")
    assert "secret" not in said
    assert "exit status 2" in report


def test_a_function_that_is_not_there_is_reported_by_the_runtime(ground: Ground) -> None:
    with pytest.raises(InitError) as failed:
        Environment(ground.deployed("carrier_pigeon")).start()
    assert failed.value.result.error["errorType"] == "Runtime.ImportModuleError"


# --- invoke, and error ------------------------------------------------------------------------------------------------


def test_metrics_and_spans_are_flushed_before_the_answer(ground: Ground) -> None:
    """After it the process is frozen, maybe for ever."""
    mark = ground.mark
    status, id = ground.post()
    spans = {span.name for span in ground.collector.spans(TRACE.split("-")[1])}
    said = ground.said_since(mark)
    assert status == 202
    assert {"POST /v1/notifications", "insert notifications", f"send {EMAIL}"} <= spans
    assert '"message":"accepted"' in said
    assert '"_aws"' in said  # the metrics
    wait_for_queued(ground, id)


@contextlib.contextmanager
def refusing(ground: Ground, says: str) -> Iterator[None]:
    """A database that takes no change of a notification, for a reason that nobody foresaw."""
    ground.sql(
        "CREATE TRIGGER refusing BEFORE UPDATE ON notifications FOR EACH ROW"
        f" SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1406, MESSAGE_TEXT = '{says}'"
    )
    try:
        yield
    finally:
        ground.sql("DROP TRIGGER refusing")


@pytest.mark.parametrize("function", ["email", "replay"])
def test_an_unexpected_error_is_logged_by_place_without_personal_data(ground: Ground, function: str) -> None:
    private = "ada@private"
    (row,) = rows_of(ground, 1)
    ground.sql("UPDATE notifications SET wake_at = '2020-01-01'")
    mark = ground.mark
    with refusing(ground, private):
        ended = ground.email(row) if function == "email" else ground["replay"].invoke(b'{"source": "aws.scheduler"}')
    assert ended.failed
    assert ended.error["errorType"] == "Fault"
    assert ended.error["errorMessage"].startswith("DataError at ")
    told = ended.payload.decode() + ground.said_since(mark)
    assert '"message":"unexpected_error"' in told
    assert private not in told
    assert not ground.email(row).failed
    assert ground.stored(row).status == "sent"


def test_a_failed_batch_is_redelivered_whole_and_nothing_is_doubled(ground: Ground) -> None:
    rows = rows_of(ground, 3)
    ground.parts.broker.publish([to_work(row) for row in rows])
    with contextlib.ExitStack() as refusal:
        refusal.enter_context(refusing(ground, "no"))
        with fed(ground) as ends:
            wait_for(lambda: [ended for ended in ends if ended.failed])
            refusal.close()
            wait_for(lambda: {ground.stored(row).status for row in rows}, lambda found: found == {"sent"})
    assert ground.providers.client.call_totals()["email"] == 3
    assert ground.parts.broker.depth(topology.PARKING) == 0


@contextlib.contextmanager
def fed(ground: Ground) -> Iterator[list[InvocationResult]]:
    """The event source mapping of the channel's queue, for the length of the block. What came of each batch."""
    environment, ends = ground["email"], list[InvocationResult]()

    def invoke(event: bytes) -> InvocationResult:
        ends.append(ended := environment.invoke(event))
        return ended

    mapping = EventSourceMapping(channel="email", consume=lambda: ground.parts.broker.consume([EMAIL]), invoke=invoke)
    thread = threading.Thread(target=mapping.run)
    thread.start()
    try:
        yield ends
    finally:
        mapping.stop()
        thread.join()


# --- the deadline -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def timeout_of(environment: Environment, seconds: float) -> Iterator[None]:
    before = environment.function
    environment.function = replace(before, timeout=timedelta(seconds=seconds))
    try:
        yield
    finally:
        environment.function = before


def test_it_stops_before_its_deadline_and_the_next_invocation_sends_the_rest_once(ground: Ground) -> None:
    rows = rows_of(ground, 4)
    ground.providers.client.fail("email", delay=BEGIN / 3 + 0.1)  # so the fourth has no time to begin
    with timeout_of(ground["email"], ROOM + BEGIN):  # in one batch; from the queue they may come in several
        first = ground.email(*rows)
    assert not first.failed, first.error
    found = {ground.stored(row).status for row in rows}
    assert found in ({"sent", "pending"}, {"sent", "retrying"})  # not claimed, or claimed and given back
    with fed(ground) as ends:
        wait_for(lambda: {ground.stored(row).status for row in rows}, lambda found: found == {"sent"})
    assert not [ended.error for ended in ends if ended.failed]
    after = [ground.stored(row) for row in rows]
    assert {row.attempt - row.uncounted_attempts for row in after} == {1}  # what was put off has burnt no attempt
    assert ground.providers.client.call_totals()["email"] == 4


@pytest.mark.parametrize(
    ("policy", "becomes", "ends"),
    [(OnAmbiguous.RESEND, "retrying", "sent"), (OnAmbiguous.HOLD, "unknown", "unknown")],
)
def test_a_function_killed_during_a_call_leaves_only_that_call_to_the_lease(
    ground: Ground, policy: OnAmbiguous, becomes: str, ends: str
) -> None:
    """It stands still in the first of two calls, so it cannot keep its deadline."""
    under_way, other = rows = [*rows_of(ground, 1, on_ambiguous=policy), *rows_of(ground, 1)]
    ground.providers.client.fail("email", delay=30)
    environment = ground["email"]
    first = environment.pid
    with timeout_of(environment, ROOM + BEGIN), ThreadPoolExecutor(1) as thread:
        invocation = thread.submit(ground.email, *rows)
        wait_for(lambda: ground.providers.client.totals()["email"])  # the server has taken it, and is silent
        os.kill(first, signal.SIGSTOP)
        ended = invocation.result(60)
    assert ended.error["errorType"] == "Sandbox.Timedout"
    assert f"Task timed out after {ROOM + BEGIN:.2f} seconds" in ended.error["errorMessage"]

    ground.providers.client.forgive()
    assert not ground.email(*rows).failed  # the batch comes again, to a new environment, and finds one under its lease
    assert environment.pid != first
    assert [ground.stored(row).status for row in rows] == ["sending", "sent"]
    assert ground.providers.client.totals()["email"] == 2

    ground.sql("UPDATE notifications SET lease_until = '2020-01-01', wake_at = '2020-01-02' WHERE status = 'sending'")
    assert not ground["replay"].invoke(b"{}").failed  # the sweep finds that it has run out
    assert ground.stored(under_way).status == becomes
    ground.sql("UPDATE notifications SET next_attempt_at = '2020-01-01' WHERE status = 'retrying'")
    assert not ground.email(*rows).failed
    assert [ground.stored(row).status for row in (under_way, other)] == [ends, "sent"]
    assert ground.providers.client.totals()["email"] <= 3  # each once, and what nobody could know of once more


# --- a freeze ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unnoticed", [False, True])
def test_an_intake_that_wakes_up_with_dead_connections_accepts_and_queues(ground: Ground, unnoticed: bool) -> None:
    _, first = ground.post()
    mark = ground.mark
    with ground.disconnected(ground["intake"], unnoticed=unnoticed):
        status, second = ground.post()
    assert status == 202
    wait_for_queued(ground, first, second)
    said = ground.said_since(mark)
    assert '"message":"queued"' in said
    assert '"level":"ERROR"' not in said


@pytest.mark.parametrize("unnoticed", [False, True])
def test_a_queue_function_that_wakes_up_with_dead_connections_settles_and_queues_retries(
    ground: Ground, unnoticed: bool
) -> None:
    first, good, bad = rows_of(ground, 3)
    ground.providers.client.fail("email", recipient=first.recipient, status=451, next=1)  # so that it publishes
    ground.providers.client.fail("email", recipient=bad.recipient, status=451, next=1)
    assert not ground.email(first).failed
    mark = ground.mark
    with ground.disconnected(ground["email"], unnoticed=unnoticed):
        assert not ground.email(good, bad).failed
    assert [ground.stored(row).status for row in (good, bad)] == ["sent", "retrying"]
    assert '"level":"ERROR"' not in ground.said_since(mark)
    wait_for_queued(ground, bad.id)  # after its second in the retry queue
    assert ground.providers.client.call_totals()["email"] == 3

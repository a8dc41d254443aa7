"""The trigger adapter between a real queue and a real HTTP function."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pika
import pytest
from tidings.adapters.embedded import EmbeddedBroker
from tidings.adapters.rabbitmq.broker import BrokerSettings, RabbitBroker
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.store import SqlStore
from tidings.domain.notification import Priority
from tidings.messaging import topology
from tidings.messaging.envelope import Message, from_event
from tidings.ports import Broker, Outgoing, Received
from tidings.runtime.trigger import pauses as pauses_module
from tidings.runtime.trigger.pauses import Pauses
from tidings.runtime.trigger.trigger import FIRST_PAUSE, ISOLATE_FROM, LOOK_EVERY, Function, Trigger

from tests.migrated import migrated
from tests.scenarios.caller import wait_for

MIGRATIONS = Path(__file__).parents[2] / "infra" / "migrations"
TOKEN = "a-token-of-the-test"
QUEUES = topology.work_queues("email")
ENDS_WITHIN = 60.0


def publish(broker: Broker, *numbers: int, priority: Priority = Priority.NORMAL) -> None:
    broker.publish([Outgoing(message=message(number), to=topology.work("email", priority)) for number in numbers])


def message(number: int) -> Message:
    return Message(id=f"01930b6c-4a5e-7c3b-9d2e-{number:012d}", channel="email", generation=1)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request to the function."""

    at: float
    numbers: list[int]  # of its messages
    redelivered: bool


@dataclass(kw_only=True)
class HttpFunction:
    """A function with answers set by the test. A call waits until `open` is set."""

    answer: Callable[[Sequence[int]], int] = lambda _: 200
    open: threading.Event = field(default_factory=threading.Event)
    calls: list[Call] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def seen(self) -> list[int]:
        return [number for call in self.calls for number in call.numbers]

    def invoked(self, event: object) -> int:
        letters = from_event(event, "email")
        numbers = [int(letter.message.id[-12:]) for letter in letters if letter.message is not None]
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            again = '"redelivered": true' in json.dumps(event)
            self.calls.append(Call(at=time.monotonic(), numbers=numbers, redelivered=again))
        try:
            assert self.open.wait(ENDS_WITHIN)
            return self.answer(numbers)
        finally:
            with self._lock:
                self.at_once -= 1

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Start it, on the same port each time."""
        function = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["authorization"] == f"Bearer {TOKEN}"
                event = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(function.invoked(event))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = False  # so that closing waits for them
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            self.open.set()
            server.server_close()


@dataclass(kw_only=True)
class Running:
    trigger: Trigger
    thread: threading.Thread

    def stop(self) -> None:
        self.trigger.stop()
        self.thread.join(ENDS_WITHIN)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(
    broker: Broker,
    function: HttpFunction,
    *,
    batch: int = 100,
    concurrency: int = 2,
    kind: type[Function] = Function,
    paused: Callable[[], bool] = lambda: False,
) -> Iterator[Running]:
    trigger = Trigger(
        channel="email",
        consume=lambda: broker.consume(QUEUES),
        function=kind(url=function.url, token=TOKEN, timeout=timedelta(seconds=ENDS_WITHIN)),
        batch=batch,
        concurrency=concurrency,
        paused=paused,
    )
    running = Running(trigger=trigger, thread=threading.Thread(target=trigger.run))
    running.thread.start()
    try:
        yield running
    finally:
        function.open.set()
        running.stop()


def left(broker: Broker) -> list[str | None]:
    """Messages that another consumer gets: none if all were acknowledged."""
    consumer = broker.consume(QUEUES)
    try:
        return [item.message_id for item in consumer.receive(100, timedelta(seconds=1))]
    finally:
        consumer.close()


@pytest.fixture
def function() -> Iterator[HttpFunction]:
    function = HttpFunction()
    function.open.set()
    with function.listening():
        yield function


@pytest.fixture
def absent() -> Iterator[HttpFunction]:
    """A function that is not running. Its port is reserved, so that no other process takes it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the function can listen there all the same
        held.bind(("127.0.0.1", 0))
        function = HttpFunction(port=held.getsockname()[1])
        function.open.set()
        yield function


@pytest.fixture
def database(tmp_path: Path) -> DatabaseSettings:
    return migrated(f"sqlite:///{tmp_path}/tidings.db")


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    if request.param == "embedded":
        settings = migrated(f"sqlite:///{tmp_path}/broker.db")
        broker: Broker = EmbeddedBroker(Database(settings))
    else:
        broker = RabbitBroker(BrokerSettings(broker_url=request.getfixturevalue("rabbitmq_url")))
    broker.declare()
    yield broker
    broker.close()


def test_a_delivered_batch_is_acknowledged(broker: Broker, function: HttpFunction) -> None:
    publish(broker, *range(30))
    with running(broker, function) as stack:
        wait_for(lambda: len(function.seen) == 30)
        stack.stop()
    assert sorted(function.seen) == list(range(30))
    assert left(broker) == []


def test_a_batch_that_fails_is_redelivered_after_a_pause(broker: Broker, function: HttpFunction) -> None:
    function.answer = lambda _: 500 if len(function.calls) == 1 else 200
    publish(broker, 1)
    with running(broker, function) as stack:
        wait_for(lambda: len(function.calls) == 2)
        stack.stop()
    first, second = function.calls
    assert (first.redelivered, second.redelivered) == (False, True)
    assert second.at - first.at >= FIRST_PAUSE
    assert left(broker) == []


def test_an_internal_error_of_the_trigger_requeues_the_batch(broker: Broker, function: HttpFunction) -> None:
    class Faulty(Function):
        def invoke(self, batch: Sequence[Received]) -> None:
            if not any(item.redelivered for item in batch):
                raise RuntimeError
            super().invoke(batch)

    publish(broker, 1)
    with running(broker, function, kind=Faulty) as stack:
        wait_for(lambda: function.seen == [1])
        stack.stop()
    assert left(broker) == []


def test_it_waits_for_a_function_that_is_not_running(broker: Broker, absent: HttpFunction) -> None:
    function = absent
    publish(broker, 1, 2)
    # One at a time: the two may come as two batches, and each has pauses of its own.
    with running(broker, function, concurrency=1) as stack:
        with pytest.MonkeyPatch.context() as patch:
            refused: list[float] = []
            connect = socket.create_connection

            def counted(*args: object, **options: object) -> socket.socket:
                refused.append(time.monotonic())
                return connect(*args, **options)  # type: ignore[arg-type]

            patch.setattr(socket, "create_connection", counted)
            wait_for(lambda: len(refused) >= 3)
        pauses = [later - sooner for sooner, later in itertools.pairwise(refused)]
        assert pauses[0] >= FIRST_PAUSE
        assert pauses[1] >= 2 * FIRST_PAUSE
        with function.listening():
            wait_for(lambda: sorted(function.seen) == [1, 2])
            stack.stop()
    assert [call.redelivered for call in function.calls] == [False] * len(function.calls)  # it was kept all the time
    assert left(broker) == []


def test_it_backs_off_while_the_functions_database_is_down(broker: Broker, function: HttpFunction) -> None:
    function.answer = lambda _: 503 if len(function.calls) < 4 else 200
    publish(broker, 1)
    with running(broker, function) as stack:
        wait_for(lambda: len(function.calls) == 4)
        stack.stop()
    times = [call.at for call in function.calls]
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    for number, pause in enumerate(pauses):
        assert pause >= FIRST_PAUSE * 2**number
    assert not any(call.redelivered for call in function.calls)
    assert left(broker) == []


def test_a_message_with_many_deliveries_is_delivered_alone(broker: Broker, function: HttpFunction) -> None:
    poison = 3
    accepted: list[int] = []

    def answer(numbers: Sequence[int]) -> int:
        if poison in numbers and len(accepted) < 4:
            return 500
        accepted.extend(numbers)
        return 200

    function.answer = answer
    publish(broker, 1, 2, poison, 4, 5)
    with running(broker, function, concurrency=1) as stack:
        wait_for(lambda: len(accepted) == 5)
        stack.stop()
    together = [call for call in function.calls if poison in call.numbers and len(call.numbers) > 1]
    assert len(together) < ISOLATE_FROM
    assert accepted[-1] == poison
    assert sorted(accepted) == [1, 2, 3, 4, 5]
    assert left(broker) == []


def test_stopping_waits_for_the_batch_under_way_and_acknowledges_it(broker: Broker, function: HttpFunction) -> None:
    function.open.clear()
    publish(broker, 1)
    with running(broker, function) as stack:
        wait_for(lambda: function.at_once == 1)
        stack.trigger.stop()
        stack.thread.join(0.5)
        assert stack.thread.is_alive()
        function.open.set()
        stack.thread.join(ENDS_WITHIN)
        assert not stack.thread.is_alive()
    assert len(function.calls) == 1
    assert left(broker) == []


def test_a_pause_finishes_batches_under_way_and_leaves_the_rest_queued(broker: Broker, function: HttpFunction) -> None:
    paused = threading.Event()
    function.open.clear()
    publish(broker, *range(3))
    with running(broker, function, batch=3, concurrency=1, paused=paused.is_set) as stack:
        wait_for(lambda: function.at_once == 1)
        publish(broker, *range(3, 10))
        paused.set()
        function.open.set()
        # Also what the consumer held. The first batch has as many as had arrived: 1 to 3.
        wait_for(lambda: broker.depth(QUEUES[1]) + len(function.seen), lambda known: known == 10)
        assert set(function.seen) <= {0, 1, 2}
        paused.clear()
        wait_for(lambda: len(function.seen) == 10)
        stack.stop()
    assert left(broker) == []


def test_a_pause_is_polled_and_outlasts_a_database_outage(
    database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(pauses_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    store = SqlStore(Database(database))
    pauses = Pauses(store, "email")
    assert not pauses()
    store.pause("email")
    now[0] += LOOK_EVERY * 0.9
    assert not pauses()  # asked a moment ago
    now[0] += LOOK_EVERY * 0.2
    assert pauses()
    store.close()
    pauses.store = SqlStore(Database(DatabaseSettings(database_url="mysql+pymysql://127.0.0.1:1/none")))
    now[0] += LOOK_EVERY * 1.1
    assert pauses()
    pauses.store.close()


def test_stopping_requeues_messages_for_a_function_that_is_not_running(broker: Broker, absent: HttpFunction) -> None:
    publish(broker, 1)
    with running(broker, absent) as stack:
        stack.stop()  # which fails long before the trigger's patience ends
    assert wait_for(lambda: left(broker)) == [message(1).message_id]


def test_concurrent_batches_stay_within_the_limit(broker: Broker, function: HttpFunction) -> None:
    function.open.clear()
    publish(broker, *range(60))
    with running(broker, function, batch=5, concurrency=2) as stack:
        wait_for(lambda: function.at_once == 2)
        if isinstance(broker, EmbeddedBroker):
            assert broker.depth(QUEUES[1]) == 50  # the rest stays where another trigger can take it
        function.open.set()
        wait_for(lambda: len(function.seen) == 60)
        stack.stop()
    assert function.most_at_once == 2
    assert max(len(call.numbers) for call in function.calls) <= 5
    assert left(broker) == []


def test_high_priority_does_not_wait_for_normal_batches(broker: Broker, function: HttpFunction) -> None:
    """All slots of normal batches are taken by batches that do not end."""
    function.open.clear()
    publish(broker, *range(20))
    with running(broker, function, batch=5, concurrency=2) as stack:
        wait_for(lambda: function.at_once == 2)
        publish(broker, 100, priority=Priority.HIGH)
        wait_for(lambda: function.at_once == 3)
        publish(broker, 101, priority=Priority.HIGH)  # the one place beyond the agreed is taken
        function.open.set()
        wait_for(lambda: len(function.seen) == 22)
        stack.stop()
    assert function.most_at_once == 3
    assert function.calls[2].numbers == [100]


# --- RabbitMQ's own ways to fail --------------------------------------------------------------------------------------


class Wire:
    """A TCP proxy to the broker, whose connections a test can cut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5672)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        credentials = parts.netloc.rpartition("@")[0]
        port = self._listener.getsockname()[1]
        self.url = parts._replace(netloc=f"{credentials}@127.0.0.1:{port}").geturl()
        self._threads[0].start()

    def cut(self) -> None:
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        for connection in (self._listener, *self._open):
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._forward, args=[source, sink]))
                self._threads[-1].start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while read := source.recv(65536):
                sink.sendall(read)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(rabbitmq_url: str) -> Iterator[Wire]:
    wire = Wire(rabbitmq_url)
    yield wire
    wire.close()


def test_it_consumes_again_after_its_connection_was_lost(wire: Wire, function: HttpFunction) -> None:
    broker = RabbitBroker(BrokerSettings(broker_url=wire.url))
    broker.declare()
    try:
        function.open.clear()
        with running(broker, function) as stack:
            publish(broker, 1)
            wait_for(lambda: function.at_once == 1)
            wire.cut()  # with a batch under way: it comes again, and its late answer disturbs nobody
            wait_for(lambda: len(function.calls) == 2)
            function.open.set()
            wait_for(lambda: function.at_once == 0)
            _published_again(broker, 2)
            wait_for(lambda: 2 in function.seen)
            stack.stop()
        assert left(broker) == []
    finally:
        broker.close()


def test_it_declares_and_consumes_again_after_its_queue_was_deleted(rabbitmq_url: str, function: HttpFunction) -> None:
    broker = RabbitBroker(BrokerSettings(broker_url=rabbitmq_url))
    broker.declare()
    try:
        with running(broker, function) as stack:
            publish(broker, 1)
            wait_for(lambda: function.seen == [1])
            with contextlib.closing(pika.BlockingConnection(pika.URLParameters(rabbitmq_url))) as connection:
                for queue in QUEUES:
                    connection.channel().queue_delete(queue)
            wait_for(lambda: [consumers(rabbitmq_url, queue) for queue in QUEUES] == [1, 1])
            publish(broker, 2)
            publish(broker, 3, priority=Priority.HIGH)
            wait_for(lambda: {2, 3} <= set(function.seen))
            stack.stop()
        assert left(broker) == []
    finally:
        broker.close()


def consumers(url: str, queue: str) -> int | None:
    """How many consume from it; None: there is no such queue."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        try:
            return int(connection.channel().queue_declare(queue, passive=True).method.consumer_count)
        except pika.exceptions.ChannelClosedByBroker:
            return None


def _published_again(broker: Broker, number: int) -> None:
    """The publisher's own connection was cut, too: it notices, and opens another."""

    def published() -> bool:
        with contextlib.suppress(Exception):
            publish(broker, number)
            return True
        return False

    wait_for(published)


def test_a_trigger_that_fails_ends_the_process_and_logs_where_without_the_message(tmp_path: Path) -> None:
    """Also where another channel's still runs, and where a container makes it the first process."""
    program = (
        "import sys; from tidings.runtime.trigger import __main__ as main, trigger\n"
        "def run(self):\n"
        "    if self.channel == 'sms': raise ValueError('ada@example.com')\n"
        "    self._stopping.wait()\n"
        "trigger.Trigger.run = run\n"
        "sys.argv = ['trigger', 'email=http://127.0.0.1:9', 'sms=http://127.0.0.1:9']\n"
        "sys.exit(main.main())\n"
    )
    settings = {
        "TIDINGS_TRIGGER_TOKEN": TOKEN.ljust(16, "."),
        "TIDINGS_DATABASE_URL": f"sqlite:///{tmp_path / 'tidings.db'}",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=MIGRATIONS.parents[1],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN,
        check=False,
    )
    assert done.returncode == 1
    assert "tidings: trigger: ValueError at <string>:3" in done.stderr
    assert "ada@example.com" not in done.stderr + done.stdout

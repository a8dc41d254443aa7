"""The measured world: a private RabbitMQ and MariaDB, every part of Tidings as a process, and two helpers that are not
counted: the load generator, and the sink, which is mail server, Twilio and FCM in one."""

import contextlib
import os
import platform
import resource
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pika
from tidings.adapters.rabbitmq.broker import BrokerSettings, RabbitBroker
from tidings.domain.channels import CHANNELS
from tidings.domain.notification import Priority
from tidings.messaging import topology

from local.services.database import connection
from local.services.mariadb import MariaDB
from local.services.rabbitmq import RabbitMQ
from local.stack.ports import Ports
from local.stack.processes import Processes, ProcessSpec
from local.stack.stack import Options, Stack, running
from tests.load.generator import Generator
from tests.load.sink import Sink
from tests.load.usage import Cpu, cpu_seconds
from tests.scenarios.caller import Caller
from tests.wait import eventually

BUFFER_POOL, LOG_FILE = "1G", "512M"  # as a server for this load has them
FEEDERS = ("schedule", "trigger")  # in the order in which they are stopped


@dataclass(frozen=True, kw_only=True)
class World:
    stack: Stack
    rabbitmq: RabbitMQ
    mariadb: MariaDB
    sink: Sink
    generator: Generator

    @property
    def caller(self) -> Caller:
        return Caller(url=self.stack.url, ops_url=self.stack.ops_url, key=self.stack.secrets.api_key)

    @property
    def machine(self) -> str:
        with open("/proc/meminfo", encoding="ascii") as file:
            gigabytes = round(int(file.readline().split()[1]) / 1024**2)
        return (
            f"{os.cpu_count()} cores, {gigabytes} GB, {platform.system()} {platform.machine()}, "
            f"Python {platform.python_version()}, {self.rabbitmq.version}, {self.mariadb.version}"
        )

    # --- looking ------------------------------------------------------------------------------------------------------

    def query(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with connection(self.mariadb.url) as connected, connected.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def rows(self, condition: str = "1 = 1") -> int:
        return int(self.query(f"SELECT COUNT(*) FROM notifications WHERE {condition}")[0][0])

    def cpu(self) -> Cpu:
        """Of everything but the emulated providers, of which only FCM's access tokens are used."""
        running = self.stack.processes.running
        pids = {name: process.pid for name, process in running.items() if name != "providers"}
        pids |= {"MariaDB": self.mariadb.pid, "RabbitMQ": self.rabbitmq.pid}
        return Cpu({name: cpu_seconds(pid) for name, pid in pids.items()})

    # --- setting up ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """For the block, queues are not consumed and not swept. It begins without rows and messages."""
        processes = self.stack.processes
        parts = {name: processes.specs[name] for name in FEEDERS}
        for name in parts:
            processes.remove(name)
        try:
            self._clear()
            yield
        finally:
            for name, part in parts.items():
                processes.add(name, part)
            eventually("a trigger that consumes", self._consumed, within=60)

    def cleared(self) -> None:
        """Start everything, and clear earlier rows and messages."""
        with self.paused():
            pass

    def _clear(self) -> None:
        with self.broker() as broker:
            broker.declare()  # a trigger that was stopped at once has not done it
        with self._channel() as channel:
            for queue in topology.queues():
                channel.queue_purge(queue.name)
        for table in ("notifications", "events", "suppressions", "receipts", "awaited_receipts"):
            self.query(f"TRUNCATE {table}")
        self.sink.delay(0)
        self.sink.take()

    def _consumed(self) -> bool:
        """Whether every channel's queue has a consumer."""
        with self._channel() as channel:
            names = [topology.work_queue(name, Priority.NORMAL) for name in CHANNELS]
            return all(channel.queue_declare(name, passive=True).method.consumer_count for name in names)

    @contextlib.contextmanager
    def _channel(self) -> Iterator[Any]:
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(self.rabbitmq.url))) as connected:
            yield connected.channel()

    @contextlib.contextmanager
    def senders(self, count: int, **environment: str) -> Iterator[None]:
        """Run this many email functions with these settings, each with its own trigger, instead of the existing one.
        Use it while all is paused."""
        processes = self.stack.processes
        first = processes.specs["email"]
        processes.remove("email")
        # The same running processes; what is started by this one has more settings.
        with_settings = replace(processes, environment={**processes.environment, **environment})
        added: list[str] = []
        try:
            for number in range(1, count + 1):
                added += _add_sender(with_settings, number)
            yield
        finally:
            for name in reversed(added):
                processes.remove(name)
            processes.add("email", first)

    @contextlib.contextmanager
    def broker(self) -> Iterator[RabbitBroker]:
        """Tidings' own publisher, in this process."""
        broker = RabbitBroker(BrokerSettings(broker_url=self.rabbitmq.url, broker_timeout=60))
        try:
            yield broker
        finally:
            broker.close()


def _add_sender(processes: Processes, number: int) -> tuple[str, str]:
    """The names of the two."""
    port = Ports.plan(0, ["email"]).channels["email"]
    url, function, trigger = f"http://127.0.0.1:{port}", f"email-{number}", f"trigger-{number}"
    processes.add(
        function, ProcessSpec(command=["tidings.runtime.server", "email", "--port", str(port)], health=f"{url}/healthz")
    )
    processes.add(trigger, ProcessSpec(command=["tidings.runtime.trigger", f"email={url}"]))
    return function, trigger


@contextlib.contextmanager
def world() -> Iterator[World]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the processes that are started here inherit it
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="tidings-"))  # short: a socket's path has a limit
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sink = stack.enter_context(Sink())
        rabbitmq = stack.enter_context(RabbitMQ(folder / "rabbitmq"))
        mariadb = stack.enter_context(MariaDB(folder / "mariadb", buffer_pool=BUFFER_POOL, log_file=LOG_FILE))
        options = Options(
            state=folder / "stack",
            first_port=0,
            use_services=True,
            database_url=mariadb.url,
            broker_url=rabbitmq.url,
            environment={
                "TIDINGS_SMTP_URL": f"smtp://127.0.0.1:{sink.port}",
                "TIDINGS_TWILIO_URL": f"http://127.0.0.1:{sink.http_port}",
                "TIDINGS_FCM_URL": f"http://127.0.0.1:{sink.http_port}",
            },
        )
        ran = stack.enter_context(running(options))
        generator = stack.enter_context(Generator(port=ran.ports.intake, key=ran.secrets.api_key))
        yield World(stack=ran, rabbitmq=rabbitmq, mariadb=mariadb, sink=sink, generator=generator)

"""The world for faults: a private RabbitMQ and MariaDB, and every part of Tidings as a process."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pika
import pymysql
from tidings.config import failpoints

from local.emulators.client import Emulator
from local.services.database import connection
from local.services.mariadb import MariaDB
from local.services.process import ServiceError
from local.services.rabbitmq import RabbitMQ
from local.stack.stack import Options, Stack, running
from tests import forks
from tests.faults import proxy
from tests.faults.addresses import Addresses
from tests.faults.cluster import Cluster
from tests.faults.proxy import Proxy
from tests.faults.receiver import Receiver, receiving
from tests.faults.steps import steps
from tests.faults.wire import Commits, Confirms, FinalDots, Requests
from tests.faults.wrong_clock import SettableClock
from tests.scenarios.caller import Caller

LEASE = 5.0  # seconds
PROVIDER_TIMEOUT = 4.0  # two for FCM. 48 concurrent calls of three channels take a second each on two busy cores
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Resources of all processes of a part."""

    megabytes: int
    threads: int
    files: int


@dataclass(frozen=True, kw_only=True)
class Network:
    """Proxies between the processes of Tidings and their servers. The test itself connects directly."""

    rabbitmq: Proxy
    mariadb: Proxy
    smtp: Proxy
    http: Proxy  # to Twilio and FCM


@dataclass(kw_only=True)
class Servers:
    """The servers of a world, and the checks of them; a failover replaces these."""

    rabbitmq: RabbitMQ
    mariadb: MariaDB
    replica: MariaDB | None = None  # of `mariadb`
    cluster: Cluster | None = None  # of which `rabbitmq` is a node
    clock: SettableClock | None = None  # that `mariadb` uses


@dataclass(frozen=True, kw_only=True)
class World:
    stack: Stack
    network: Network
    servers: Servers
    flags: Path
    receiver: Receiver  # of all webhooks
    addresses: Addresses = field(default_factory=Addresses)

    @property
    def rabbitmq(self) -> RabbitMQ:
        return self.servers.rabbitmq

    @property
    def mariadb(self) -> MariaDB:
        return self.servers.mariadb

    @property
    def database_url(self) -> str:
        return self.mariadb.url

    @property
    def emulator(self) -> Emulator:
        return Emulator(url=self.stack.inbox_url)

    @property
    def caller(self) -> Caller:
        return Caller(url=self.stack.url, ops_url=self.stack.ops_url, key=self.stack.secrets.api_key)

    def query(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with connection(self.database_url) as connected, connected.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(self.rabbitmq.url))) as connected:
            yield connected.channel()

    def waiting_in(self, *queues: str) -> int:
        """Messages, over one connection: RabbitMQ takes more for a new one than for all of these."""
        with self.channel() as channel:
            return sum(int(channel.queue_declare(queue, passive=True).method.message_count) for queue in queues)

    # --- what hurts ---------------------------------------------------------------------------------------------------

    def arm(self, name: str) -> None:
        """Make the next process that reaches this step die there."""
        (self.flags / name).touch()

    def struck(self, name: str) -> bool:
        return not (self.flags / name).exists()

    def tell(self, name: str, number: signal.Signals) -> None:
        self.stack.processes.running[name].signal(number)

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """Stop this part (SIGSTOP) for the block."""
        self.tell(name, signal.SIGSTOP)
        try:
            yield
        finally:
            self.tell(name, signal.SIGCONT)

    def workers(self, name: str) -> list[int]:
        """The processes that gunicorn forked for this function."""
        return _children(self.stack.processes.running[name].pid)

    def usage(self) -> Mapping[str, Usage]:
        return {name: _usage(process.pid) for name, process in self.stack.processes.running.items()}


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Servers]:
    """One of each."""
    with RabbitMQ(folder / "rabbitmq") as rabbitmq, MariaDB(folder / "mariadb") as mariadb:
        yield Servers(rabbitmq=rabbitmq, mariadb=mariadb)


@contextlib.contextmanager
def world(
    *,
    lease: float = LEASE,
    provider_timeout: float = PROVIDER_TIMEOUT,
    servers: Callable[[Path], AbstractContextManager[Servers]] = alone,
    receipts: bool = False,
) -> Iterator[World]:
    """Seconds. Shorter ones end a fault sooner, but make slow calls on a busy machine ambiguous."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="tidings-"))  # short: a socket's path has a limit
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        flags = folder / "flags"
        flags.mkdir()
        started = stack.enter_context(servers(folder))
        network = stack.enter_context(_network(started))
        receiver = stack.enter_context(receiving())
        options = Options(
            state=folder / "stack",
            first_port=0,
            use_services=True,
            receipts=receipts,
            database_url=network.mariadb.through(started.mariadb.url),
            broker_url=network.rabbitmq.through(started.rabbitmq.url),
            start=forks.start,
            environment={
                **_environment(network, flags, lease, provider_timeout),
                "TIDINGS_WEBHOOKS_VIA": receiver.url,
                "TIDINGS_WEBHOOKS_TIMEOUT": str(provider_timeout),
            },
        )
        ran = stack.enter_context(running(options))
        network.smtp.server, network.http.server = ran.ports.smtp, ran.ports.inbox
        yield World(stack=ran, network=network, servers=started, flags=flags, receiver=receiver)


@contextlib.contextmanager
def _network(servers: Servers) -> Iterator[Network]:
    """The providers' ports are set later: they are chosen with the stack, which calls no provider while it starts."""
    with contextlib.ExitStack() as stack:
        loop = stack.enter_context(proxy.loop())
        yield Network(
            rabbitmq=stack.enter_context(proxy.proxy(loop, Confirms, servers.rabbitmq.port)),
            mariadb=stack.enter_context(proxy.proxy(loop, Commits, servers.mariadb.port)),
            smtp=stack.enter_context(proxy.proxy(loop, FinalDots)),
            http=stack.enter_context(proxy.proxy(loop, Requests)),
        )


def _environment(network: Network, flags: Path, lease: float, provider_timeout: float) -> dict[str, str]:
    return {
        "TIDINGS_LEASE": str(lease),
        "TIDINGS_SMTP_TIMEOUT": str(provider_timeout),
        "TIDINGS_TWILIO_TIMEOUT": str(provider_timeout),
        "TIDINGS_FCM_TIMEOUT": str(provider_timeout),
        "TIDINGS_SMTP_URL": f"smtp://127.0.0.1:{network.smtp.port}",
        "TIDINGS_TWILIO_URL": f"http://127.0.0.1:{network.http.port}",
        "TIDINGS_FCM_URL": f"http://127.0.0.1:{network.http.port}",
        failpoints.VARIABLE: " ".join(f"{name}@{flags / name}" for name in steps()),
    }


TRANSIENT = (
    OSError,
    pymysql.err.Error,
    pika.exceptions.AMQPError,
    ServiceError,
    subprocess.TimeoutExpired,
    AssertionError,
)
"""Errors that a poll may get while a server restarts."""


def wait(what: str, look: Callable[[], T], right: Callable[[T], bool] = bool, *, within: float = 60.0) -> T:
    """Poll `look` until `right` accepts its value; errors are retried. Fail with the description of the wait."""
    deadline = time.monotonic() + within
    while True:
        seen: object
        try:
            seen = look()
            if right(seen):
                return seen
        except TRANSIENT as error:
            seen = f"{type(error).__name__}: {error}"
        assert time.monotonic() < deadline, f"{what}: not within {within:g} s; last seen: {seen!r}"
        time.sleep(0.1)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _usage(pid: int) -> Usage:
    kilobytes = threads = files = 0
    for one in (pid, *_children(pid)):
        for line in Path(f"/proc/{one}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            kilobytes += int(value.split()[0]) if name == "VmRSS" else 0
            threads += int(value) if name == "Threads" else 0
        files += len(os.listdir(f"/proc/{one}/fd"))
    return Usage(megabytes=kilobytes // 1024, threads=threads, files=files)

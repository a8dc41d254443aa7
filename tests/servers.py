"""One MariaDB and one RabbitMQ for a whole run, shared by all of its workers.

The controller owns them: it starts each when a worker first asks for it, and stops both when the run ends. Workers ask
by a Unix socket. In a run without workers, the one process is its own controller.
"""

import contextlib
import json
import os
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol

from local.emulators.certificate import self_signed
from local.services import docker, packages
from local.services.access import free_port
from local.services.mariadb import MariaDB
from local.services.process import ServiceError
from local.services.rabbitmq import RabbitMQ

DATABASE = "TIDINGS_TEST_DATABASE_URL"
BROKER = "TIDINGS_TEST_BROKER_URL"
MANAGEMENT = "TIDINGS_TEST_MANAGEMENT_URL"
NOT_KEPT = ("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-doublewrite=OFF")
"""No test crashes the run's server: it need not wait for the disk."""
STARTED_WITHIN = 600.0  # seconds: packages may have to be installed, or images pulled


class Servers(Protocol):
    """The URLs of the run's servers. Each is started at its first use."""

    def database(self) -> list[str]:
        """[URL], of a user who may create databases."""

    def broker(self) -> list[str]:
        """[URL, URL of the management API], of an administrator; without the second where none was given."""

    def broker_with_tls(self) -> list[str]:
        """[URL without TLS, port for TLS, file of its certificate] of a RabbitMQ: the run's own, even if another was
        given."""


class OwnServers:
    """The servers of this run, started and stopped by this process. Thread-safe."""

    def __init__(self) -> None:
        self._ends = contextlib.ExitStack()
        self._starting = {"database": threading.Lock(), "broker": threading.Lock()}
        self._installing = threading.Lock()  # apt takes one at a time
        self._composing = threading.Lock()

    def database(self) -> list[str]:
        with self._starting["database"]:
            return self._database

    def broker(self) -> list[str]:
        with self._starting["broker"]:
            return self._broker

    def broker_with_tls(self) -> list[str]:
        with self._starting["broker"]:
            server, port, certificate = self._rabbitmq
            return [server.url, str(port), str(certificate)]

    def end(self) -> None:
        self._ends.close()

    @cached_property
    def folder(self) -> Path:
        """Not pytest's own, which lies too deep for a socket's path, and is kept."""
        folder = Path(tempfile.mkdtemp(prefix="tidings-"))
        self._ends.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    @cached_property
    def _database(self) -> list[str]:
        if url := os.environ.get(DATABASE):
            return [url]
        if not self._installed("mariadb-server"):
            return [self._composed("mysql").database_admin_url]
        server = MariaDB(self.folder / "mariadb", options=NOT_KEPT)
        self._ends.callback(server.kill)  # its data are deleted too, so it need not stop gracefully
        return [server.start().url]

    @cached_property
    def _broker(self) -> list[str]:
        if url := os.environ.get(BROKER):
            given = os.environ.get(MANAGEMENT)
            return [url] if given is None else [url, given]
        if not self._installed("rabbitmq-server"):
            compose = self._composed("rabbitmq")
            return [compose.broker_url, compose.management_url]
        server, _, _ = self._rabbitmq
        return [server.url, server.management_url]

    @cached_property
    def _rabbitmq(self) -> tuple[RabbitMQ, int, Path]:
        """Also its port for TLS, and the certificate, which is its own authority."""
        certificate, key = self_signed(self.folder)
        port = free_port()
        tls = [f"listeners.ssl.1 = 127.0.0.1:{port}"]
        tls += [f"ssl_options.certfile = {certificate}", f"ssl_options.keyfile = {key}"]
        server = RabbitMQ(self.folder / "rabbitmq", configuration=tls)
        self._ends.callback(server.kill)
        server.start()
        return server, port, certificate

    def _installed(self, package: str) -> bool:
        with self._installing:
            return installed(package)

    def _composed(self, service: str) -> docker.Compose:
        with self._composing:
            compose = docker.Compose(self.folder / f"docker-{service}")
            compose.start([service])
            self._ends.callback(compose.stop)
            return compose


def installed(package: str) -> bool:
    """Install the package with apt if we may. False if that fails and a Docker engine answers."""
    if package not in packages.missing():
        return True
    try:
        packages.install([package])
    except ServiceError:
        if docker.engine_answers():
            return False
        raise
    return True


class _Listener(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False  # a worker that was killed must not keep the run from ending


class ServersOverSocket:
    """Answers the workers. Request: one line, a server's name; answer: one line of JSON, its URL or an error."""

    def __init__(self, servers: OwnServers) -> None:
        self.path = str(servers.folder / "servers.sock")
        asked: dict[str, Callable[[], list[str]]] = {
            "database": servers.database,
            "broker": servers.broker,
            "broker_with_tls": servers.broker_with_tls,
        }

        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                name = self.rfile.readline().decode().strip()
                try:
                    told = {"urls": asked[name]()}
                except ServiceError as error:
                    told = {"error": [str(error)]}
                self.wfile.write(json.dumps(told).encode() + b"\n")

        self._listener = _Listener(self.path, Answer)
        threading.Thread(target=self._listener.serve_forever, name="servers", daemon=True).start()

    def end(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()


class SharedServers:
    """The servers of this worker's run."""

    def __init__(self, path: str) -> None:
        self._path = path

    def database(self) -> list[str]:
        return self._ask("database")

    def broker(self) -> list[str]:
        return self._ask("broker")

    def broker_with_tls(self) -> list[str]:
        return self._ask("broker_with_tls")

    def _ask(self, name: str) -> list[str]:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(STARTED_WITHIN)
            asking.connect(self._path)
            asking.sendall(f"{name}\n".encode())
            with asking.makefile("rb") as answer:
                told: dict[str, list[str]] = json.loads(answer.readline())
        if "error" in told:
            raise ServiceError(told["error"][0])
        return told["urls"]

"""Virtual hosts on a RabbitMQ server: ours, by its management API, or a given one."""

import base64
import contextlib
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from local.services.process import ServiceError


class BrokerServer(Protocol):
    """What a test needs of a server, whoever runs it."""

    @property
    def url(self) -> str: ...

    def create_vhost(self, name: str) -> str:
        """Make an empty virtual host and give its URL."""

    def delete_vhost(self, name: str) -> None: ...


@dataclass(frozen=True)
class GivenBroker:
    """A server that somebody else runs. Its virtual host is used as it is: AMQP itself cannot make another."""

    url: str

    def create_vhost(self, name: str) -> str:
        return self.url

    def delete_vhost(self, name: str) -> None:
        pass


@dataclass(frozen=True)
class ManagedBroker:
    """A server whose management API we may use."""

    url: str
    management_url: str

    def create_vhost(self, name: str) -> str:
        Management(self.management_url).create_vhost(name)
        return f"{self.url}{name}"

    def delete_vhost(self, name: str) -> None:
        Management(self.management_url).delete_vhost(name)


@dataclass(frozen=True)
class Management:
    """RabbitMQ's HTTP API: 10 to 50 ms a call, where rabbitmqctl starts an Erlang machine for a second each time."""

    url: str
    """http://USER:PASSWORD@HOST:PORT"""

    def create_vhost(self, name: str) -> None:
        self._call("PUT", f"vhosts/{quote(name, safe='')}")  # whoever makes it gets all rights in it

    def delete_vhost(self, name: str) -> None:
        self._call("DELETE", f"vhosts/{quote(name, safe='')}")

    def listens(self, port: int) -> bool:
        """Whether the node takes connections at this port. False while it starts."""
        with contextlib.suppress(ServiceError):
            return bool(self._call("GET", f"health/checks/port-listener/{port}")["status"] == "ok")
        return False

    def _call(self, method: str, path: str) -> Any:
        parts = urlsplit(self.url)
        credentials = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        request = urllib.request.Request(
            f"http://{parts.hostname}:{parts.port}/api/{path}",
            method=method,
            headers={"Authorization": f"Basic {credentials}"},
            data=b"" if method == "PUT" else None,
        )
        # Never by a proxy: this is our own machine, whatever the environment says about the way out.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=30) as answer:
                body = answer.read()
        except (OSError, urllib.error.URLError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise ServiceError(f"RabbitMQ's management API: {method} {path}: {error}") from None
        return json.loads(body) if body else None

"""Create virtual hosts on a RabbitMQ server, ours or a given one, with its management API; AMQP cannot."""

import base64
import contextlib
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from local.services.process import ServiceError


class BrokerServer(Protocol):
    """A server for tests, ours or a given one."""

    @property
    def url(self) -> str: ...

    def create_vhost(self, name: str) -> str:
        """Create an empty virtual host and return its URL."""

    def delete_vhost(self, name: str) -> None: ...


@dataclass(frozen=True)
class ManagedBroker:
    """A given server. The user in the URLs needs the tag administrator."""

    url: str
    management_url: str

    @classmethod
    def given(cls, url: str, management_url: str | None = None) -> "ManagedBroker":
        """The default management URL has the usual port and the broker's user."""
        broker = urlsplit(url)
        user, _, host = broker.netloc.rpartition("@")
        named = urlsplit(management_url or f"http://{host.rpartition(':')[0] or host}:15672")
        if named.username is None:
            named = named._replace(netloc=f"{user}@{named.netloc}")
        return cls(url, named.geturl())

    def create_vhost(self, name: str) -> str:
        Management(self.management_url).create_vhost(name)
        return urlsplit(self.url)._replace(path=f"/{quote(name, safe='')}").geturl()

    def delete_vhost(self, name: str) -> None:
        Management(self.management_url).delete_vhost(name)


@dataclass(frozen=True)
class Management:
    """RabbitMQ's HTTP API. A call takes 10 to 50 ms; rabbitmqctl takes a second, because it starts an Erlang VM."""

    url: str
    """http(s)://USER:PASSWORD@HOST:PORT"""

    def create_vhost(self, name: str) -> None:
        self._call("PUT", f"vhosts/{quote(name, safe='')}")  # its creator gets all permissions

    def delete_vhost(self, name: str) -> None:
        self._call("DELETE", f"vhosts/{quote(name, safe='')}")

    def listens(self, port: int) -> bool:
        """Whether the node accepts connections at this port. False while it starts."""
        with contextlib.suppress(ServiceError):
            return bool(self._call("GET", f"health/checks/port-listener/{port}")["status"] == "ok")
        return False

    def _call(self, method: str, path: str) -> Any:
        parts = urlsplit(self.url)
        user, _, host = parts.netloc.rpartition("@")
        credentials = base64.b64encode(unquote(user).encode()).decode()
        request = urllib.request.Request(
            f"{parts.scheme}://{host}/api/{path}",
            method=method,
            headers={"Authorization": f"Basic {credentials}"},
            data=b"" if method == "PUT" else None,
        )
        # Not through a proxy of the environment: the server is on this machine.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=30) as answer:
                body = answer.read()
        except (OSError, urllib.error.URLError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise ServiceError(f"RabbitMQ's management API: {method} {path}: {error}") from None
        return json.loads(body) if body else None

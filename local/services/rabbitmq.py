"""A private RabbitMQ with its own epmd, cookie, ports, plugins and configuration."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Self

from local.services.access import USER, accepts
from local.services.broker import Management
from local.services.packages import rabbitmq_program
from local.services.process import ServiceError
from local.services.service import Service

NODE = "tidings"


class RabbitMQ(Service):
    name: ClassVar[str] = "RabbitMQ"
    port_names = ("main", "management", "distribution", "epmd")
    start_within = timedelta(seconds=120)  # 5 s on an idle machine

    def __init__(
        self,
        state: Path,
        port: int | None = None,
        *,
        node: str = NODE,
        epmd: int | None = None,
        configuration: Sequence[str] = (),
        beside: Self | None = None,
    ) -> None:
        """`node`: its name, left of the @. `epmd`: the port of an epmd that already runs. `configuration`: more lines
        of rabbitmq.conf. `beside`: a node whose cluster this one may join: they share a cookie and a password."""
        super().__init__(state, port, beside=beside)
        self.node = f"{node}@localhost"
        self.configuration = tuple(configuration)
        if epmd is not None:
            self._fixed["epmd"] = epmd

    def kill(self) -> None:
        """SIGKILL. `kill` and `start` take half as long as `restart`.

        RabbitMQ 3.10 stores its list of quorum queues every 0.5 s: a queue declared after that is lost, and declaring
        it again or reading from it fails after a minute.
        """
        super().kill()

    @property
    def url(self) -> str:
        """Of the virtual host `/`, for an administrator."""
        return f"amqp://{USER}:{self._reached_by.password}@127.0.0.1:{self.port}/"

    @property
    def management_url(self) -> str:
        """Of the HTTP API and the management pages: http://USER:PASSWORD@127.0.0.1:PORT"""
        return f"http://{USER}:{self._reached_by.password}@127.0.0.1:{self._reached_by.ports['management']}"

    @property
    def version(self) -> str:
        """Such as "RabbitMQ 3.10.8". Does not start it."""
        return program_version()

    def create_vhost(self, name: str) -> str:
        """Create an empty virtual host and return its URL."""
        Management(self.management_url).create_vhost(name)
        return f"{self.url}{name}"

    def delete_vhost(self, name: str) -> None:
        Management(self.management_url).delete_vhost(name)

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` for this node and return its output. Takes a second. Raise ServiceError if it fails."""
        done = subprocess.run(
            [str(Path(rabbitmq_program()).with_name("rabbitmqctl")), "--quiet", *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise ServiceError(f"rabbitmqctl {arguments[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout

    def _prepare(self) -> None:
        for folder in ("home", "mnesia"):
            (self.state / folder).mkdir(mode=0o700, exist_ok=True)
        ports = self._reached_by.ports
        configuration = f"""
            listeners.tcp.1 = 127.0.0.1:{ports["main"]}
            management.tcp.ip = 127.0.0.1
            management.tcp.port = {ports["management"]}
            default_user = {USER}
            default_pass = {self._reached_by.password}
            vm_memory_high_watermark.absolute = 1GB
            disk_free_limit.absolute = 50MB
            log.file = false
            log.console = true
            log.console.level = warning
        """
        path = self.state / "rabbitmq.conf"
        path.touch(mode=0o600)
        lines = [*(line.strip() for line in configuration.strip().splitlines()), *self.configuration]
        path.write_text("\n".join(lines) + "\n")
        (self.state / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (self.state / "rabbitmq-env.conf").touch()
        if self._beside is not None and not self._cookie.exists():
            shutil.copy(
                self._beside._cookie, self._cookie
            )  # with its permissions: Erlang demands that only the owner can read it

    @property
    def _cookie(self) -> Path:
        return self.state / "home" / ".erlang.cookie"

    @property
    def distribution(self) -> int:
        """The port for other nodes."""
        return self._reached_by.ports["distribution"]

    def _command(self) -> list[str]:
        return [rabbitmq_program()]

    def _environment(self) -> dict[str, str]:
        ports = self._reached_by.ports
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ", "ERL_", "NOTIFY_SOCKET"))
        }
        return inherited | {
            "HOME": str(self.state / "home"),  # the folder of the Erlang cookie
            "LC_ALL": "C.UTF-8",
            # The data folder is named after the node, so its name must not change. Each node has its own epmd.
            "RABBITMQ_NODENAME": self.node,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(ports["epmd"]),
            "RABBITMQ_DIST_PORT": str(ports["distribution"]),
            "RABBITMQ_MNESIA_BASE": str(self.state / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.state / "log"),
            "RABBITMQ_PID_FILE": str(self.state / "rabbitmq.pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.state / "enabled_plugins"),
            # Each names our own file, even a missing one, so that none of the system's is read.
            "RABBITMQ_CONFIG_FILE": str(self.state / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.state / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.state / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.state / "rabbitmq-env.conf"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
            # The script then execs the server instead of waiting for it, so that signals reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _is_ready(self) -> bool:
        port = self._reached_by.ports["main"]
        return accepts(port) and Management(self.management_url).listens(port)


def program_version() -> str:
    """From the folder's name, which includes the version in every package."""
    found = re.search(r"rabbitmq_server-(\d+(?:\.\d+)+)", os.path.realpath(rabbitmq_program()))
    return f"RabbitMQ {found[1]}" if found else "RabbitMQ"

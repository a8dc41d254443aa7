"""Every part of Tidings as a process of its own, on this machine."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from tidings.topology import CHANNELS

from local.services.process import Guarded, ServiceError, locked, tail
from local.services.provision import services
from local.stack.ports import Ports
from local.stack.state import Secrets, State

ROOT = Path(__file__).parents[2]
START_WITHIN = timedelta(seconds=60)
STOP_WITHIN = timedelta(seconds=40)  # longer than a function's drain


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to start."""

    state: Path
    first_port: int = 8080  # 0: any free ones
    use_services: bool = False  # RabbitMQ and MySQL/MariaDB in place of the embedded default
    database_url: str | None = None  # with use_services: where one is already
    broker_url: str | None = None
    sweep_every: float = 1.0  # seconds
    environment: Mapping[str, str] = field(default_factory=dict)  # more settings, for every process


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running stack."""

    state: State
    ports: Ports
    secrets: Secrets
    described: str  # what it runs on
    processes: dict[str, Guarded]
    environment: dict[str, str]  # of the processes, secrets included

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.intake}"

    @property
    def ops_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.replay}"

    @property
    def inbox_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.inbox}"

    def log(self, name: str) -> Path:
        return self.state.logs / f"{name}.log"

    def ended(self) -> str | None:
        """The name of a process that ended by itself, or None."""
        return next((name for name, process in self.processes.items() if not process.running), None)

    def write_env(self) -> None:
        values = {
            "TIDINGS_URL": self.url,
            "TIDINGS_OPS_URL": self.ops_url,
            "TIDINGS_INBOX_URL": self.inbox_url,
            "TIDINGS_API_KEY": self.secrets.api_key,
        }
        unfinished = self.state.env_file.with_suffix(".new")
        unfinished.touch(mode=0o600)
        unfinished.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        unfinished.rename(self.state.env_file)


@contextlib.contextmanager
def running(options: Options) -> Iterator[Stack]:
    """Start everything, wait until it is ready, and stop it in order at the end: what feeds before what is fed.
    Raise ServiceError, which says what would help."""
    state = State(options.state)
    state.prepare()
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(locked(state.folder / "lock", timedelta(seconds=2)))
        ports = Ports.plan(options.first_port, CHANNELS)
        if options.use_services:
            given = stack.enter_context(services(state.folder, options.database_url, options.broker_url))
            database_url, broker_url, described = given.database_url, given.broker_url, given.described
        else:
            database_url, broker_url, described = state.sqlite_url, "", "the embedded default: SQLite"
        secrets = state.secrets()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")},
            **_settings(state, ports, secrets),
            "TIDINGS_DATABASE_URL": database_url,
            "TIDINGS_BROKER_URL": broker_url,
            **options.environment,
        }
        _migrate(environment, state.logs / "migrate.log")
        started: dict[str, Guarded] = {}
        for name, command in _commands(state, ports, options).items():
            process = Guarded.start(
                [sys.executable, "-m", *command],
                environment=environment,
                log=state.logs / f"{name}.log",
                lock=lock,
                grace=STOP_WITHIN,
                folder=ROOT,
            )
            started[name] = process
            stack.callback(process.stop)
        _wait_until_ready(started, _health(ports), state)
        made = Stack(
            state=state,
            ports=ports,
            secrets=secrets,
            described=described,
            processes=started,
            environment=environment,
        )
        stack.callback(state.env_file.unlink, missing_ok=True)
        yield made


def _settings(state: State, ports: Ports, secrets: Secrets) -> dict[str, str]:
    """Every setting that the functions need here; the providers are the emulated ones."""
    emulated = f"http://127.0.0.1:{ports.inbox}"
    return {
        "TIDINGS_API_KEYS": secrets.api_key_hash,
        "TIDINGS_API_KEY": secrets.api_key,
        "TIDINGS_TRIGGER_TOKEN": secrets.trigger_token,
        "TIDINGS_SMTP_URL": f"smtp://127.0.0.1:{ports.smtp}",
        "TIDINGS_SMTP_SENDER": "Tidings <tidings@example.com>",
        "TIDINGS_TWILIO_URL": emulated,
        "TIDINGS_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TIDINGS_TWILIO_AUTH_TOKEN": "emulated",
        "TIDINGS_TWILIO_SENDER": "+15005550006",
        "TIDINGS_FCM_URL": emulated,
        "TIDINGS_FCM_SERVICE_ACCOUNT": str(state.providers.resolve() / "service-account.json"),
        "PYTHONUNBUFFERED": "1",
    }


def _commands(state: State, ports: Ports, options: Options) -> dict[str, list[str]]:
    """In the order of their start; they are stopped in the reverse."""
    folder = str(state.providers.resolve())
    providers = ["--smtp-port", str(ports.smtp), "--http-port", str(ports.inbox), "--state", folder]
    functions = {"intake": ports.intake, "replay": ports.replay, **ports.channels}
    sweep = f"http://127.0.0.1:{ports.replay}/v1/sweep"
    return {
        "providers": ["local.providers", *providers],
        **{name: ["local.function", name, "--port", str(port)] for name, port in functions.items()},
        "trigger": ["local.trigger", *(f"{name}=http://127.0.0.1:{port}" for name, port in ports.channels.items())],
        "schedule": ["local.schedule", sweep, "--every", str(options.sweep_every)],
    }


def _health(ports: Ports) -> dict[str, str]:
    return {
        "providers": f"http://127.0.0.1:{ports.inbox}/healthz",
        "intake": f"http://127.0.0.1:{ports.intake}/readyz",
        "replay": f"http://127.0.0.1:{ports.replay}/readyz",
        **{channel: f"http://127.0.0.1:{port}/healthz" for channel, port in ports.channels.items()},
    }


def _migrate(environment: Mapping[str, str], log: Path) -> None:
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "tidings.migrate"],
            cwd=ROOT,
            env=dict(environment),
            stdout=output,
            stderr=output,
            check=False,
        )
    if done.returncode != 0:
        raise ServiceError(f"the database's migrations failed:\n{tail(log)}")


def _wait_until_ready(processes: Mapping[str, Guarded], health: Mapping[str, str], state: State) -> None:
    deadline = time.monotonic() + START_WITHIN.total_seconds()
    waiting = dict(health)
    while waiting:
        for name, process in processes.items():
            if not process.running:
                raise ServiceError(f"{name} ended while it was starting:\n{tail(state.logs / f'{name}.log')}")
        for name in [name for name, url in waiting.items() if _answers(url)]:
            del waiting[name]
        if waiting and time.monotonic() > deadline:
            name = next(iter(waiting))
            raise ServiceError(f"{name} was not ready in time:\n{tail(state.logs / f'{name}.log')}")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False

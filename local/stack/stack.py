"""Run every part of Tidings as a process on this machine."""

import contextlib
import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from tidings.domain.channels import CHANNELS

from local.services.process import ServiceError, SupervisedProcess, locked
from local.stack import no_proxy
from local.stack.ports import Ports
from local.stack.processes import STOP_WITHIN, Processes, ProcessSpec, Start
from local.stack.state import Secrets, State

ROOT = Path(__file__).parents[2]
REMAINS_WITHIN = STOP_WITHIN + timedelta(seconds=10)
"""Time in which processes whose owner died have ended."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to start."""

    state: Path
    first_port: int = 8080  # 0: any free ports
    use_services: bool = False  # RabbitMQ and MySQL/MariaDB instead of the embedded default
    database_url: str | None = None  # with use_services: a given one
    broker_url: str | None = None
    on_lambda: bool = False  # the functions on an emulated Lambda instead of functions-framework
    receipts: bool = False  # the emulated Twilio and mail server report what became of each SMS and email
    sweep_every: float = 1.0  # seconds
    environment: Mapping[str, str] = field(default_factory=dict)  # more settings, for every process
    start: Start = SupervisedProcess.start


ON_LAMBDA = {"TIDINGS_SMTP_TIMEOUT": "30"}
"""As in infra/aws: by default a mail may take 20 minutes, which is longer than Lambda's maximum time-out."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running stack."""

    state: State
    ports: Ports
    secrets: Secrets
    settings: Mapping[str, str]  # of every function
    described: str  # what it runs on
    processes: Processes

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.intake}"

    @property
    def ops_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.replay}"

    @property
    def inbox_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.inbox}"

    def write_env(self) -> None:
        values = {
            "TIDINGS_URL": self.url,
            "TIDINGS_OPS_URL": self.ops_url,
            "TIDINGS_INBOX_URL": self.inbox_url,
            "TIDINGS_API_KEY": self.secrets.api_key,
        }
        _write(self.state.env_file, values)
        _write(self.state.functions_file, self.settings)


def _write(file: Path, values: Mapping[str, str]) -> None:
    """Write atomically, and readable by this user only: it holds secrets."""
    unfinished = file.with_suffix(".new")
    unfinished.touch(mode=0o600)
    unfinished.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))
    unfinished.rename(file)


def _await_remains(lock: Path) -> None:
    """Wait for processes whose start a stop has interrupted: they are not recorded, and end by themselves."""
    with contextlib.suppress(ServiceError), locked(lock, REMAINS_WITHIN):
        pass


@contextlib.contextmanager
def running(options: Options) -> Iterator[Stack]:
    """Start everything, wait until it is ready, and stop it at the end, trigger and schedule before the functions.
    Raise ServiceError with a remedy."""
    state = State(options.state)
    state.prepare()
    with contextlib.ExitStack() as stack:
        # Held by this process alone: waits for a stack that is stopping, and refuses to start beside a running one.
        stack.enter_context(locked(state.folder / "owner", timedelta(seconds=5)))
        stack.callback(_await_remains, state.folder / "lock")
        # Held by the processes, too: those of a stack whose owner has just died may still be stopping.
        lock = stack.enter_context(locked(state.folder / "lock", REMAINS_WITHIN))
        for file in (state.env_file, state.functions_file):
            stack.callback(file.unlink, missing_ok=True)
            file.unlink(missing_ok=True)  # left by a stack that was killed
        ports = Ports.plan(options.first_port, list(CHANNELS))
        if options.use_services:
            from local.services.provision import services  # imports the drivers of both

            given = stack.enter_context(services(state.folder, options.database_url, options.broker_url))
            database_url, broker_url, described = given.database_url, given.broker_url, given.described
        else:
            database_url, broker_url, described = state.sqlite_url, "", "the embedded default: SQLite"
        secrets = state.secrets()
        settings = {
            **_settings(state, ports, secrets),
            **(ON_LAMBDA if options.on_lambda else {}),
            **(_receipt_settings(ports, secrets) if options.receipts else {}),
            "TIDINGS_DATABASE_URL": database_url,
            "TIDINGS_BROKER_URL": broker_url,
            **options.environment,
        }
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")},
            **no_proxy.environment(),
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        processes = Processes(environment=environment, folder=ROOT, logs=state.logs, lock=lock, start=options.start)
        stack.enter_context(processes.group(_providers(state, ports, options)))
        processes.run("migrate", ["tidings.migrate"])
        processes.wait_until_ready()  # the providers have written the service account that a function reads
        if not options.on_lambda:
            stack.enter_context(processes.group(_functions(ports, options)))
            processes.wait_until_ready()
        stack.enter_context(
            processes.group(_on_lambda(ports, options) if options.on_lambda else _invokers(ports, options))
        )
        processes.wait_until_ready()
        yield Stack(
            state=state,
            ports=ports,
            secrets=secrets,
            settings=settings,
            described=f"{described}, with the functions on an emulated Lambda" if options.on_lambda else described,
            processes=processes,
        )


def _settings(state: State, ports: Ports, secrets: Secrets) -> dict[str, str]:
    """The settings of the functions, with emulated providers."""
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
        "TIDINGS_WEBHOOKS_VIA": emulated,
        "TIDINGS_WEBHOOKS_SECRET": hashlib.sha256(f"webhooks:{secrets.trigger_token}".encode()).hexdigest(),
        "TIDINGS_FCM_URL": emulated,
        "TIDINGS_FCM_SERVICE_ACCOUNT": str(state.providers.resolve() / "service-account.json"),
    }


def _receipt_settings(ports: Ports, secrets: Secrets) -> dict[str, str]:
    return {
        "TIDINGS_RECEIPTS_URL": f"http://127.0.0.1:{ports.receipts}",
        "TIDINGS_SMTP_RETURN_PATH": "bounces.example.com",
        "TIDINGS_SMTP_REPORT_DELIVERIES": "true",
        "TIDINGS_FCM_ACKNOWLEDGE": "true",
        "TIDINGS_RECEIPTS_SECRET": hashlib.sha256(f"receipts:{secrets.trigger_token}".encode()).hexdigest(),
    }


def _providers(state: State, ports: Ports, options: Options) -> dict[str, ProcessSpec]:
    listen = ["--smtp-port", str(ports.smtp), "--http-port", str(ports.inbox)]
    if options.receipts:
        listen += ["--bounces-to", f"127.0.0.1:{ports.bounces}"]
    return {
        "providers": ProcessSpec(
            command=["local.emulators", *listen, "--state", str(state.providers.resolve())],
            health=f"http://127.0.0.1:{ports.inbox}/healthz",
        )
    }


def _functions(ports: Ports, options: Options) -> dict[str, ProcessSpec]:
    """The HTTP functions are ready when they reach database and broker; a channel's function does not check them."""
    health = {
        "intake": (ports.intake, "readyz"),
        "replay": (ports.replay, "readyz"),
        **({"receipts": (ports.receipts, "readyz")} if options.receipts else {}),
        **{channel: (port, "healthz") for channel, port in ports.channels.items()},
    }
    return {
        name: ProcessSpec(
            command=["tidings.runtime.server", name, "--port", str(port)], health=f"http://127.0.0.1:{port}/{path}"
        )
        for name, (port, path) in health.items()
    }


def _invokers(ports: Ports, options: Options) -> dict[str, ProcessSpec]:
    """The trigger, the schedule, and what takes bounces."""
    sweep = f"http://127.0.0.1:{ports.replay}/v1/sweep"
    urls = [f"{channel}=http://127.0.0.1:{port}" for channel, port in ports.channels.items()]
    return {
        "trigger": ProcessSpec(command=["tidings.runtime.trigger", *urls]),
        "schedule": ProcessSpec(command=["tidings.runtime.scheduler", sweep, "--every", str(options.sweep_every)]),
        **_bounces(ports, options),
    }


def _bounces(ports: Ports, options: Options) -> dict[str, ProcessSpec]:
    listen = ["tidings.runtime.bounces", "listen", "--port", str(ports.bounces)]
    return {"bounces": ProcessSpec(command=listen)} if options.receipts else {}


def _on_lambda(ports: Ports, options: Options) -> dict[str, ProcessSpec]:
    """Each function with its invoker."""
    more = {"intake": [], "receipts": [], "replay": ["--every", str(options.sweep_every)]}
    http = {"intake": ports.intake, "replay": ports.replay}
    if options.receipts:
        http["receipts"] = ports.receipts
    behind_http = {
        name: ProcessSpec(
            command=["local.lambda_emulator", name, "--port", str(port), *more[name]],
            health=f"http://127.0.0.1:{port}/readyz",
        )
        for name, port in http.items()
    }
    channels = {channel: ProcessSpec(command=["local.lambda_emulator", channel]) for channel in ports.channels}
    return behind_http | channels | _bounces(ports, options)

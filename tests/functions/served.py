"""Calls functions: an App in this process, or functions-framework processes."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

from tidings.adapters.rabbitmq.broker import BrokerSettings
from tidings.adapters.sql.database import DatabaseSettings
from tidings.api.api_keys import ApiKey, ApiKeys
from tidings.api.app import App
from tidings.api.http import Request, Response
from tidings.api.intake import IntakeEndpoints
from tidings.api.operator.endpoints import OperatorEndpoints
from tidings.observability.logging import RequestIdFilter
from tidings.providers.webhooks.settings import WebhookSettings
from tidings.runtime.container import Container, utc_now

from local.services.access import free_port
from tests import forks
from tests.functions.declared import Declared

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0  # seconds to start, to answer, and to stop; all is far quicker, unless the machine is busy
TRIGGER_TOKEN = "trigger-token-0123456789"


@dataclass(frozen=True)
class Keys:
    """API keys of two tenants, one for each purpose."""

    send: str
    operate: str
    both: str  # every scope
    other: str  # every scope, of another tenant
    kept: tuple[ApiKey, ...]

    @property
    def setting(self) -> str:
        return " ".join(map(str, self.kept))


@contextmanager
def wired_to(database_url: str, broker_url: str | None = None) -> Iterator[Container]:
    parts = Container(
        DatabaseSettings(database_url=database_url, database_timeout=20),
        BrokerSettings(broker_url=broker_url, broker_timeout=20),
    )
    try:
        yield parts
    finally:
        parts.close()


# --- an App in this process -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A response with its parsed body."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def errors(self) -> dict[str, str]:
        """detail by pointer"""
        return {error["pointer"]: error["detail"] for error in self.body.get("errors", [])}


@dataclass
class Caller:
    """Sends requests to an App, and checks each answer against the document, if there is one."""

    api: App
    key: str | None
    declared: Declared | None = None
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        return asyncio.run(self.ask(method, path, body, **options))

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | Sequence[str]] | None = None,
    ) -> Answer:
        """`body` is sent as it is if it is bytes, else as JSON. `key` None: without a key; "": with the usual one."""
        presented = self.key if key == "" else key
        sent = {"authorization": f"Bearer {presented}"} if presented is not None else {}
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = Request(method=method, path=path, query=query or {}, headers={**sent, **(headers or {})}, body=raw)
        response = await self.api.answer(request)
        self.asked.append((method, path, response.status))
        if self.declared is not None:
            self.declared.check(request, response)
        return read(response)


def read(response: Response) -> Answer:
    return Answer(response.status, response.headers, _content(response.headers, response.body))


def _content(headers: Mapping[str, str], body: bytes) -> Any:
    return json.loads(body) if headers["content-type"].endswith(("/json", "+json")) else body.decode()


WEBHOOK_SECRET = "a secret of the tests, which is long enough"


def intake_of(parts: Container, keys: Keys, declared: Declared | None = None) -> Caller:
    routes = IntakeEndpoints(intake=parts.intake(), store=parts.store, broker=parts.broker, now=utc_now)
    return Caller(App(routes.all(), ApiKeys(keys=keys.kept)), keys.send, declared)


def replay_of(
    parts: Container,
    keys: Keys,
    declared: Declared | None = None,
    *,
    webhook_settings: WebhookSettings | None = None,
) -> Caller:
    routes = OperatorEndpoints(
        replay=parts.replay(),
        sweep=parts.sweep(),
        store=parts.store,
        broker=parts.broker,
        insight=parts.insight,
        ledger=parts.ledger(),
        audit=parts.audit(),
        intake=parts.intake(),
        signer=parts.signer(),
        webhooks=parts.webhooks,
        webhook_settings=webhook_settings or WebhookSettings(secret=WEBHOOK_SECRET),
        now=utc_now,
    )
    return Caller(App(routes.all(), ApiKeys(keys=keys.kept)), keys.operate, declared)


# --- what is sent -----------------------------------------------------------------------------------------------------


def mail(**changes: Any) -> dict[str, Any]:
    content = {"subject": "Shipped", "text": "It is on its way."}
    return {"channel": "email", "recipient": "ada@example.com", "content": content, **changes}


def sms(**changes: Any) -> dict[str, Any]:
    return {"channel": "sms", "recipient": "+15005550010", "content": {"text": "It is on its way."}, **changes}


def push(**changes: Any) -> dict[str, Any]:
    content = {"title": "Shipped", "body": "It is on its way."}
    return {"channel": "push", "recipient": {"token": "device-1"}, "content": content, **changes}


def later(**by: float) -> str:
    return (datetime.now(UTC) + timedelta(**by)).isoformat()


# --- logs -------------------------------------------------------------------------------------------------------------


class Lines(logging.Handler):
    """Collects every log record of `tidings`, whatever the configuration."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.addFilter(RequestIdFilter())
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def named(self, message: str) -> list[dict[str, Any]]:
        """The fields of each line; a record of a batch has several lines."""
        named = [vars(record) for record in self.records if record.getMessage() == message]
        return [{**record, **entry} for record in named for entry in record.get("each", ({},))]

    def text(self) -> str:
        return "\n".join(str(vars(record)) for record in self.records)


# --- a function as a process ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A function under functions-framework."""

    url: str
    log: Path
    pid: int

    @property
    def worker(self) -> int:
        """The process id of its only worker."""
        (worker,) = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        return int(worker)

    def __call__(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        request = UrlRequest(f"{self.url}{path}", data=body, headers=dict(headers or {}), method=method)
        try:
            with urlopen(request, timeout=DEADLINE) as answer:
                status, found, raw = answer.status, answer.headers, answer.read()
        except HTTPError as error:
            with error:
                status, found, raw = error.code, error.headers, error.read()
        headers = {name.lower(): value for name, value in found.items()}
        return Answer(status, headers, _content(headers, raw))


@contextmanager
def process(
    name: str,
    environment: Mapping[str, str],
    folder: Path,
    *,
    command: Sequence[str] | None = None,
    script: Path | None = None,
) -> Iterator[Process]:
    """Start it on a free port, wait until it answers, and stop it at the end. `command`: in place of
    tidings.runtime.server; `script`: in place of that module, with its arguments."""
    log, port = folder / f"{name}.log", free_port()
    given = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
    started: subprocess.Popen[bytes] | forks.Fork
    if script is None:
        module = [*(command or ["tidings.runtime.server", name]), "--port", str(port)]
        started = forks.popen(module, environment=given, log=log)
    else:
        with log.open("wb") as output:
            started = subprocess.Popen(
                [sys.executable, str(script), name, "--port", str(port)],
                cwd=ROOT,
                env=given,
                stdout=output,
                stderr=output,
            )
    running = Process(f"http://127.0.0.1:{port}", log, started.pid)
    try:
        _wait_until_healthy(running, started)
        yield running
    finally:
        started.terminate()
        try:
            started.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
            raise


def _wait_until_healthy(running: Process, started: subprocess.Popen[bytes] | forks.Fork) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and started.poll() is None:
        try:
            if running("GET", "/healthz").status == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"it did not start:\n{running.log.read_text()}")

"""Fixtures for functions: a fresh database, API keys, an App in this process, and a freshly imported main.py."""

import base64
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tidings.api.api_keys import Scope, new_key
from tidings.api.intake import document
from tidings.api.operator.endpoints import document as operator_document
from tidings.domain.channels import Attachment, EmailContent
from tidings.runtime.container import Container
from tidings.runtime.http_function import HttpFunction
from tidings.runtime.queue_function import QueueFunction

from tests import certificates
from tests.functions.declared import Declared
from tests.functions.served import (
    TRIGGER_TOKEN,
    WEBHOOK_SECRET,
    Caller,
    Keys,
    Lines,
    intake_of,
    replay_of,
    wired_to,
)
from tests.migrated import migrated

# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def keys() -> Keys:
    send, operate = new_key("acme", [Scope.SEND]), new_key("acme", [Scope.OPERATE])
    both, other = new_key("acme", list(Scope)), new_key("globex", list(Scope))
    kept = (send[1], operate[1], both[1], other[1])
    return Keys(send=send[0], operate=operate[0], both=both[0], other=other[0], kept=kept)


@pytest.fixture(autouse=True, scope="module")
def one_certificate() -> Iterator[None]:
    """Each provider that a test makes reads the certificates that it trusts: here only one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(certificates.VARIABLE, certificates.only_one())
        yield


# --- for mail servers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    from local.emulators.certificate import self_signed

    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def big_email() -> EmailContent:
    """Larger than the sockets' buffers."""
    file = Attachment(filename="big", content=base64.b64encode(bytes(7_000_000)).decode())
    return EmailContent(subject="Big", text="Big", attachments=(file,))


# --- a database -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="session")
def quick_commits(sqlite_not_kept: None) -> None:
    """On SQLite, in all tests of this folder."""


@pytest.fixture
def database_file(tmp_path: Path) -> Path:
    """A fresh SQLite file with this version's schema."""
    file = tmp_path / "tidings.db"
    migrated(f"sqlite:///{file}")
    return file


@pytest.fixture
def database_url(database_file: Path) -> str:
    return f"sqlite:///{database_file}"


@pytest.fixture
def container(database_url: str) -> Iterator[Container]:
    """The parts, on SQLite and the embedded broker."""
    with wired_to(database_url) as parts:
        yield parts


# --- an App in this process -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def declared() -> Declared:
    return Declared(document())


@pytest.fixture
def intake(container: Container, keys: Keys, declared: Declared) -> Caller:
    return intake_of(container, keys, declared)


@pytest.fixture(scope="session")
def operator_declared() -> Declared:
    return Declared(operator_document())


@pytest.fixture
def replay(container: Container, keys: Keys, operator_declared: Declared) -> Caller:
    return replay_of(container, keys, operator_declared)


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("tidings")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


# --- a function, imported ---------------------------------------------------------------------------------------------

Imported = Callable[[str], ModuleType]


@pytest.fixture
def settings(database_url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A function process's environment; tests add to it with `monkeypatch`."""
    for name in [name for name in os.environ if name.startswith("TIDINGS_")]:
        monkeypatch.delenv(name)
    given = {
        "TIDINGS_DATABASE_URL": database_url,
        "TIDINGS_API_KEYS": keys.setting,
        "TIDINGS_TRIGGER_TOKEN": TRIGGER_TOKEN,
        "TIDINGS_SMTP_URL": "smtp://127.0.0.1:9",
        "TIDINGS_SMTP_SENDER": "Tidings <tidings@example.com>",
        "TIDINGS_SMTP_TIMEOUT": "30",  # as where a function has not all the time that a mail may take
        "TIDINGS_TWILIO_URL": "http://127.0.0.1:9",
        "TIDINGS_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TIDINGS_TWILIO_AUTH_TOKEN": "emulated",
        "TIDINGS_TWILIO_SENDER": "+15005550006",
        "TIDINGS_WEBHOOKS_SECRET": WEBHOOK_SECRET,
        "TIDINGS_FCM_URL": "http://127.0.0.1:9",
        "TIDINGS_FCM_SERVICE_ACCOUNT": json.dumps(
            {
                "type": "service_account",
                "project_id": "p",
                "private_key": "none",
                "client_email": "a@example.com",
                "token_uri": "http://127.0.0.1:9/token",
            }
        ),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


@pytest.fixture
def imported(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Imported]:
    """Import a function's main.py again, with the current settings; close its connections at the end."""
    functions: list[QueueFunction | HttpFunction] = []

    def load(name: str) -> ModuleType:
        module = f"functions.{name}.main"
        sys.modules.pop(module, None)
        main = importlib.import_module(module)
        functions.append(main.function)
        return main

    logger = logging.getLogger("tidings")
    before = list(logger.handlers), logger.level, logger.propagate
    # Its handler writes to the standard output of the process; here that is one of pytest's, closed after the test.
    monkeypatch.setattr("tidings.observability.logging.configure", lambda *_: None)
    yield load
    for function in functions:
        if isinstance(function, QueueFunction):
            function.delivery.close()
        function.container.close()
    logger.handlers, logger.level, logger.propagate = before

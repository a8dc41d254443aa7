"""A real Postfix: Tidings sends through it, it cannot deliver, and its report comes back to the listener by LMTP."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tidings.domain.channels import EmailContent
from tidings.domain.notification import Notification, Status
from tidings.ports import SendRequest, Settlement
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.return_path import ReturnPath
from tidings.providers.smtp.settings import SmtpSettings
from tidings.runtime.container import Container

from local.services.access import free_port
from tests import make
from tests.functions.scripted import ScriptedSmtp
from tests.functions.test_bounces import HOME, SECRET, now_of
from tests.postfix import Postfix, postfix
from tests.wait import eventually

WITHIN = 120.0  # seconds

pytestmark = pytest.mark.nightly

PATHS = {
    "a domain": replace(HOME, report_deliveries=True),
    "an address with an extension": ReturnPath(
        domain="example.com", local="bounces", secrets=[SECRET], report_deliveries=True
    ),
}


@contextmanager
def listener(path: ReturnPath, port: int, database_url: str, log: Path) -> Iterator[None]:
    environment = {
        **os.environ,
        "TIDINGS_DATABASE_URL": database_url,
        "TIDINGS_SMTP_RETURN_PATH": f"{path.local}@{path.domain}" if path.local else path.domain,
        "TIDINGS_RECEIPTS_SECRET": SECRET.decode(),
    }
    command = [sys.executable, "-m", "tidings.runtime.bounces", "listen", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        eventually("the listener listens", lambda: "lmtp://" in log.read_text(), within=WITHIN)
        yield
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def running(path: ReturnPath, database_url: str, relay: ScriptedSmtp) -> Iterator[Postfix]:
    """Postfix, which passes mail for example.org to `relay` and bounces to the listener."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="tidings-") as folder,
        listener(path, port, database_url, Path(folder) / "listener"),
        postfix(Path(folder), transports(path, port, relay)) as server,
    ):
        yield server


def transports(path: ReturnPath, port: int, relay: ScriptedSmtp) -> Mapping[str, str]:
    return {"example.org": f"smtp:[127.0.0.1]:{relay.port}", path.domain: f"lmtp:inet:[127.0.0.1]:{port}"}


def send(container: Container, server: Postfix, path: ReturnPath) -> Notification:
    """A mail that Postfix has accepted."""
    row = make.notification(datetime.now(UTC), channel="email", recipient="ada@example.org")
    container.store.insert([row])
    claims = container.store.claim([make.message(row)], timedelta(seconds=60))
    settings = SmtpSettings(url=server.url, sender="Shop <shop@example.com>", timeout=60)
    content = EmailContent(subject="Your order", text="It is on its way.")
    with closing(SmtpProvider(settings, return_path=path)) as provider:
        accepted = provider.send(SendRequest(id=row.id, attempt=1, recipient=row.recipient, content=content))
    container.store.settle(
        [
            Settlement(
                claims=claims,
                notification=claims.acquired[0],
                status=Status.SENT,
                provider="smtp",
                provider_message_id=accepted.provider_message_id,
            )
        ]
    )
    return row


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_an_unknown_user_makes_it_undelivered(container: Container, database_url: str, path: ReturnPath) -> None:
    with ScriptedSmtp(answers={"RCPT": "550 5.1.1 <ada@example.org>: no such user"}) as relay:
        with running(path, database_url, relay) as server:
            row = send(container, server, path)
            eventually("the bounce is taken", lambda: now_of(container, row).status is not Status.SENT, within=WITHIN)
        found = now_of(container, row)
        assert (found.status, found.error_code) == (Status.UNDELIVERED, "5.1.1")


def test_postfix_keeps_a_bounce_while_the_database_is_down(container: Container, database_url: str) -> None:
    path, port = PATHS["a domain"], free_port()
    down = f"mysql+pymysql://tidings:tidings@127.0.0.1:{free_port()}/tidings"
    with (
        ScriptedSmtp(answers={"RCPT": "550 5.1.1 no such user"}) as relay,
        tempfile.TemporaryDirectory(prefix="tidings-") as name,
        postfix(Path(name), transports(path, port, relay)) as server,
    ):
        with listener(path, port, down, server.folder / "down"):
            row = send(container, server, path)
            eventually(
                "it is refused for now", lambda: "451 4.3.0" in (server.folder / "log").read_text(), within=WITHIN
            )
            assert now_of(container, row).status is Status.SENT
        with listener(path, port, database_url, server.folder / "up"):
            eventually("it is taken", lambda: now_of(container, row).status is Status.UNDELIVERED, within=WITHIN)


def test_a_delay_is_no_failure(container: Container, database_url: str) -> None:
    """Postfix tells that the mail waits, then that it has passed it on: the server after it sends no reports."""
    path = PATHS["a domain"]
    with ScriptedSmtp(answers={"RCPT": ["450 4.2.1 busy"] * 2 + ["250 2.1.5 OK"] * 9}) as relay:
        with running(path, database_url, relay) as server:
            row = send(container, server, path)
            taken = server.folder / "listener"
            eventually("the delay is taken", lambda: _receipts(taken) == 1, within=WITHIN)
            assert relay.mails == []
            eventually("the acceptance is taken", lambda: _receipts(taken) == 2, within=WITHIN)
        assert len(relay.mails) == 1
        assert now_of(container, row).status is Status.SENT


def _receipts(log: Path) -> int:
    return len(re.findall(r"verdict\W+receipt\b", log.read_text()))

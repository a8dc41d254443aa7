"""What a process that takes bounces tells about itself, and a poller that a schedule starts."""

import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import closing
from typing import Any

import pytest
from tidings.domain.notification import Status as NotificationStatus
from tidings.observability.metrics_observer import MetricsObserver
from tidings.observability.observers import Observers
from tidings.observability.prometheus import PrometheusMeter
from tidings.providers.smtp.receipts import SmtpReceipts
from tidings.runtime.bounces.mailroom import Mailroom
from tidings.runtime.bounces.status import Status, answering
from tidings.runtime.container import Container

from tests.functions.scripted_imap import ScriptedImap
from tests.functions.test_bounces import HOME, SECRET, Down, crlf, now_of, poller, returned, sample, sent
from tests.wait import eventually

TOKEN = "t" * 32


def get(port: int, path: str, token: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_are_answered_with_the_token_alone() -> None:
    status = Status(metrics=lambda: b"tidings_bounces_up 1\n", admits=lambda given: given == f"Bearer {TOKEN}")
    with answering(status, "127.0.0.1", 0) as port:
        assert get(port, "/healthz") == (200, "ok\n")
        assert get(port, "/metrics", TOKEN) == (200, "tidings_bounces_up 1\n")
        assert get(port, "/metrics")[0] == get(port, "/metrics", "x")[0] == 401
        assert get(port, "/")[0] == 404
    with answering(Status(metrics=None, admits=lambda _: True), "127.0.0.1", 0) as port:
        assert get(port, "/metrics", TOKEN)[0] == 404


def test_each_returned_mail_is_counted_by_what_became_of_it(container: Container) -> None:
    meter = PrometheusMeter()
    observers = Observers(observers=[MetricsObserver(meter)])
    parser, kept = SmtpReceipts(HOME), container.returned_mails()
    mailroom = Mailroom(parser=parser, receipts=container.receipts(), kept=kept, observers=observers)
    row = sent(container)
    forged = returned(row)
    mails = [
        returned(row),
        returned(row, "auto_reply-rfc3834"),
        returned(row, "unreadable-daemon"),
        type(forged)(content=sample("hard-relay", "a@b.org"), at=forged.at),
    ]
    mailroom.take(mails)
    broken: Any = Down(lambda _: ValueError("a bug"))
    poison = Mailroom(parser=parser, receipts=broken, kept=kept, observers=observers)
    poison.take([returned(row, "delivered")])
    lines = meter.exposition().decode().splitlines()
    counts = {
        line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith("tidings_returned_mails_total")
    }
    assert {name for name, count in counts.items() if count == 1} == {
        "receipt", "auto_reply", "unreadable", "no_mark", "failed"
    }  # fmt: skip
    assert {name for name, count in counts.items() if count == 0} == {"nothing", "other_recipient"}
    assert "tidings_returned_mails_commit_seconds_count 1.0" in lines


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "TIDINGS_DATABASE_URL": database_url,
        "TIDINGS_SMTP_RETURN_PATH": HOME.domain,
        "TIDINGS_RECEIPTS_SECRET": SECRET.decode(),
        "TIDINGS_METRICS": "prometheus",
        "TIDINGS_TRIGGER_TOKEN": TOKEN,
    }


def test_a_schedule_may_read_the_mailbox_once(container: Container) -> None:
    mailroom = Mailroom(parser=SmtpReceipts(HOME), receipts=container.receipts(), kept=container.returned_mails())
    row = sent(container)
    with ScriptedImap(mails={1: crlf(returned(row))}, ends_at="UID FETCH") as server:
        assert poller(mailroom, server).run_once(threading.Event()) == 1
        server.ends_at = None
        assert poller(mailroom, server).run_once(threading.Event()) == 0
        assert server.mails == {}
    assert now_of(container, row).status is NotificationStatus.UNDELIVERED


def test_a_poller_tells_when_it_last_read_the_mailbox(environment: dict[str, str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with ScriptedImap() as server:
        command = [
            sys.executable,
            "-m",
            "tidings.runtime.bounces",
            "poll",
            "--every",
            "0.1",
            "--status-port",
            str(port),
        ]
        process = subprocess.Popen(command, env={**environment, "TIDINGS_IMAP_URL": server.url})

        def read_at() -> float:
            try:
                lines = get(port, "/metrics", TOKEN)[1].splitlines()
            except OSError:
                return 0
            assert 'tidings_bounces_up{how="poll"} 1.0' in lines
            return next(float(line.split()[-1]) for line in lines if line.startswith("tidings_mailbox_read_timestamp"))

        try:
            eventually("it answers", read_at, within=120)
            first = read_at()
            eventually("it has read the mailbox again", lambda: read_at() > first, within=60)
            server.ends_at = "LOGIN"
            eventually("the server refuses", lambda: server.commands[-1].startswith("LOGIN"), within=60)
            last = read_at()
            server.commands.clear()
            eventually("it is refused again", lambda: "LOGIN" in " ".join(server.commands), within=60)
            assert read_at() == last
        finally:
            process.terminate()
            assert process.wait(60) == 0

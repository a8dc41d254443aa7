"""SMTP: how long each step may take, and what follows when its time is over."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tidings.cli.diagnostics import START_WITHIN
from tidings.config.settings import load
from tidings.domain.channels import EmailContent
from tidings.domain.errors import AmbiguousError, DeliveryError, PermanentError, TransientError
from tidings.ports import SendRequest
from tidings.providers.smtp import provider as smtp
from tidings.providers.smtp import session as smtp_session
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.settings import SmtpSettings
from tidings.providers.smtp.timeouts import Timeouts

from tests.functions.scripted import DRIP, HANG, SILENT, ScriptedSmtp, deaf_port, server_context
from tests.scenarios.caller import wait_for

TEXT = EmailContent(subject="Shipped", text="Your order is on its way.")
Make = Callable[..., SmtpProvider]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make a provider for a URL; all are closed afterwards."""
    made: list[SmtpProvider] = []

    def provider(url: str, **changed: Any) -> SmtpProvider:
        made.append(SmtpProvider(SmtpSettings(url=url, sender="shop@example.org", **changed)))
        return made[-1]

    yield provider
    for one in made:
        one.close()


@contextmanager
def cut(kind: type[DeliveryError], text: str) -> Iterator[None]:
    """By one time-out, and by no other of those in `patient`."""
    began = time.monotonic()
    with pytest.raises(kind) as raised:
        yield
    assert str(raised.value) == f"timeout: {text}"
    assert time.monotonic() - began < LATE


def outbound(content: EmailContent = TEXT, id: str = "0193-a") -> SendRequest:
    return SendRequest(id=id, attempt=1, recipient="ada@example.com", content=content)


OWN = 1.0  # seconds of the one step that is cut
LATE = 15  # seconds; by then no step but the one that is cut would have ended: each server is patient for 20
STEPS = ("connect_timeout", "command_timeout", "data_timeout", "block_timeout", "dot_timeout")


def patient(**changed: float) -> dict[str, float]:
    """Time enough for everything else."""
    return {**dict.fromkeys(STEPS, 30.0), "timeout": 60.0, **changed}


CUT = [
    # verb, how, which setting ends it, kind, the step's name
    *(("CONNECT", how, "command_timeout", TransientError, "greeting") for how in (HANG, DRIP)),
    *(("EHLO", how, "command_timeout", TransientError, "EHLO") for how in (HANG, DRIP)),
    *(("MAIL", how, "command_timeout", TransientError, "MAIL") for how in (HANG, DRIP)),
    *(("RCPT", how, "command_timeout", TransientError, "RCPT") for how in (HANG, DRIP)),
    *(("DATA", how, "data_timeout", TransientError, "DATA") for how in (HANG, DRIP)),
    *(("DOT", how, "dot_timeout", AmbiguousError, "the end of the mail") for how in (HANG, DRIP)),
]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(("verb", "how", "setting", "kind", "step"), CUT)
def test_each_step_ends_with_its_own_time_out_and_the_error_names_both(
    *, make: Make, verb: str, how: str, setting: str, kind: type[DeliveryError], step: str, pipelining: bool
) -> None:
    with (
        ScriptedSmtp(answers={verb: how}, features=("PIPELINING",) if pipelining else ()) as server,
        cut(kind, f"{step}: no answer within 1 s"),
    ):
        make(server.url, **patient(**{setting: OWN})).send(outbound())


def test_a_connection_that_does_not_come_about_ends_with_its_own_time_out(make: Make) -> None:
    with deaf_port() as port, cut(TransientError, "connecting: no connection within 1 s"):
        make(f"smtp://127.0.0.1:{port}", **patient(connect_timeout=OWN)).send(outbound())


@pytest.mark.parametrize("how", [HANG, DRIP])
def test_the_login_ends_with_the_time_out_of_a_command(make: Make, how: str) -> None:
    with (
        ScriptedSmtp(features=("AUTH PLAIN",), answers={"AUTH": how}) as server,
        cut(TransientError, "AUTH: no answer within 1 s"),
    ):
        make(f"smtp://ada:secret@127.0.0.1:{server.port}", **patient(command_timeout=OWN)).send(outbound())


def test_starttls_ends_with_the_time_out_of_a_command(make: Make, certificate: tuple[Path, Path]) -> None:
    with (
        ScriptedSmtp(tls=server_context(certificate), answers={"STARTTLS": HANG}) as server,
        cut(TransientError, "STARTTLS: no answer within 1 s"),
    ):
        make(f"smtp+starttls://127.0.0.1:{server.port}", **patient(command_timeout=OWN)).send(outbound())


@pytest.mark.parametrize(
    ("scheme", "verb", "answer"), [("smtps", "CONNECT", HANG), ("smtp+starttls", "STARTTLS", SILENT)]
)
def test_a_handshake_ends_with_the_time_out_of_a_command(make: Make, scheme: str, verb: str, answer: str) -> None:
    with ScriptedSmtp(features=("STARTTLS",), answers={verb: answer}) as server:
        with cut(TransientError, "TLS: no answer within 1 s"):
            make(f"{scheme}://127.0.0.1:{server.port}", **patient(command_timeout=OWN)).send(outbound())
        assert server.verbs[-1] == verb


def test_a_body_that_is_no_longer_read_ends_with_the_time_out_of_a_block(make: Make, big_email: EmailContent) -> None:
    with ScriptedSmtp(answers={"BODY": HANG}) as server, cut(TransientError, "the body: no progress within 1 s"):
        make(server.url, **patient(block_timeout=OWN)).send(outbound(big_email))


def test_a_body_that_is_read_slowly_is_not_cut(make: Make, big_email: EmailContent) -> None:
    with ScriptedSmtp(answers={"BODY": DRIP}) as server:
        began = time.monotonic()
        make(server.url, **patient(block_timeout=2.0)).send(outbound(big_email))
        assert time.monotonic() - began > 2.0  # longer than one block may take
        assert (len(server.mails), server.connections) == (1, 1)


def test_an_encrypted_body_that_is_read_slowly_is_not_cut(
    make: Make, big_email: EmailContent, certificate: tuple[Path, Path]
) -> None:
    with ScriptedSmtp(tls=server_context(certificate), features=("SIZE",), answers={"BODY": DRIP}) as server:
        url = f"smtp+starttls://127.0.0.1:{server.port}"
        began = time.monotonic()
        make(url, **patient(block_timeout=2.0), ca_file=str(certificate[0])).send(outbound(big_email))
        assert time.monotonic() - began > 2.0
        assert len(server.mails) == 1


def test_a_server_that_takes_long_after_the_final_dot_gets_one_mail(make: Make) -> None:
    with ScriptedSmtp(delays={"DOT": 2.5}) as server:
        make(server.url, **dict.fromkeys(STEPS, 2.0) | {"dot_timeout": 20.0, "timeout": 40.0}).send(outbound())
        assert (len(server.mails), server.connections) == (1, 1)


def test_slow_steps_that_are_each_in_time_are_cut_when_they_are_too_long_together(make: Make) -> None:
    slow = dict.fromkeys(("EHLO", "MAIL", "RCPT", "DATA"), 0.4)
    with ScriptedSmtp(delays=slow, features=()) as server:
        with pytest.raises(TransientError, match=r"timeout: .* no answer before the 1 s for all steps were over"):
            make(server.url, **patient(timeout=1.0)).send(outbound())
        assert server.mails == []


def test_after_the_final_dot_the_end_of_all_steps_is_ambiguous(make: Make) -> None:
    with ScriptedSmtp(answers={"DOT": HANG}) as server:
        with cut(AmbiguousError, "the end of the mail: no answer before the 3 s for all steps were over"):
            make(server.url, **patient(timeout=3.0)).send(outbound())
        assert len(server.mails) == 1


def test_a_body_that_is_read_slowly_is_cut_when_all_steps_are_too_long(make: Make, big_email: EmailContent) -> None:
    with ScriptedSmtp(answers={"BODY": DRIP}) as server:
        with cut(TransientError, "the body: no progress before the 2 s for all steps were over"):
            make(server.url, **patient(timeout=2.0)).send(outbound(big_email))
        assert server.mails == []


@pytest.mark.parametrize(
    "answers",
    [
        {"RCPT": ["550 5.1.1 no such user"], "DATA": ["503 no recipients"], "RSET": [HANG]},
        {"RCPT": ["550 5.1.1 no such user"], "DATA": [HANG]},  # said ahead
        {"DOT": ["550 5.1.1 no such user"], "RSET": [DRIP]},
    ],
    ids="-".join,
)
def test_the_dialogue_after_a_refusal_holds_no_caller(
    make: Make, answers: dict[str, str | list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert smtp_session.RECOVERY <= 5
    monkeypatch.setattr(smtp_session, "RECOVERY", 1.0)
    with ScriptedSmtp(answers=answers) as server:
        provider = make(server.url, **patient())
        began = time.monotonic()
        with pytest.raises(PermanentError, match="no such user"):
            provider.send(outbound())
        assert time.monotonic() - began < LATE
        provider.send(outbound(id="0193-b"))
        assert server.connections == 2


def test_the_mail_after_a_refused_one_has_all_its_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_session, "RECOVERY", 3.0)
    with ScriptedSmtp(answers={"DOT": ["554 5.6.0 no"]}) as server:
        provider = make(server.url, **patient())
        with pytest.raises(PermanentError):
            provider.send(outbound())
        server.delays["DOT"] = 3.5
        provider.send(outbound(id="0193-b"))
        assert server.connections == 1


def test_quit_is_sent_however_long_ago_the_last_mail_was(make: Make) -> None:
    with ScriptedSmtp() as server:
        provider = make(server.url, **patient(timeout=2.0))
        provider.send(outbound())
        time.sleep(2.1)  # the time of that mail is over
        provider.close()
        wait_for(lambda: "QUIT" in server.verbs)


def test_whoever_only_checks_does_not_wait_as_long_as_a_mail(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert smtp.CHECK_WITHIN < START_WITHIN
    monkeypatch.setattr(smtp, "CHECK_WITHIN", 1.0)
    with ScriptedSmtp(answers={"CONNECT": HANG}) as server:
        began = time.monotonic()
        with pytest.raises(TransientError, match="timeout"):
            make(server.url, **patient()).check()
        assert time.monotonic() - began < LATE


def test_a_silent_connection_shows_that_it_is_in_use_before_a_nat_gateway_forgets_it(make: Make) -> None:
    with ScriptedSmtp() as server:
        provider = make(server.url)
        provider.send(outbound())
        [session] = provider._kept
        connection = session._wire.sock
        assert connection is not None
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 240


def test_the_provider_tells_the_longest_time_of_a_send(make: Make) -> None:
    assert make("smtp://localhost", timeout=7.5).timeout == timedelta(seconds=7.5)


def test_by_default_each_step_may_take_what_rfc_5321_gives_it() -> None:
    """4.5.3.2, all but the TCP connection, of which it says nothing."""
    given = load(SmtpSettings, {"TIDINGS_SMTP_URL": "smtp://host", "TIDINGS_SMTP_SENDER": "a@b.org"})
    minutes = Timeouts(connect=0.5, command=5, data=2, block=3, dot=10, total=20)
    assert given.timeouts == Timeouts(**{name: 60 * value for name, value in asdict(minutes).items()})

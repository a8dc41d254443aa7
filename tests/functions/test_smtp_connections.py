"""SMTP connections: what ends before the mail counts nothing, and what a server said before it hung up is heard."""

import gc
import select
import ssl
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tidings.domain.channels import EmailContent
from tidings.domain.errors import AccountError, AmbiguousError, DeliveryError, PermanentError, TransientError
from tidings.ports import SendRequest
from tidings.providers.smtp import provider as smtp_module
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.settings import SmtpSettings
from tidings.providers.smtp.wire import Wire

from tests.emulator import emulator
from tests.functions.scripted import CLOSE, RESET, ScriptedSmtp, server_context
from tests.scenarios.caller import wait_for

TEXT = EmailContent(subject="Shipped", text="Your order is on its way.")
IDLE = 0.2  # seconds after which the server has enough

Make = Callable[..., SmtpProvider]


def outbound(content: EmailContent = TEXT) -> SendRequest:
    return SendRequest(id="0193-a", attempt=1, recipient="ada@example.com", content=content)


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[SmtpProvider] = []

    def provider(url: str, **changed: Any) -> SmtpProvider:
        made.append(SmtpProvider(SmtpSettings(url=url, **{"sender": "shop@example.org", "timeout": 20.0, **changed})))
        return made[-1]

    yield provider
    for one in made:
        one.close()


def _has_said_idle(server: ScriptedSmtp, times: int) -> bool:
    return server.verbs.count("IDLE") >= times


# --- kept connections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("starttls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(
    "farewell",
    ["451 4.4.2 Timeout waiting for data from client.", "421 idle", "554 good night", "250 what?", "nonsense", None],
)
def test_a_reply_that_waits_before_the_mail_costs_a_connection_and_no_attempt(
    make: Make, certificate: tuple[Path, Path], farewell: str | None, starttls: bool
) -> None:
    tls = server_context(certificate) if starttls else None
    answers: dict[str, str | list[str]] = {"IDLE": farewell} if farewell is not None else {}
    with ScriptedSmtp(answers=answers, idle=IDLE, tls=tls) as server:
        url = f"smtp+starttls://127.0.0.1:{server.port}" if starttls else server.url
        provider = make(url, ca_file=str(certificate[0]))
        for number in (1, 2, 3):
            provider.send(outbound())
            assert (server.connections, len(server.mails)) == (number, number)
            if farewell is None:
                time.sleep(2 * IDLE)
            else:
                wait_for(partial(_has_said_idle, server, number))
                time.sleep(0.05)  # until it is here


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(
    "farewell", ["451 4.4.2 Timeout waiting for data from client.", "421 bye", "450 connection timed out", CLOSE, RESET]
)
def test_an_end_that_crosses_the_mail_on_its_way_costs_no_attempt(make: Make, farewell: str, pipelining: bool) -> None:
    features = ("PIPELINING",) if pipelining else ()
    with ScriptedSmtp(answers={"MAIL": ["250 OK", farewell]}, features=features) as server:
        provider = make(server.url)
        provider.send(outbound())
        provider.send(outbound())
        assert (server.connections, len(server.mails)) == (2, 2)


def test_a_refusal_on_a_kept_connection_that_is_about_the_mail_is_an_attempt(make: Make) -> None:
    with ScriptedSmtp(answers={"MAIL": ["250 OK", "451 4.3.0 later"]}) as server:
        provider = make(server.url)
        provider.send(outbound())
        with pytest.raises(TransientError, match=r"4\.3\.0"):
            provider.send(outbound())
        assert server.connections == 1


def test_an_end_on_a_new_connection_is_an_attempt(make: Make) -> None:
    with ScriptedSmtp(answers={"MAIL": "451 4.4.2 Timeout"}) as server, pytest.raises(TransientError):
        make(server.url).send(outbound())
    assert server.connections == 1


def test_a_kept_connection_that_is_well_is_used_again_through_tls(make: Make, certificate: tuple[Path, Path]) -> None:
    """TLS 1.3 has messages of its own after the handshake: these are no reply."""
    with ScriptedSmtp(tls=server_context(certificate)) as server:
        provider = make(f"smtp+starttls://127.0.0.1:{server.port}", ca_file=str(certificate[0]))
        for _ in range(3):
            provider.send(outbound())
        assert server.connections == 1


# --- what was said before it hung up ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("552 5.3.4 Message too big", PermanentError),
        ("552 too big", PermanentError),
        ("451 4.3.0 no more of this", TransientError),
        ("550 5.4.5 Daily user sending limit exceeded", AccountError),
        ("250 what?", TransientError),
    ],
)
def test_a_refusal_in_the_middle_of_the_body_is_heard(
    make: Make, big_email: EmailContent, reply: str, kind: type[Exception]
) -> None:
    with ScriptedSmtp(answers={"BODY": reply}) as server, pytest.raises(kind) as raised:
        make(server.url).send(outbound(big_email))
    assert type(raised.value) is kind
    assert (reply[4:] in str(raised.value)) == (not reply.startswith("250"))


@pytest.mark.parametrize("code", ["421 4.7.0", "451 4.3.0"])
def test_a_4xx_to_ehlo_keeps_its_words_and_helo_is_not_tried(make: Make, code: str) -> None:
    said = f"{code} Try again later, closing connection. (EHLO)"
    with ScriptedSmtp(answers={"EHLO": said}) as server, pytest.raises(TransientError, match="Try again later"):
        make(server.url).send(outbound())
    assert "HELO" not in server.verbs


def test_a_server_that_knows_no_ehlo_hears_helo(make: Make) -> None:
    with ScriptedSmtp(answers={"EHLO": "502 what?"}) as server:
        make(server.url).send(outbound())
        assert server.verbs[:3] == ["CONNECT", "EHLO", "HELO"]


def test_a_server_that_refuses_ehlo_and_hangs_up_on_helo_has_refused_ehlo(make: Make) -> None:
    answers: dict[str, str | list[str]] = {"EHLO": "550 5.7.1 bad name", "HELO": CLOSE}
    with ScriptedSmtp(answers=answers) as server, pytest.raises(AccountError, match="bad name"):
        make(server.url).send(outbound())


@pytest.mark.parametrize("name", ["mail.example.org", "[192.0.2.1]", "[IPv6:2001:db8::1]"])
def test_ehlo_says_the_name_of_the_setting(make: Make, name: str) -> None:
    with ScriptedSmtp() as server:
        make(server.url, ehlo_name=name).send(outbound())
        assert server.lines[0].lower() == f"ehlo {name}".lower()


def test_without_the_setting_ehlo_says_the_address(make: Make) -> None:
    with ScriptedSmtp() as server:
        make(server.url).send(outbound())
        assert server.lines[0].lower() == "ehlo [127.0.0.1]"


# --- before and after the final dot -----------------------------------------------------------------------------------

ENDLESS = "250 " + "x" * 10_000  # smtplib gives up at 8,192 characters, and says 500


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"])
def test_a_line_without_end_before_the_dot_is_no_refusal(make: Make, verb: str) -> None:
    with ScriptedSmtp(answers={verb: ENDLESS}) as server, pytest.raises(TransientError, match="protocol"):
        make(server.url).send(outbound())


def test_a_line_without_end_after_the_dot_may_be_an_acceptance(make: Make) -> None:
    with ScriptedSmtp(answers={"DOT": ENDLESS}) as server, pytest.raises(AmbiguousError, match="protocol"):
        make(server.url).send(outbound())


@pytest.mark.parametrize("how", [CLOSE, RESET])
def test_a_server_that_hangs_up_in_the_handshake_has_no_mail(make: Make, how: str) -> None:
    with ScriptedSmtp(answers={"CONNECT": how}) as server, pytest.raises(TransientError, match="connect: "):
        make(f"smtps://127.0.0.1:{server.port}").send(outbound())


def test_a_connection_that_is_reset_before_the_handshake_is_not_left_open(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python would tell of it, which is an error here."""
    secure = Wire.secure

    def once_it_is_reset(wire: Wire) -> None:
        ended = select.poll()
        ended.register(wire.sock or -1, 0)
        assert ended.poll(30_000)
        secure(wire)

    monkeypatch.setattr(Wire, "secure", once_it_is_reset)
    with ScriptedSmtp(answers={"CONNECT": RESET}) as server, pytest.raises(TransientError, match="connect: "):
        make(f"smtps://127.0.0.1:{server.port}").send(outbound())
    gc.collect()


def fails(*_: object, **__: object) -> Any:
    raise LookupError("ada@example.com")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (smtp_module, "build_mail"),
        (ssl, "create_default_context"),
        (Wire, "open"),
        (Wire, "has_extn"),
        (Wire, "send_body"),
    ],
)
def test_an_unexpected_error_before_the_dot_is_transient_and_names_no_recipient(
    make: Make, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    with ScriptedSmtp() as server:
        provider = make(f"smtp+starttls://127.0.0.1:{server.port}" if owner is ssl else server.url)
        monkeypatch.setattr(owner, name, fails)
        with pytest.raises(TransientError, match="internal: unexpected LookupError") as raised:
            provider.send(outbound())
        assert "ada" not in str(raised.value)
        assert server.mails == []


def test_an_unexpected_error_after_the_dot_is_ambiguous(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline takes for ambiguous whatever is no DeliveryError."""
    with ScriptedSmtp() as server:
        provider = make(server.url)
        reply = Wire.getreply

        def breaks(wire: Wire) -> tuple[int, bytes]:
            said = reply(wire)
            return fails() if server.mails else said

        monkeypatch.setattr(Wire, "getreply", breaks)
        with pytest.raises(LookupError):
            provider.send(outbound())
        assert len(server.mails) == 1


# --- the size ---------------------------------------------------------------------------------------------------------


def test_a_mail_that_is_larger_than_the_server_takes_is_not_sent(make: Make) -> None:
    with ScriptedSmtp(features=("SIZE 300", "PIPELINING")) as server:
        with pytest.raises(PermanentError, match=r"too_large: the mail has .* bytes; the server takes 300"):
            make(server.url).send(outbound(EmailContent(subject="s", text="x" * 200)))
        assert "MAIL" not in server.verbs


@pytest.mark.parametrize("feature", ["SIZE 0", "SIZE", "SIZE many"])
def test_a_server_without_a_limit_takes_any_size(make: Make, feature: str) -> None:
    with ScriptedSmtp(features=(feature,)) as server:
        make(server.url).send(outbound())
        assert len(server.mails) == 1


def test_doubled_dots_count_once(make: Make) -> None:
    content = EmailContent(subject="s", text="\n".join("." * 5 for _ in range(50)))
    with ScriptedSmtp() as server:
        make(server.url).send(outbound(content))
        size = len(server.mails[0].replace(b"\r\n..", b"\r\n."))
        assert f"SIZE={size}" in next(line for line in server.lines if line.startswith("MAIL"))
    with ScriptedSmtp(features=(f"SIZE {size}",)) as server:
        make(server.url).send(outbound(content))
        assert len(server.mails) == 1


# --- the server's own words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("250 2.0.0 Ok: queued as 4XyZ", "2.0.0 Ok: queued as 4XyZ"),
        ("250-2.0.0 two\r\n250 lines", "2.0.0 two lines"),
        ("250 OK for ada@example.com", "OK for <address>"),
        ("250 " + "x" * 500, "x" * 200),
        ("250", None),
    ],
)
def test_the_servers_words_with_the_acceptance_are_kept(make: Make, said: str, kept: str | None) -> None:
    with ScriptedSmtp(answers={"DOT": said}) as server:
        receipt = make(server.url).send(outbound())
    assert (receipt.provider_message_id, receipt.response) == ("<0193-a@example.org>", kept)


# --- the emulated server ----------------------------------------------------------------------------------------------


def test_the_emulated_server_provokes_what_users_must_see(make: Make, tmp_path: Path) -> None:
    with emulator(tmp_path, "--smtp-idle", "1", "--smtp-size", "5000") as running:
        provider = make(running.smtp_url)
        receipt = provider.send(outbound())
        (arrived,) = running.client.inbox("email")
        assert receipt.response == f"2.0.0 OK: queued as {arrived['provider_message_id']}"
        time.sleep(1.5)  # it has said 451 4.4.2 meanwhile, and hung up
        provider.send(outbound())
        assert running.client.totals()["email"] == 2
        ends: dict[str, DeliveryError] = {}
        for local in ("unknown", "full", "denied", "policy", "spam"):
            with pytest.raises(DeliveryError) as raised:
                provider.send(SendRequest(id="1", attempt=1, recipient=f"{local}@example.com", content=TEXT))
            ends[local] = raised.value
        assert {local: type(error) for local, error in ends.items()} == {
            "unknown": PermanentError,
            "full": TransientError,
            "denied": PermanentError,
            "policy": TransientError,
            "spam": PermanentError,
        }
        assert getattr(ends["policy"], "may_be_account", None)
        with pytest.raises(PermanentError, match="too_large"):
            provider.send(outbound(EmailContent(subject="s", text="long " * 1000)))

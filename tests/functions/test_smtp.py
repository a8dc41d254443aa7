"""SMTP: what each reply means at each stage, the pool, and the mail itself."""

import base64
import email
import email.policy
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidings.config.settings import load
from tidings.domain.channels import Attachment, EmailContent, SmsContent
from tidings.domain.errors import (
    AccountError,
    AmbiguousError,
    ConfigurationError,
    DeliveryError,
    PermanentError,
    TransientError,
)
from tidings.pipeline.delivery import RESERVED
from tidings.ports import SendRequest
from tidings.providers.smtp.mime import build_mail
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.replies import masked, refusal
from tidings.providers.smtp.settings import SmtpSettings
from tidings.providers.smtp.stages import Parties, Reply, Stage
from tidings.runtime.container import DeliverySettings

from tests.functions.scripted import CLOSE, DRIP, HANG, RESET, ScriptedSmtp, refusing_port, server_context
from tests.scenarios.caller import wait_for

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEXT = EmailContent(subject="Shipped", text="Your order is on its way.")


def outbound(content: EmailContent = TEXT, recipient: str = "ada@example.com", id: str = "0193-a") -> SendRequest:
    return SendRequest(id=id, attempt=1, recipient=recipient, content=content)


Make = Callable[..., SmtpProvider]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make a provider for a URL; all are closed afterwards."""
    made: list[SmtpProvider] = []

    def provider(url: str, **changed: Any) -> SmtpProvider:
        given = {"sender": "Shop <shop@example.org>", "timeout": 20.0, **changed}
        made.append(SmtpProvider(SmtpSettings(url=url, **given), now=lambda: NOW))
        return made[-1]

    yield provider
    for one in made:
        one.close()


# --- what a reply means -----------------------------------------------------------------------------------------------

# docs/failures.md has every reply with its class (see test_smtp_replies.py); here is what no table shows.


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("550 5.1.1 no such user", "5.1.1"),
        ("550 #5.1.1 no such user", "5.1.1"),
        ("550 [5.1.1] no such user", "5.1.1"),
        ("550 sorry, no mailbox here by that name. (#5.1.1)", "5.1.1"),
        ("550 the first line\n5.1.1 and the second", "5.1.1"),
        ("550 5.1.10 no mail is taken there", "5.1.10"),
        ("550 no", "550"),
        ("550 4.1.1 another class", "550"),
        ("550 [5.1.1.2] is an IP address", "550"),
        ("550 version 5.1.1 of our rules", "550"),
        ("450 #4.2.1 later", "4.2.1"),
    ],
)
def test_the_enhanced_code_is_found_wherever_servers_write_it(line: str, code: str) -> None:
    number, text = line.split(" ", 1)
    error = refusal(Stage.RCPT, Reply(int(number), text.encode()), suppress=True)
    assert error.code == code
    assert getattr(error, "suppress", None) == ("mailbox_unknown" if code in ("5.1.1", "5.1.10") else None)


def test_amazons_sandbox_says_of_a_recipient_what_it_says_of_a_sender() -> None:
    """Its "identities" are addresses of both sides, and a stranger's is no fault of the account that others share."""
    parties = Parties(sender="shop@example.org", recipients=("ada@example.com",))
    said = "Message rejected: Email address is not verified. The following identities failed the check: "
    kinds = [
        type(refusal(Stage.DOT, Reply(554, f"{said}{identities}".encode()), parties))
        for identities in ("shop@example.org", "shop@example.org, ada@example.com", "ada@example.com")
    ]
    assert kinds == [AccountError, AccountError, TransientError]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(
    ("verb", "answer", "kind"),
    [
        ("CONNECT", "554 5.7.1 blocked", AccountError),
        ("CONNECT", "421 busy", TransientError),
        ("EHLO", "421 busy", TransientError),
        ("MAIL", "451 4.3.0 later", TransientError),
        ("MAIL", "550 5.7.1 not your address", AccountError),
        ("RCPT", "550 5.1.1 no such user", PermanentError),
        ("RCPT", "451 4.7.1 greylisted", TransientError),
        ("DATA", "451 4.3.0 later", TransientError),
        ("DATA", "554 5.5.1 no valid recipients", PermanentError),
        ("DOT", "451 4.3.0 later", TransientError),
        ("DOT", "554 5.7.1 spam", PermanentError),
        ("DOT", "nonsense", AmbiguousError),
        *((verb, CLOSE, TransientError) for verb in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA")),
        *((verb, HANG, TransientError) for verb in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA")),
        *((verb, DRIP, TransientError) for verb in ("CONNECT", "MAIL", "DATA")),
        *(("DOT", how, AmbiguousError) for how in (CLOSE, RESET, HANG, DRIP)),
    ],
)
def test_only_what_happens_after_the_final_dot_is_ambiguous(
    make: Make, verb: str, answer: str, kind: type[DeliveryError], pipelining: bool
) -> None:
    features = ("PIPELINING",) if pipelining else ()
    # Short only where the time runs out; and not too short for a busy machine to come as far as the dot.
    limit = {"timeout": 3.0 if verb == "DOT" else 0.4} if answer in (HANG, DRIP) else {}
    with ScriptedSmtp(answers={verb: answer}, features=features) as server:
        began = time.monotonic()
        with pytest.raises(DeliveryError) as raised:
            make(server.url, **limit).send(outbound())
        assert time.monotonic() - began < 15  # the server is silent for 20, and drips for ever
        assert type(raised.value) is kind
        if not raised.value.message.startswith(Stage.CONNECT):  # a busy machine may have no time left to connect
            wait_for(lambda: server.connections)  # whose time ran out may be gone before it was let in
        assert server.connections <= 1  # never tried again by itself


def test_a_connection_lost_in_the_body_carried_no_mail(make: Make, big_email: EmailContent) -> None:
    with ScriptedSmtp(answers={"BODY": RESET}) as server, pytest.raises(TransientError, match="connection_lost"):
        make(server.url).send(outbound(big_email))  # it breaks while we write
    assert server.mails == []


def test_a_refused_connection_is_transient(make: Make) -> None:
    with pytest.raises(TransientError, match="connect"):
        make(f"smtp://127.0.0.1:{refusing_port()}").send(outbound())


def test_a_name_that_does_not_resolve_is_transient(make: Make) -> None:
    with pytest.raises(TransientError, match="connect"):
        make("smtp://no-such-host.invalid").send(outbound())


def test_no_address_appears_in_an_error(make: Make) -> None:
    reply = "550 5.1.1 <ada@example.com>: Recipient ada unknown, ask postmaster@example.org"
    with ScriptedSmtp(answers={"RCPT": reply}) as server, pytest.raises(PermanentError) as raised:
        make(server.url).send(outbound())
    assert "ada" not in str(raised.value)
    assert "@" not in str(raised.value)
    assert "unknown" in str(raised.value)


def test_an_errors_text_is_one_short_line() -> None:
    assert masked("a\r\nb\tc " + "x" * 500) == ("a b c " + "x" * 500)[:200]


# --- several recipients -----------------------------------------------------------------------------------------------

MANY = EmailContent(subject="All", text="Hello", cc=("bob@example.com",), bcc=("eve@example.com",))


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
def test_a_refused_cc_refuses_the_mail_for_all_and_blames_nobody(make: Make, features: tuple[str, ...]) -> None:
    answers: dict[str, str | list[str]] = {"RCPT": ["250 OK", "550 5.1.1 no such user", "250 OK"]}
    with ScriptedSmtp(answers=answers, features=features) as server:
        with pytest.raises(PermanentError) as raised:
            make(server.url).send(outbound(MANY))
        assert raised.value.suppress is None
        assert server.mails == []
        assert "DATA" not in server.verbs
        assert server.verbs[-1] == "RSET"


def test_a_refused_to_is_suppressed_though_the_cc_was_fine(make: Make) -> None:
    with ScriptedSmtp(answers={"RCPT": ["550 5.1.1 no such user"]}) as server, pytest.raises(PermanentError) as raised:
        make(server.url).send(outbound(MANY))
    assert raised.value.suppress == "mailbox_unknown"


def test_every_recipient_is_in_the_envelope_and_bcc_in_no_header(make: Make) -> None:
    with ScriptedSmtp() as server:
        make(server.url).send(outbound(MANY))
        for name in ("ada", "bob", "eve"):
            assert f"RCPT TO:<{name}@example.com>" in server.lines
        assert b"eve" not in server.mails[0]
        assert b"Cc: bob@example.com" in server.mails[0]


def test_a_server_that_waits_for_a_mail_without_recipients_gets_none(make: Make) -> None:
    with ScriptedSmtp(answers={"RCPT": ["550 5.1.1 no"]}) as server:  # and DATA, said ahead, is answered 354
        provider = make(server.url)
        with pytest.raises(PermanentError):
            provider.send(outbound())
        provider.send(outbound(id="0193-b"))
        assert server.connections == 2
        assert len(server.mails) == 1
        assert b"0193-b" in server.mails[0]


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_a_server_that_refuses_and_hangs_up_has_refused(make: Make, verb: str) -> None:
    follows = {"MAIL": "RCPT", "RCPT": "DATA"}[verb]
    with ScriptedSmtp(answers={verb: "554 5.7.1 go away", follows: CLOSE}) as server:
        with pytest.raises(DeliveryError, match="go away"):
            make(server.url).send(outbound())
        assert server.connections == 1


# --- connections ------------------------------------------------------------------------------------------------------


def test_a_mail_on_a_kept_connection_costs_two_round_trips(make: Make) -> None:
    with ScriptedSmtp() as server:
        provider = make(server.url)
        provider.send(outbound())
        server.bursts.clear()
        provider.send(outbound())
        assert server.connections == 1
        commands = server.bursts[0].decode().split("\r\n")
        assert [command.split(":")[0] for command in commands] == ["MAIL FROM", "RCPT TO", "DATA", ""]


def test_without_pipelining_each_command_waits_for_its_answer(make: Make) -> None:
    with ScriptedSmtp(features=()) as server:
        make(server.url).send(outbound())
        assert server.mails
        assert all(burst.count(b"\r\n") == 1 for burst in server.bursts[:4])


def test_a_connection_serves_on_after_a_refusal(make: Make) -> None:
    with ScriptedSmtp(answers={"RCPT": ["550 5.1.1 no"], "DATA": ["503 no recipients"]}) as server:
        provider = make(server.url)
        with pytest.raises(PermanentError):
            provider.send(outbound())
        provider.send(outbound())
        assert server.connections == 1


def test_a_connection_closed_by_an_idle_server_is_replaced(make: Make) -> None:
    with ScriptedSmtp() as server:
        provider = make(server.url)
        provider.send(outbound())
        server.hang_up()
        provider.send(outbound())
        assert (server.connections, len(server.mails)) == (2, 2)


@pytest.mark.parametrize("farewell", ["421 4.4.2 idle too long", CLOSE, RESET])
def test_a_connection_that_is_over_when_used_again_is_replaced(make: Make, farewell: str) -> None:
    with ScriptedSmtp(answers={"MAIL": ["250 OK", farewell]}) as server:
        provider = make(server.url)
        provider.send(outbound())
        provider.send(outbound())
        assert (server.connections, len(server.mails)) == (2, 2)


def test_a_connection_is_replaced_once_and_no_more(make: Make) -> None:
    with ScriptedSmtp(answers={"MAIL": ["250 OK", CLOSE, CLOSE, CLOSE]}) as server:
        provider = make(server.url)
        provider.send(outbound())
        with pytest.raises(TransientError):
            provider.send(outbound())
        assert server.connections == 2


def test_a_connection_unused_for_too_long_is_not_used_again(make: Make) -> None:
    with ScriptedSmtp() as server:
        provider = make(server.url, idle=0.01)
        provider.send(outbound())
        time.sleep(0.05)
        provider.send(outbound())
        assert server.connections == 2
        wait_for(lambda: "QUIT" in server.verbs)  # which nobody waits for an answer to


def test_a_server_that_restarts_costs_no_mail(make: Make) -> None:
    with ScriptedSmtp() as server:
        provider = make(server.url)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: provider.send(outbound(id=str(n))), range(20)))
            server.hang_up()
            list(pool.map(lambda n: provider.send(outbound(id=str(n))), range(20)))
        assert len(server.mails) == 40


def test_there_are_never_more_connections_than_allowed(make: Make) -> None:
    with ScriptedSmtp() as server:
        provider = make(server.url, connections=2)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: provider.send(outbound(id=str(n))), range(60)))
        assert len(server.mails) == 60
        assert server.most <= 2
        assert server.connections <= 2


@pytest.mark.parametrize("setting", ["command_timeout", "timeout"])
def test_a_mail_that_finds_no_free_connection_in_time_is_transient(make: Make, setting: str) -> None:
    with ScriptedSmtp() as server:
        provider = make(server.url, connections=1, **{setting: 1.0})
        with provider._slots, pytest.raises(TransientError, match="busy: no connection became free within 1 s"):
            provider.send(outbound())  # another mail has it
        assert server.connections == 0
        provider.send(outbound())


def test_close_says_goodbye_and_the_next_mail_connects_again(make: Make) -> None:
    with ScriptedSmtp() as server:
        provider = make(server.url)
        provider.send(outbound())
        provider.close()
        provider.send(outbound())
        assert server.connections == 2
        wait_for(lambda: "QUIT" in server.verbs)  # which nobody waits for an answer to


def test_the_constructor_opens_nothing(make: Make) -> None:
    with ScriptedSmtp() as server:
        make(server.url)
        assert server.connections == 0


# --- login and encryption ---------------------------------------------------------------------------------------------


def with_login(server: ScriptedSmtp, scheme: str = "smtp") -> str:
    return f"{scheme}://ada%40relay:s%2Fcret@127.0.0.1:{server.port}"


def test_the_login_is_said_before_the_first_mail(make: Make) -> None:
    with ScriptedSmtp(features=("AUTH PLAIN", "PIPELINING")) as server:
        make(with_login(server)).send(outbound())
        said = next(line for line in server.lines if line.startswith("AUTH PLAIN "))
        assert base64.b64decode(said.split(" ")[2]) == b"\0ada@relay\0s/cret"


def test_a_wrong_password_is_our_accounts_fault(make: Make) -> None:
    with (
        ScriptedSmtp(features=("AUTH PLAIN LOGIN",), answers={"AUTH": "535 5.7.8 no, ada@relay"}) as server,
        pytest.raises(AccountError, match=r"5\.7\.8") as raised,
    ):
        make(with_login(server)).send(outbound())
    assert "ada" not in str(raised.value)
    assert "cret" not in str(raised.value)


def test_a_login_that_the_server_does_not_offer_is_our_accounts_fault(make: Make) -> None:
    with ScriptedSmtp() as server, pytest.raises(AccountError, match="not_supported"):
        make(with_login(server)).send(outbound())


def test_a_login_that_fails_for_now_is_transient(make: Make) -> None:
    answers: dict[str, str | list[str]] = {"AUTH": "454 4.7.0 come later"}
    with ScriptedSmtp(features=("AUTH PLAIN",), answers=answers) as server, pytest.raises(TransientError):
        make(with_login(server)).send(outbound())


def test_required_encryption_that_is_not_offered_stops_before_the_login(make: Make) -> None:
    with ScriptedSmtp(features=("AUTH PLAIN",)) as server:
        with pytest.raises(AccountError, match="not_supported"):
            make(with_login(server, "smtp+starttls")).send(outbound())
        assert server.verbs == ["CONNECT", "EHLO"]


def test_encryption_that_fails_for_now_is_transient(make: Make, certificate: tuple[Path, Path]) -> None:
    with (
        ScriptedSmtp(tls=server_context(certificate), answers={"STARTTLS": "454 4.7.0 not now"}) as server,
        pytest.raises(TransientError),
    ):
        make(with_login(server, "smtp+starttls")).send(outbound())


def test_an_untrusted_certificate_is_refused(make: Make, certificate: tuple[Path, Path]) -> None:
    with ScriptedSmtp(tls=server_context(certificate)) as server, pytest.raises(AccountError, match="certificate"):
        make(with_login(server, "smtp+starttls")).send(outbound())


def test_the_mail_goes_encrypted_where_the_certificate_is_trusted(make: Make, certificate: tuple[Path, Path]) -> None:
    with ScriptedSmtp(tls=server_context(certificate), features=("AUTH PLAIN", "PIPELINING")) as server:
        provider = make(with_login(server, "smtp+starttls"), ca_file=str(certificate[0]))
        provider.send(outbound())
        provider.send(outbound())
        assert len(server.mails) == 2
        assert server.verbs[:5] == ["CONNECT", "EHLO", "STARTTLS", "EHLO", "AUTH"]


def test_implicit_tls_meets_a_server_that_speaks_plainly(make: Make) -> None:
    with ScriptedSmtp() as server, pytest.raises(TransientError):
        make(f"smtps://127.0.0.1:{server.port}").send(outbound())


# --- the mail ---------------------------------------------------------------------------------------------------------


def raw(content: EmailContent = TEXT, sender: str = "Shop <shop@example.org>", id: str = "0193-a") -> bytes:
    return build_mail(outbound(content, id=id), sender=sender, domain="example.org", date=NOW).data


def parsed(data: bytes) -> EmailMessage:
    undotted = data.replace(b"\r\n..", b"\r\n.")  # as the server does
    message = email.message_from_bytes(undotted, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def said(part: Any) -> str:
    """A text part's text; the last line end may be the mail's own."""
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n").removesuffix("\n")


def test_a_plain_mail_reads_as_it_should() -> None:
    assert raw().decode().split("\r\n") == [
        "Message-ID: <0193-a@example.org>",
        "Date: Fri, 02 Jan 2026 03:04:05 +0000",
        "From: Shop <shop@example.org>",
        "To: ada@example.com",
        "Subject: Shipped",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
        "",
        "Your order is on its way.",
        "",
    ]


def test_every_attempt_carries_the_same_message_id(make: Make) -> None:
    with ScriptedSmtp(answers={"DOT": ["451 later"]}) as server:
        provider = make(server.url)
        with pytest.raises(TransientError):
            provider.send(outbound())
        receipt = provider.send(outbound())
        assert receipt.provider_message_id == "<0193-a@example.org>"
        assert all(b"Message-ID: <0193-a@example.org>\r\n" in mail for mail in server.mails)
        assert len(server.mails) == 2


def test_the_contents_own_sender_is_used_and_the_message_id_stays() -> None:
    content = EmailContent(subject="s", text="t", from_="Sales <sales@example.net>", reply_to="help@example.net")
    mail = build_mail(outbound(content), sender="shop@example.org", domain="example.org", date=NOW)
    assert (mail.parties.sender, mail.message_id) == ("sales@example.net", "<0193-a@example.org>")
    message = parsed(mail.data)
    assert message["From"] == "Sales <sales@example.net>"
    assert message["Reply-To"] == "help@example.net"


words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=200)


@settings(max_examples=150)
@given(subject=words, header=words, text=st.text(st.characters(exclude_categories=["Cs"]), max_size=1500))
def test_whatever_is_said_arrives_as_it_was_said(subject: str, header: str, text: str) -> None:
    data = raw(EmailContent(subject=subject, text=text, headers={"X-Note": header}))
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\r" not in data.replace(b"\r\n", b"")
    message = parsed(data)
    assert [message["Subject"].strip(), message["X-Note"].strip()] == [subject.strip(), header.strip()]
    assert said(message) == text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")


@pytest.mark.parametrize("text", [".", ".\n..\n...", "a\n.\nb", "\n.\n"])
def test_lines_of_dots_survive_the_wire(make: Make, text: str) -> None:
    with ScriptedSmtp() as server:
        make(server.url).send(outbound(EmailContent(subject="s", text=text)))
        assert len(server.mails) == 1
        assert said(parsed(server.mails[0])) == text.removesuffix("\n")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain", "7bit"),
        ("Grüße und ein längerer deutscher Satz, der kaum Umlaute hat", "quoted-printable"),
        ("日本語だけの本文", "base64"),
        ("x" * 999, "quoted-printable"),
        ("a\0b and some more text so that it pays", "quoted-printable"),
    ],
)
def test_the_shortest_encoding_is_chosen(text: str, encoding: str) -> None:
    message = parsed(raw(EmailContent(subject="s", text=text)))
    assert message["Content-Transfer-Encoding"] == encoding
    assert said(message) == text


def test_text_and_html_are_alternatives_and_files_are_mixed_in() -> None:
    pdf = base64.b64encode(bytes(range(256)) * 5).decode()
    files = (
        Attachment(filename='the "bill".pdf', content_type="application/pdf", content=pdf),
        Attachment(filename="Rechnung für März, eine lange Geschichte in vielen Worten.pdf", content=pdf),
    )
    message = parsed(raw(EmailContent(subject="s", text="text\n", html="<b>für</b>", attachments=files)))
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/pdf",
        "application/octet-stream",
    ]
    assert all(not part.defects for part in message.walk())
    assert [part.get_filename() for part in message.iter_attachments()] == [file.filename for file in files]
    assert all(part.get_content() == bytes(range(256)) * 5 for part in message.iter_attachments())
    assert said(message.get_body(("plain",))) == "text"
    assert said(message.get_body(("html",))) == "<b>für</b>"


@pytest.mark.parametrize(
    "mailbox",
    [
        "Shop <a@b.org>",
        "Doe, John <a@b.org>",
        'The "Shop" <a@b.org>',
        "Jürgen Groß <a@b.org>",
        "日本語" * 20 + " <a@b.org>",
    ],
)
def test_a_senders_name_survives(mailbox: str) -> None:
    # The older parser: the newer one of Python 3.11 puts spaces between the encoded words of one name.
    old = email.message_from_bytes(raw(sender=mailbox))["From"]
    name, address = parseaddr(old)
    assert (str(make_header(decode_header(name))), address) == (mailbox.removesuffix(" <a@b.org>"), "a@b.org")


def test_fifty_copies_are_folded() -> None:
    cc = tuple(f"someone.with.a.long.name.{n}@example.com" for n in range(50))
    message = parsed(raw(EmailContent(subject="s", text="t", cc=cc)))
    assert tuple(address.addr_spec for address in message["Cc"].addresses) == cc


INJECTION = "x\r\nBcc: eve@example.com"


@pytest.mark.parametrize(
    "bad",
    [
        {"subject": INJECTION},
        {"headers": {"X-A": INJECTION}},
        {"headers": {"X-A\r\nBcc": "eve@example.com"}},
        {"from_": f"{INJECTION} <a@example.com>"},
        {"from_": "a@example.com>\r\nRCPT TO:<eve@example.com"},
        {"reply_to": "a@example.com\nBcc: eve@example.com"},
        {"cc": ("a@example.com>\r\nRCPT TO:<eve@example.com",)},
        {"bcc": ("a@example.com\r\n",)},
        {"attachments": (Attachment.model_construct(filename=INJECTION, content_type="a/b", content=""),)},
        {"attachments": (Attachment.model_construct(filename="x", content_type=INJECTION, content=""),)},
    ],
    ids=lambda bad: next(iter(bad)),
)
def test_a_line_break_in_a_header_or_address_is_refused_whatever_let_it_through(bad: dict[str, Any]) -> None:
    content = EmailContent.model_construct(**{**TEXT.__dict__, **bad})
    with pytest.raises(PermanentError) as raised:
        raw(content)
    assert "eve" not in str(raised.value)


@pytest.mark.parametrize(
    "recipient", ["a b@example.com", "<a@example.com>", "a@example.com\r\nDATA", "jürgen@example.com"]
)
def test_a_recipient_that_could_end_the_command_is_refused(recipient: str) -> None:
    with pytest.raises(PermanentError):
        build_mail(outbound(recipient=recipient), sender="a@b.org", domain="b.org", date=NOW)


def test_an_attached_mail_is_refused_rather_than_broken() -> None:
    file = Attachment.model_construct(filename="a.eml", content_type="message/rfc822", content="")
    with pytest.raises(PermanentError, match="content_type"):
        raw(EmailContent.model_construct(**{**TEXT.__dict__, "attachments": (file,)}))


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(PermanentError, match="encoded"):
        raw(EmailContent.model_construct(**{**TEXT.__dict__, "text": "\ud800"}))


def test_content_of_another_channel_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        build_mail(
            SendRequest(id="1", attempt=1, recipient="a@b.org", content=SmsContent(text="t")),
            sender="a@b.org",
            domain="b.org",
            date=NOW,
        )


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("URL", "http://host"),
        ("URL", "smtp://"),
        ("URL", "smtp://host:port"),
        ("URL", "smtp://host/path"),
        ("URL", "smtp://user:p#ss@host"),
        ("URL", "smtp://user:pässword-secret@host"),
        ("SENDER", "not an address"),
        ("TIMEOUT", "0"),
        ("TIMEOUT", "3601"),
        ("CONNECT_TIMEOUT", "0"),
        ("COMMAND_TIMEOUT", "0"),
        ("DATA_TIMEOUT", "-1"),
        ("BLOCK_TIMEOUT", "soon"),
        ("DOT_TIMEOUT", "0"),
        ("CONNECTIONS", "none"),
        ("CA_FILE", "/no/such/file"),
        ("MESSAGE_ID_DOMAIN", "a b"),
        ("EHLO_NAME", "localhost"),
        ("EHLO_NAME", "mail.example.org\r\nRSET"),
        ("EHLO_NAME", "-.example.org"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(variable: str, value: str) -> None:
    environment = {"TIDINGS_SMTP_URL": "smtp://host", "TIDINGS_SMTP_SENDER": "a@b.org"}
    with pytest.raises(ConfigurationError, match=f"^TIDINGS_SMTP_{variable}: .+") as raised:
        load(SmtpSettings, {**environment, f"TIDINGS_SMTP_{variable}": value})
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_password_is_decoded_and_never_shown() -> None:
    loaded = load(
        SmtpSettings,
        {"TIDINGS_SMTP_URL": "smtp+starttls://u%40x:p%23ss@host", "TIDINGS_SMTP_SENDER": "Shop <a@b.org>"},
    )
    assert (loaded.server.user, loaded.server.password, loaded.server.port) == ("u@x", "p#ss", 587)
    assert loaded.domain == "b.org"
    assert "p%23ss" not in repr(loaded)
    assert "p#ss" not in repr(loaded.server)


def test_by_default_a_postfix_lets_all_connections_in() -> None:
    assert SmtpSettings.model_fields["connections"].default <= 50  # smtpd_client_connection_count_limit


def test_by_default_there_is_a_connection_for_every_call_the_reserved_included() -> None:
    calls = DeliverySettings.model_fields["concurrency"].default + RESERVED
    assert SmtpSettings.model_fields["connections"].default >= calls

"""Bounces and complaints of plain SMTP: the return path, what is read in a returned mail, and how it comes in."""

import asyncio
import smtplib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tidings.adapters.sql.returned_mails import MAX_SIZE, SqlReturnedMails
from tidings.adapters.sql.schema import returned_mails
from tidings.config.settings import load
from tidings.domain.channels import EmailContent
from tidings.domain.errors import ConfigurationError, StoreUnavailable
from tidings.domain.notification import Notification, Status
from tidings.domain.receipt import Receipt, ReceiptKind
from tidings.observability import logging as tidings_logging
from tidings.ports import SendRequest, Settlement
from tidings.providers.callbacks import CallbackAddresses
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.receipts import ReturnedMail, SmtpReceipts, Verdict
from tidings.providers.smtp.return_path import ReturnPath, ReturnPathSettings, return_path
from tidings.providers.smtp.settings import SmtpSettings
from tidings.runtime.bounces.__main__ import main
from tidings.runtime.bounces.listener import LONGEST, listen
from tidings.runtime.bounces.mailbox import Mailbox, MailboxUnavailable, account
from tidings.runtime.bounces.mailroom import Mailroom, NotTaken
from tidings.runtime.bounces.poller import Poller
from tidings.runtime.container import Container

from tests import make
from tests.functions.scripted import ScriptedSmtp
from tests.functions.scripted_imap import ScriptedImap
from tests.functions.served import Lines
from tests.wait import eventually

SAMPLES = sorted((Path(__file__).parent / "mails").glob("*.eml"))
SECRET = b"s" * 32
HOME = ReturnPath(domain="bounces.example.com", secrets=[SECRET])
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = "0193b0c8-6f5e-7abc-8def-0123456789ab"
KINDS = {
    "hard": ReceiptKind.FAILED_HARD,
    "soft": ReceiptKind.FAILED_SOFT,
    "accepted": ReceiptKind.ACCEPTED,
    "delivered": ReceiptKind.DELIVERED,
    "complained": ReceiptKind.COMPLAINED,
    "opted_out": ReceiptKind.OPTED_OUT,
}


def request(**changes: Any) -> SendRequest:
    content = EmailContent(subject="Your order", text="It is on its way.")
    return SendRequest(**{"id": ID, "attempt": 2, "recipient": "ada@example.org", "content": content, **changes})


def address(recipients: int = 1, *, of: ReturnPath = HOME, **changes: Any) -> str:
    back = of.back(request(**changes), recipients)
    assert back is not None
    return back.address


def sample(name: str, path: str) -> bytes:
    return (Path(__file__).parent / "mails" / f"{name}.eml").read_bytes().replace(b"@RETURN_PATH@", path.encode())


def parse(content: bytes, recipient: str | None = None) -> tuple[Verdict, Receipt | None]:
    reading = SmtpReceipts(HOME).parse(ReturnedMail(content=content, recipient=recipient, at=NOW))
    return reading.verdict, reading.receipt


# --- the return path --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", [HOME, ReturnPath(domain="example.com", local="bounces-001", secrets=[SECRET])])
def test_a_return_path_names_its_attempt_in_any_case_and_within_64_characters(of: ReturnPath) -> None:
    for changes in ({}, {"generation": 65535, "attempt": 65535}):
        given = address(of=of, **changes)
        assert len(given.partition("@")[0]) <= 64
        for written in (given, given.upper(), given.lower(), f"prvs=0123456789={given}", f"SRS0=ab=cd=x={given}"):
            mark = of.find(written)
            assert mark is not None
            wanted = request(**changes)
            assert (mark.notification_id, mark.generation, mark.attempt) == (ID, wanted.generation, wanted.attempt)
        assert of.takes(given.upper())


def test_a_return_path_cannot_be_made_up() -> None:
    given = address()
    other = ReturnPath(domain="bounces.example.com", secrets=[b"t" * 32])
    assert other.find(given) is None
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    for place in (0, 26, 30, 36, 51):
        changed = letters[letters.index(given[place]) ^ 16]
        assert HOME.find(given[:place] + changed + given[place + 1 :]) is None
    callback = CallbackAddresses(base="https://x", secrets=[SECRET]).for_attempt("smtp", request())
    assert HOME.find(callback) is None


def test_return_paths_made_with_an_earlier_secret_stay_valid() -> None:
    """A bounce may come days after its mail."""
    changed = ReturnPath(domain="bounces.example.com", secrets=[b"t" * 32, SECRET])
    given = HOME.back(request(), 2)
    assert given is not None
    mark = changed.find(given.address)
    assert mark is not None
    assert changed.is_about(mark, request().recipient)
    assert not changed.is_about(mark, "copy@example.com")
    assert changed.address(str(changed.mark(request(), 2))) != given.address


def test_what_a_mark_cannot_hold_goes_without() -> None:
    assert HOME.back(request(attempt=65536), 1) is None
    assert HOME.back(request(id="no-uuid"), 1) is None


@pytest.mark.parametrize(
    "stranger", ["ada@example.org", "ada@bounces.example.com", "a@b@bounces.example.com", "", f"{'a' * 52}@example.com"]
)
def test_only_return_paths_and_the_address_for_complaints_are_ours(stranger: str) -> None:
    assert not HOME.takes(stranger)
    assert HOME.takes("feedback@Bounces.example.com")
    plus = ReturnPath(domain="example.com", local="bounces", secrets=[SECRET])
    assert plus.takes("BOUNCES@example.com")
    assert not plus.takes("bounces+x@example.com")
    assert not plus.takes(address())


def test_the_settings_name_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDINGS_RECEIPTS_SECRET", raising=False)
    assert return_path() is None
    monkeypatch.setenv("TIDINGS_SMTP_RETURN_PATH", "bounces@example.com")
    with pytest.raises(ConfigurationError, match="TIDINGS_RECEIPTS_SECRET"):
        return_path()
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", "s" * 32)
    found = return_path()
    assert found is not None
    assert (found.local, found.domain, found.report_deliveries) == ("bounces", "example.com", False)
    for wrong in ("a-long-name-of-bounces@example.com", "@example.com", "https://example.com", "b+c@example.com"):
        with pytest.raises(ConfigurationError, match="TIDINGS_SMTP_RETURN_PATH"):
            load(ReturnPathSettings, {"TIDINGS_SMTP_RETURN_PATH": wrong})


def dialogue(features: Sequence[str], of: ReturnPath | None) -> list[str]:
    """MAIL and RCPT as the server gets them."""
    with ScriptedSmtp(features=(*features,)) as server:
        settings = SmtpSettings(url=server.url, sender="Shop <shop@example.org>", timeout=20)
        with closing(SmtpProvider(settings, return_path=of)) as provider:
            provider.send(request(recipient="ada+x@example.org"))
        return [line for line in server.lines if line.startswith(("MAIL", "RCPT"))]


def test_a_server_with_dsn_is_asked_to_report() -> None:
    of = ReturnPath(domain="bounces.example.com", secrets=[SECRET], report_deliveries=True)
    path = address(recipient="ada+x@example.org")
    assert dialogue(["PIPELINING", "DSN"], of) == [
        f"MAIL FROM:<{path}> RET=HDRS ENVID={path.partition('@')[0]}",
        "RCPT TO:<ada+x@example.org> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;ada+2Bx@example.org",
    ]
    assert "NOTIFY=FAILURE,DELAY " in dialogue(["DSN"], HOME)[1]


def test_a_server_without_dsn_gets_the_return_path_alone() -> None:
    path = address(recipient="ada+x@example.org")
    assert dialogue(["PIPELINING"], HOME) == [f"MAIL FROM:<{path}>", "RCPT TO:<ada+x@example.org>"]
    assert dialogue(["DSN"], None) == ["MAIL FROM:<shop@example.org>", "RCPT TO:<ada+x@example.org>"]


# --- what a returned mail says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_sample_is_read_as_its_name_says(file: Path, line_end: bytes) -> None:
    content = sample(file.stem, address()).replace(b"\n", line_end)
    verdict, receipt = parse(content, recipient=address() if "cpython" in file.stem else None)
    expected = file.stem.partition("-")[0]
    if expected not in KINDS:
        assert (verdict, receipt) == (Verdict(expected), None)
        return
    assert verdict is Verdict.RECEIPT
    assert receipt is not None
    assert (receipt.kind, receipt.notification_id, receipt.generation, receipt.attempt) == (KINDS[expected], ID, 1, 2)
    assert (receipt.code is None) == (expected in ("accepted", "delivered"))
    assert "@example.org" not in (receipt.message or "")  # no personal data


def test_a_hard_failure_has_the_enhanced_code() -> None:
    codes = {file.stem: parse(sample(file.stem, address()))[1] for file in SAMPLES if file.stem.startswith("hard")}
    found = {name: receipt.code for name, receipt in codes.items() if receipt is not None}
    assert set(found.values()) == {"5.1.1"}
    assert len(found) >= 5


def test_a_report_without_a_valid_return_path_changes_nothing() -> None:
    stranger = address(of=ReturnPath(domain="bounces.example.com", secrets=[b"t" * 32]))
    for path in (stranger, "shop@example.com"):
        assert parse(sample("hard-relay", path), recipient=path) == (Verdict.NO_MARK, None)


def test_the_envelope_id_alone_is_enough() -> None:
    mark = address().partition("@")[0].encode()
    lost = sample("hard-relay", "shop@example.com").replace(
        b"Reporting-MTA:", b"Original-Envelope-Id: " + mark + b"\nReporting-MTA:"
    )
    assert parse(lost)[0] is Verdict.RECEIPT


def test_a_bounced_cc_does_not_make_the_notification_undelivered() -> None:
    """With several recipients, only a report that names the own one counts."""
    path = address(3)
    cc = sample("hard-relay", path).replace(b"ada@example.org", b"cc@example.org")
    assert parse(cc) == (Verdict.OTHER_RECIPIENT, None)
    assert parse(sample("hard-relay", path))[0] is Verdict.RECEIPT
    forwarded = sample("hard-relay", path).replace(
        b"Final-Recipient: rfc822; ada", b"Final-Recipient: rfc822; lovelace"
    )
    assert parse(forwarded)[0] is Verdict.RECEIPT  # by Original-Recipient, which DSN gives back
    both = sample("delivered-one-member-of-an-alias", path).replace(b"left@", b"ada@").replace(b"right@", b"cc@")
    _, receipt = parse(both)
    assert receipt is not None
    assert receipt.kind is ReceiptKind.FAILED_HARD  # the cc has it, the recipient has not
    assert parse(sample("complained-redacted", path)) == (Verdict.OTHER_RECIPIENT, None)
    assert parse(sample("hard-text-like-qmail", path))[0] is Verdict.RECEIPT


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<ada@example.org>:\nno such user", Verdict.RECEIPT),
        ("<cc@example.org>:\nno such user\n\nYour mail to ada@example.org is in the mailbox.", Verdict.OTHER_RECIPIENT),
        ("No such user. Neither ada@example.org nor cc@example.org may be right.", Verdict.OTHER_RECIPIENT),
        ("No such user: ada@example.org", Verdict.RECEIPT),
    ],
)
def test_an_address_that_a_bounce_only_mentions_has_not_failed(text: str, verdict: Verdict) -> None:
    """The first two are in a form that flufl.bounce knows, the others are not."""
    path = address(2)
    head = f"From: MAILER-DAEMON@example.net\nTo: {path}\nSubject: failure notice\n\n"
    qmail = "Hi. This is the qmail-send program at example.net.\n\n" if text.startswith("<") else ""
    assert parse((head + qmail + text + "\n").encode())[0] is verdict


def test_a_bounce_without_a_reason_is_a_soft_failure() -> None:
    """flufl.bounce knows its form. In doubt, another try may help: the recipient is not suppressed."""
    text = f"From: MAILER-DAEMON@example.net\nTo: {address()}\nSubject: failure notice\n\n"
    text += "Hi. This is the qmail-send program at example.net.\n\n<ada@example.org>:\nSorry.\n"
    verdict, receipt = parse(text.encode())
    assert verdict is Verdict.RECEIPT
    assert receipt is not None
    assert (receipt.kind, receipt.code) == (ReceiptKind.FAILED_SOFT, "bounce")


def test_a_copy_is_the_same_event_and_another_report_is_not() -> None:
    first, delayed = sample("hard-relay", address()), sample("accepted-delayed", address())
    copy = b"Delivered-To: x@mail.example\nReceived: from a\n" + first
    ids = []
    for content in (first, copy, delayed):
        _, receipt = parse(content)
        assert receipt is not None
        ids.append(receipt.event_id)
    assert ids[0] == ids[1] != ids[2]


def test_hostile_mails_are_read_in_bounded_time() -> None:
    report = sample("hard-relay", address())
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(2000))
    hostile = [
        nested,
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 20_000,
        b"Subject: bounce\n\n" + b"550 " * 60_000,
        b"Subject: bounce\nContent-Type: text/html\n\n" + b"<" * 250_000,
        b"Subject: bounce\n\n" + b"user " * 50_000,
        b"Subject: =?x?b?" + b"=" * 100_000 + b"?=\n\n",
        b"A: " + b"a" * 52 + b" " * 250_000,
        report.replace(b"Action: failed", b"Action: " + b"\x00\xff" * 50_000),
        report.replace(b"5.1.1", b"5." + b"1" * 100_000),
        report.replace(b"us-ascii", b"no-such-charset"),
        report.replace(b"Final-Recipient", b"\n\n".join([b"Final-Recipient: x\nAction: failed"] * 3000)),
        b"\x00" * 100_000,
        # What flufl.bounce would take seconds for, or raise at.
        b"From: MAILER-DAEMON\n\n" + b"\n" * 250_000,
        b"From: MAILER-DAEMON\n\n" + b"<a@\n" * 60_000,
        b"From: mailer-daemon" + b"<" * 200_000 + b"\n\n",
        b"From: mailer-daemon" + b"(" * 200_000 + b"\n\n",
        b"From: mailer-daemon\nContent-Type: multipart/mixed; boundary=b\n\n" + b"--b\nA: b\n\nx\n" * 15_000,
        b"From: mailer-daemon\n" + b"Content-Type: message/rfc822\n\n" * 8_000,
        b"From: mailer-daemon\nContent-Type: multipart/report" + b"; a=b" * 20_000 + b"\n\nx",
        b"To: " + b", ".join([address().encode()[:51] + b"z"] * 4000) + b"\n\n",
    ]
    for content in hostile:
        began = time.process_time()
        parse(content, recipient=address())
        assert time.process_time() - began < 2


# --- what becomes of the notification ---------------------------------------------------------------------------------


@pytest.fixture
def mailroom(container: Container) -> Mailroom:
    return Mailroom(parser=SmtpReceipts(HOME), receipts=container.receipts(), kept=container.returned_mails())


def sent(container: Container) -> Notification:
    """A mail that the server has accepted."""
    row = make.notification(datetime.now(UTC), channel="email", recipient="ada@example.org")
    container.store.insert([row])
    claims = container.store.claim([make.message(row)], timedelta(seconds=60))
    accepted: dict[str, Any] = {"status": Status.SENT, "provider": "smtp", "provider_message_id": f"<{row.id}@b.org>"}
    container.store.settle([Settlement(claims=claims, notification=claims.acquired[0], **accepted)])
    return row


def now_of(container: Container, row: Notification) -> Notification:
    found = container.store.get(row.tenant, row.id)
    assert found is not None
    return found


def returned(row: Notification, name: str = "hard-relay", **changes: Any) -> ReturnedMail:
    path = address(**{"id": row.id, "attempt": 1, **changes})
    return ReturnedMail(content=sample(name, path), recipient=path, at=datetime.now(UTC))


def test_a_bounce_makes_it_undelivered_and_keeps_its_message_id(container: Container, mailroom: Mailroom) -> None:
    row = sent(container)
    assert mailroom.take([returned(row)]) == [Verdict.RECEIPT]
    found = now_of(container, row)
    assert (found.status, found.provider, found.error_code) == (Status.UNDELIVERED, "smtp", "5.1.1")
    assert found.provider_message_id == f"<{row.id}@b.org>"


def test_a_report_of_delivery_is_no_second_acceptance(container: Container, mailroom: Mailroom, lines: Lines) -> None:
    row = sent(container)
    mailroom.take([returned(row, "accepted-delayed"), returned(row, "delivered")])
    assert now_of(container, row).status is Status.DELIVERED
    assert lines.named("receipt_recorded")
    assert not lines.named("doubled")


def test_what_is_not_understood_is_kept_once_and_within_bounds(container: Container, mailroom: Mailroom) -> None:
    odd = ReturnedMail(content=b"Subject: odd\n\n" + b"x" * 2 * MAX_SIZE, recipient=address(), at=NOW)
    forged = ReturnedMail(content=sample("hard-relay", "a@b.org"), at=NOW)
    away = ReturnedMail(content=sample("auto_reply-rfc3834", address()), at=NOW)
    for _ in range(2):
        assert mailroom.take([odd, forged, away]) == [Verdict.UNREADABLE, Verdict.NO_MARK, Verdict.AUTO_REPLY]
    kept = container.returned_mails()
    assert isinstance(kept, SqlReturnedMails)
    with kept.database.engine.connect() as connection:
        rows = {row.verdict: row.content for row in connection.execute(select(returned_mails))}
    assert set(rows) == {"unreadable", "no_mark"}
    assert len(rows["unreadable"]) == MAX_SIZE


def test_a_report_decides_how_the_attempt_of_a_lost_worker_ended(container: Container, mailroom: Mailroom) -> None:
    row = make.notification(datetime.now(UTC), channel="email", recipient="ada@example.org")
    container.store.insert([row])
    container.store.claim([make.message(row)], timedelta(milliseconds=1))
    assert mailroom.take([returned(row, "delivered")]) == [Verdict.RECEIPT]
    assert now_of(container, row).status is Status.SENDING  # its worker's outcome comes first
    sweep = container.sweep()

    def ended() -> bool:
        sweep.run_for(timedelta(seconds=5))
        return now_of(container, row).status is not Status.SENDING

    eventually("the sweep finds it", ended, within=60)
    found = now_of(container, row)
    assert (found.status, found.provider, found.provider_message_id) == (Status.DELIVERED, "smtp", f"{row.id}:1:1")


# --- the listener -----------------------------------------------------------------------------------------------------


@contextmanager
def listening(mailroom: Mailroom) -> Iterator[int]:
    server, started = socket.create_server(("127.0.0.1", 0)), threading.Event()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopping.set))
        started.set()
        await listen(mailroom, server, now=lambda: datetime.now(UTC), stopping=stopping)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait(30)
    try:
        yield server.getsockname()[1]
    finally:
        stop[0]()
        thread.join(30)


def hand_over(port: int, mail: ReturnedMail, *, lmtp: bool = True) -> None:
    """As a relay does. Raise SMTPResponseException."""
    with (smtplib.LMTP if lmtp else smtplib.SMTP)("127.0.0.1", port, timeout=30) as relay:
        relay.sendmail("", [mail.recipient or ""], mail.content)


@pytest.mark.parametrize("lmtp", [True, False])
def test_the_listener_answers_250_after_the_commit(container: Container, mailroom: Mailroom, lmtp: bool) -> None:
    row = sent(container)
    with listening(mailroom) as port:
        hand_over(port, returned(row), lmtp=lmtp)
        assert now_of(container, row).status is Status.UNDELIVERED


class Down:
    """A store of receipts that does not answer, or does not take some."""

    def __init__(self, error: Callable[[Sequence[Receipt]], Exception | None]) -> None:
        self.error = error

    def record(self, batch: Sequence[Receipt]) -> Sequence[Any]:
        if (error := self.error(batch)) is not None:
            raise error
        return []


def with_receipts(mailroom: Mailroom, receipts: Any) -> Mailroom:
    return Mailroom(parser=mailroom.parser, receipts=receipts, kept=mailroom.kept)


def test_the_relay_keeps_the_mail_while_the_database_is_down(container: Container, mailroom: Mailroom) -> None:
    down = with_receipts(mailroom, Down(lambda _: StoreUnavailable("down")))
    with listening(down) as port, pytest.raises(smtplib.SMTPDataError) as refused:
        hand_over(port, returned(sent(container)))
    assert refused.value.smtp_code == 451


def test_the_listener_is_no_open_relay(mailroom: Mailroom) -> None:
    with listening(mailroom) as port, smtplib.LMTP("127.0.0.1", port, timeout=30) as relay:
        relay.ehlo()
        assert relay.mail("")[0] == 250
        assert relay.rcpt("ada@example.org")[0] == 550
        assert relay.data is not None
        assert relay.docmd("DATA")[0] == 503
        assert relay.rcpt(address())[0] == 250
        assert relay.rcpt(address(attempt=3))[0] == 452  # each has its own reply


def test_large_mails_and_endless_lines_are_read_from_their_beginning(container: Container, mailroom: Mailroom) -> None:
    """The report comes first. A relay that is refused would drop it."""
    row = sent(container)
    mail = returned(row)
    long = ReturnedMail(
        content=mail.content + b"y" * 1_000_000 + b"\r\n.\r\n" + b"z\r\n" * 300_000, recipient=mail.recipient, at=NOW
    )
    with listening(mailroom) as port:
        hand_over(port, long)
    assert now_of(container, row).status is Status.UNDELIVERED
    assert LONGEST > 50_000_000


def test_many_at_once_are_each_answered(container: Container, mailroom: Mailroom) -> None:
    rows = [sent(container) for _ in range(20)]
    with listening(mailroom) as port:
        threads = [threading.Thread(target=hand_over, args=(port, returned(row))) for row in rows]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert {now_of(container, row).status for row in rows} == {Status.UNDELIVERED}


def test_one_mail_that_cannot_be_recorded_holds_up_no_other(
    container: Container, mailroom: Mailroom, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [sent(container) for _ in range(5)]
    poison = rows[2].id
    real = mailroom.receipts

    class Picky(Down):
        def record(self, batch: Sequence[Receipt]) -> Sequence[Any]:
            super().record(batch)
            return real.record(batch)

    def error(batch: Sequence[Receipt]) -> Exception | None:
        return ValueError("a bug, and ada@example.com") if any(one.notification_id == poison for one in batch) else None

    taken = with_receipts(mailroom, Picky(error)).take([returned(row) for row in rows])
    assert [isinstance(one, NotTaken) for one in taken] == [False, False, True, False, False]
    assert [now_of(container, row).status for row in rows].count(Status.UNDELIVERED) == 4
    assert "returned_mail_failed" in caplog.text
    assert "ada@" not in caplog.text, "neither its text nor a traceback, which may quote the mail"


# --- the poller -------------------------------------------------------------------------------------------------------


def poller(mailroom: Mailroom, server: ScriptedImap) -> Poller:
    return Poller(
        mailroom=mailroom, open=lambda: Mailbox(account(server.url)), now=lambda: datetime.now(UTC), every=0.01
    )


def crlf(mail: ReturnedMail) -> bytes:
    return mail.content.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("uidplus", [True, False])
def test_the_poller_deletes_a_mail_after_the_commit(container: Container, mailroom: Mailroom, uidplus: bool) -> None:
    row = sent(container)
    with ScriptedImap(mails={7: crlf(returned(row)), 9: b"Subject: odd\r\n\r\n"}, uidplus=uidplus) as server:
        poller(mailroom, server).read_all(threading.Event())
        assert server.mails == {}
    assert now_of(container, row).status is Status.UNDELIVERED


def test_nothing_is_deleted_while_the_database_is_down(container: Container, mailroom: Mailroom) -> None:
    down = with_receipts(mailroom, Down(lambda _: StoreUnavailable("down")))
    with ScriptedImap(mails={1: crlf(returned(sent(container)))}) as server:
        with pytest.raises(StoreUnavailable):
            poller(down, server).read_all(threading.Event())
        assert list(server.mails) == [1]
        assert server.flags == {}


def test_a_mail_that_is_read_again_after_a_crash_is_a_duplicate(container: Container, mailroom: Mailroom) -> None:
    row = sent(container)
    with ScriptedImap(mails={1: crlf(returned(row))}, ends_at="UID STORE") as server:
        with pytest.raises(MailboxUnavailable):
            poller(mailroom, server).read_all(threading.Event())
        assert list(server.mails) == [1]
        entries = len(timeline(container, row))
        server.ends_at = None
        poller(mailroom, server).read_all(threading.Event())
        assert server.mails == {}
    assert len(timeline(container, row)) == entries


def timeline(container: Container, row: Notification) -> Sequence[Any]:
    found = container.store.get_with_timeline(row.tenant, row.id)
    assert found is not None
    return found[1]


def test_a_poison_mail_is_flagged_and_stops_nothing(container: Container, mailroom: Mailroom) -> None:
    rows = [sent(container) for _ in range(2)]
    mails = {1: b"broken", 2: crlf(returned(rows[0])), 3: crlf(returned(rows[1]))}
    real, poison = mailroom.receipts, rows[0].id

    class Picky(Down):
        def record(self, batch: Sequence[Receipt]) -> Sequence[Any]:
            super().record(batch)
            return real.record(batch)

    picky = Picky(lambda batch: ValueError("a bug") if any(one.notification_id == poison for one in batch) else None)
    with ScriptedImap(mails=mails, unreadable={1}) as server:
        poller(with_receipts(mailroom, picky), server).read_all(threading.Event())
        assert server.flags[1] == server.flags[2] == {r"\Flagged"}
        assert sorted(server.mails) == [1, 2]
        poller(mailroom, server).read_all(threading.Event())  # they are not read again
        assert sorted(server.mails) == [1, 2]
    assert now_of(container, rows[1]).status is Status.UNDELIVERED


def test_no_failure_ends_the_poller(container: Container, mailroom: Mailroom, lines: Lines) -> None:
    stopping, row = threading.Event(), sent(container)
    with ScriptedImap(mails={1: crlf(returned(row))}, ends_at="SELECT") as server:
        thread = threading.Thread(target=poller(mailroom, server).run, args=(stopping,))
        thread.start()
        eventually("it is told", lambda: lines.named("mailbox_not_read"), within=30)
        server.ends_at = None
        eventually("the mail is taken", lambda: not server.mails, within=30)
        stopping.set()
        thread.join(30)
        assert not thread.is_alive()
    assert now_of(container, row).status is Status.UNDELIVERED


@pytest.mark.parametrize("wrong", ["imaps://host", "http://a:b@host", "imap://a@host", "imaps://a:ü@host", "imaps://["])
def test_a_wrong_address_of_a_mailbox_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"imap|ASCII|IPv6"):
        account(wrong)


@pytest.mark.parametrize("missing", ["TIDINGS_SMTP_RETURN_PATH", "TIDINGS_IMAP_URL"])
def test_a_missing_setting_stops_the_start_with_one_line(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = {
        "TIDINGS_DATABASE_URL": f"sqlite:///{tmp_path}/tidings.db",
        "TIDINGS_SMTP_RETURN_PATH": "bounces.example.com",
        "TIDINGS_RECEIPTS_SECRET": "s" * 32,
        "TIDINGS_IMAP_URL": "imaps://tidings:secret@127.0.0.1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value if name != missing else "")
    monkeypatch.setattr(sys, "argv", ["bounces", "poll"])
    monkeypatch.setattr(tidings_logging, "configure", lambda *_: None)
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith(f"tidings: bounces: {missing}")
    assert "secret" not in said.replace("TIDINGS_RECEIPTS_SECRET", "")


def test_a_missing_package_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without flufl.bounce, bounces in a server's own words would be taken for unreadable, one by one."""
    for name in [name for name in sys.modules if name.startswith(("tidings.runtime.bounces.process", "flufl"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "tidings.providers.smtp.bounce_forms")
    monkeypatch.delitem(sys.modules, "tidings.providers.smtp.reports")
    monkeypatch.delitem(sys.modules, "tidings.providers.smtp.receipts")
    monkeypatch.setitem(sys.modules, "flufl.bounce", None)
    monkeypatch.setattr(sys, "argv", ["bounces", "listen"])
    assert main() == 2
    assert (
        capsys.readouterr().err == "tidings: bounces: the package flufl.bounce is missing; install tidings[bounces]\n"
    )

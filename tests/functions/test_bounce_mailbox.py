"""The mailbox of bounces, against servers that answer late, wrongly, or not at all."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from tidings.providers.smtp.receipts import ReturnedMail, Verdict
from tidings.runtime.bounces import mailbox as mailbox_module
from tidings.runtime.bounces.mailbox import Mailbox, MailboxUnavailable, Refused, account
from tidings.runtime.bounces.mailroom import Mailroom
from tidings.runtime.bounces.poller import Poller

from tests.functions.scripted_imap import ScriptedImap


class Taking:
    """A mailroom that takes everything."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def take(self, mails: Sequence[ReturnedMail]) -> Sequence[Verdict]:
        self.taken += [mail.content for mail in mails]
        return [Verdict.NOTHING for _ in mails]


def poll(server: ScriptedImap) -> Taking:
    taking = Taking()
    poller = Poller(
        mailroom=cast(Mailroom, taking),
        open=lambda: Mailbox(account(server.url)),
        now=lambda: datetime(2026, 1, 2, tzinfo=UTC),
        every=1,
    )
    poller.read_all(threading.Event())
    return taking


def test_a_mailbox_of_many_flagged_mails_is_searched_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search of all at once ends the connection: a line of a million bytes is too long for imaplib."""
    monkeypatch.setattr(mailbox_module, "WINDOW", 10)
    mails = {uid: b"mail %d" % uid for uid in range(1, 100)}
    flags = {uid: {r"\Flagged"} for uid in range(1, 41)}
    with ScriptedImap(mails=mails, flags=flags) as server:
        assert poll(server).taken[0] == b"mail 41"
        assert not any(command.startswith("UID SEARCH 1:99") for command in server.commands)


@pytest.mark.parametrize("uidplus", [True, False])
def test_more_mails_than_a_page_are_all_taken_once(uidplus: bool) -> None:
    with ScriptedImap(mails={uid: b"mail %d" % uid for uid in range(1, 121)}, uidplus=uidplus) as server:
        assert len(poll(server).taken) == 120
        assert server.mails == {}


def test_a_server_that_gives_no_mail_gets_none_flagged() -> None:
    """It is the server's fault: the mails are read when it answers again."""
    with ScriptedImap(mails={1: b"a", 2: b"b"}, unreadable={1, 2}) as server:
        with pytest.raises(MailboxUnavailable):
            poll(server)
        assert server.flags == {}
        server.unreadable = {1}
        assert poll(server).taken == [b"b"]
        assert server.flags[1] == {r"\Flagged"}


def test_a_server_that_deletes_nothing_is_left_after_a_page() -> None:
    class Keeping(ScriptedImap):
        def _answer(self, command: str) -> list[bytes]:
            return [b"OK"] if command.startswith(("UID STORE", "UID EXPUNGE")) else super()._answer(command)

    with Keeping(mails=dict.fromkeys(range(1, 121), b"mail")) as server, pytest.raises(MailboxUnavailable):
        poll(server)


@pytest.mark.parametrize("garbage", [b"* SEARCH one two\r\n", b"* \xff\r\n", b"* SEARCH (\r\n", b"{5}\r\n"])
def test_an_answer_that_is_no_imap_is_a_mailbox_that_is_unavailable(garbage: bytes) -> None:
    class Wrong(ScriptedImap):
        def _answer(self, command: str) -> list[bytes]:
            return [garbage, b"OK"] if command.startswith("UID SEARCH") else super()._answer(command)

    with Wrong(mails={1: b"a"}) as server, pytest.raises(MailboxUnavailable):
        poll(server)


@pytest.mark.parametrize("given", [b"* 1 FETCH (UID 1 BODY[]<0> NIL)\r\n", b"", b"* 1 FETCH (UID 7 FLAGS ())\r\n"])
def test_a_mail_that_is_gone_or_empty_is_not_given(given: bytes) -> None:
    class Gone(ScriptedImap):
        def _answer(self, command: str) -> list[bytes]:
            return [given, b"OK"] if command.startswith("UID FETCH") else super()._answer(command)

    with Gone(mails={1: b"a"}) as server:
        mailbox = Mailbox(account(server.url))
        assert mailbox.content(1) is None
        mailbox.close()


def test_a_wrong_password_is_a_refusal_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedImap() as server, pytest.raises(Refused) as refused:
        Mailbox(account(server.url.replace("p%40ss", "wrong-secret")))
    told: list[Any] = [refused.value, *caplog.messages]
    assert not any("wrong-secret" in str(one) for one in told)

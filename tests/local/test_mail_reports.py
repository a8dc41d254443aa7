"""The emulated mail server reports what became of a mail, and what listens for bounces understands it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tidings.domain.notification import new_id
from tidings.domain.receipt import Receipt
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.receipts import SmtpReceipts
from tidings.providers.smtp.settings import SmtpSettings
from tidings.runtime.bounces.mailroom import Mailroom

from local.emulators.client import EmulatorError
from local.emulators.records import Receipts
from tests.emulator import Running, emulator
from tests.functions.test_bounces import HOME, listening, request
from tests.wait import eventually

WITH_SUCCESS = replace(HOME, report_deliveries=True)


class Kept:
    """Receipts and ReturnedMails that only collect."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.verdicts: list[str] = []

    def record(self, batch: Sequence[Receipt]) -> Sequence[Any]:
        self.receipts += batch
        return []

    def keep(self, mails: Sequence[Any]) -> int:
        self.verdicts += [mail.verdict for mail in mails]
        return len(mails)

    def purge(self) -> int:
        return 0


@pytest.fixture(scope="module")
def kept() -> Kept:
    return Kept()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, kept: Kept) -> Iterator[Running]:
    mailroom = Mailroom(parser=SmtpReceipts(HOME), receipts=kept, kept=kept)  # type: ignore[arg-type]
    with listening(mailroom) as port:
        folder: Path = tmp_path_factory.mktemp("providers")
        with emulator(folder, "--bounces-to", f"127.0.0.1:{port}") as running:
            yield running


def sent(started: Running, how: Receipts | None) -> str:
    """The id of a mail that was accepted."""
    if how is not None:
        started.client.fail("email", next=1, receipts=how)
    id = new_id(datetime.now(UTC))
    settings = SmtpSettings(url=started.smtp_url, sender="shop@example.org", timeout=30)
    with closing(SmtpProvider(settings, return_path=WITH_SUCCESS)) as provider:
        provider.send(request(id=id))
    return id


@pytest.mark.parametrize(
    ("how", "kinds"),
    [
        (None, ["delivered"]),
        ("undelivered", ["failed_soft"]),
        ("failed", ["failed_hard"]),
        ("twice", ["failed_hard", "failed_hard"]),
        ("delayed", ["accepted"]),
        ("complained", ["complained"]),
    ],
)
def test_each_way_to_report(started: Running, kept: Kept, how: Receipts | None, kinds: list[str]) -> None:
    id = sent(started, how)

    def found() -> list[Receipt]:
        return [one for one in kept.receipts if one.notification_id == id]

    eventually("the reports", lambda: len(found()) == len(kinds), within=30)
    assert [one.kind for one in found()] == kinds
    assert len({one.event_id for one in found()}) == 1


@pytest.mark.parametrize(("how", "verdict"), [("forged", "no_mark"), ("unreadable", "unreadable")])
def test_what_proves_nothing_is_kept(started: Running, kept: Kept, how: Receipts, verdict: str) -> None:
    before = kept.verdicts.count(verdict)
    id = sent(started, how)
    eventually(verdict, lambda: kept.verdicts.count(verdict) == before + 1, within=30)
    assert id not in {one.notification_id for one in kept.receipts}


@pytest.mark.parametrize("wrong", [{"receipts": "out_of_order"}, {"receipts": "failed", "status": 550}])
def test_a_mail_is_reported_in_its_own_ways(started: Running, wrong: dict[str, Any]) -> None:
    refused: Callable[..., str] = started.client.fail
    with pytest.raises(EmulatorError, match="receipts"):
        refused("email", **wrong)

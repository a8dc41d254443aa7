"""Twilio, asked what became of a message."""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tidings.domain.receipt import By, Receipt, ReceiptKind
from tidings.ports.receipts import LookupFailed
from tidings.providers import receipt_lookups
from tidings.providers.twilio.lookup import TwilioLookup
from tidings.providers.twilio.settings import TwilioAccess

from tests.functions.scripted import Answer, ScriptedHttp

NOW = datetime(2026, 5, 1, tzinfo=UTC)
Ask = Callable[..., Receipt | None]


@pytest.fixture
def server() -> Iterator[ScriptedHttp]:
    with ScriptedHttp(lambda _: Answer(404, {"code": 20404})).running() as running:
        yield running


@pytest.fixture
def ask(server: ScriptedHttp) -> Ask:
    def asked(status: int, body: Any, sid: str = "SM42") -> Receipt | None:
        server.script = lambda _: Answer(status, body)
        return TwilioLookup(TwilioAccess(account_sid="AC1", auth_token="secret", url=server.url)).report(sid, NOW)

    return asked


@pytest.mark.parametrize(
    ("answer", "kind", "suppress"),
    [
        ({"status": "delivered"}, ReceiptKind.DELIVERED, None),
        ({"status": "read"}, ReceiptKind.DELIVERED, None),
        ({"status": "undelivered", "error_code": 30003}, ReceiptKind.FAILED_SOFT, None),
        ({"status": "failed", "error_code": 30005}, ReceiptKind.FAILED_HARD, "hard_bounce"),
        ({"status": "canceled", "error_code": None}, ReceiptKind.FAILED_SOFT, None),
    ],
)
def test_a_final_status_is_a_receipt_by_lookup(
    ask: Ask, server: ScriptedHttp, answer: dict[str, Any], kind: ReceiptKind, suppress: str | None
) -> None:
    found = ask(200, {"sid": "SM42", **answer})
    assert found is not None
    assert (found.kind, found.suppress, found.by, found.provider_message_id) == (kind, suppress, By.LOOKUP, "SM42")
    (request,) = server.requests
    assert request.path == "/2010-04-01/Accounts/AC1/Messages/SM42.json"
    assert request.headers["authorization"] == f"Basic {base64.b64encode(b'AC1:secret').decode()}"


@pytest.mark.parametrize("said", ["accepted", "queued", "sending", "sent", "a new word", "", None, 7, []])
def test_what_is_not_final_is_no_receipt(ask: Ask, said: object) -> None:
    assert ask(200, {"sid": "SM42", "status": said}) is None


def test_a_message_that_is_gone_there_is_no_failure(ask: Ask) -> None:
    assert ask(404, {"code": 20404}) is None


@pytest.mark.parametrize("sid", ["", "../SM42", "SM42?x=1", "SM42/..", "x" * 300, "SMé"])
def test_an_id_that_is_none_of_twilio_is_not_asked_for(ask: Ask, server: ScriptedHttp, sid: str) -> None:
    assert ask(200, {"status": "delivered"}, sid) is None
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (401, {"code": 20003}, True),
        (429, {}, False),
        (503, {}, False),
        (302, {}, False),
        (200, [], False),
        (200, "no JSON", False),
    ],
)
def test_no_answer_is_asked_for_again(ask: Ask, status: int, body: Any, refused: bool) -> None:
    with pytest.raises(LookupFailed) as raised:
        ask(status, body)
    assert raised.value.refused is refused
    assert "AC1" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_without_an_account_nobody_is_asked(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(receipt_lookups()) == ["twilio"]
    monkeypatch.delenv("TIDINGS_TWILIO_ACCOUNT_SID")
    assert receipt_lookups() == {}

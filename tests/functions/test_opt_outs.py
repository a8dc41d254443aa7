"""STOP and START as Twilio hands them on: to the list of every tenant that sent to the number."""

from datetime import UTC, datetime

import pytest
from tidings.domain.notification import Notification, Status
from tidings.domain.receipt import ReceiptKind
from tidings.ports import SuppressionSelection
from tidings.providers.twilio.receipts import TwilioReceipts
from tidings.providers.twilio.settings import TwilioCredentials
from tidings.runtime.container import Container

from tests.functions.served import Lines
from tests.functions.test_receipts import (  # noqa: F401  # `app`, `post` and `sent` are fixtures
    ADDRESSES,
    TOKEN,
    Post,
    app,
    callback,
    form,
    post,
    sent,
    status,
)

OUT, BACK = ReceiptKind.OPTED_OUT, ReceiptKind.OPTED_IN


def incoming(body: str, *, sid: str = "SMin1", **more: str) -> dict[str, str]:
    """As Twilio sends it to a number's webhook."""
    return {
        "ToCountry": "US",
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "SmsSid": sid,
        "SmsStatus": "received",
        "Body": body,
        "To": "+15005550006",
        "NumSegments": "1",
        "MessageSid": sid,
        "AccountSid": "AC1",
        "From": "+15005550010",
        "ApiVersion": "2010-04-01",
        **more,
    }


@pytest.fixture
def parser() -> TwilioReceipts:
    return TwilioReceipts(TwilioCredentials(account_sid="AC1", auth_token=TOKEN), ADDRESSES)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        *((incoming(word), OUT) for word in ("STOP", "stop", " Stop\n", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END")),
        *((incoming(word), OUT) for word in ("QUIT", "REVOKE", "OPTOUT")),
        *((incoming(word), BACK) for word in ("START", "Unstop", "yes")),
        (incoming("Arrêt", OptOutType="STOP"), OUT),
        (incoming("Encore", OptOutType="START"), BACK),
        (incoming("STOP", From="rcs:+15005550010"), OUT),
        *((incoming(word), None) for word in ("HELP", "please STOP", "STOP IT", "", "\uff33\uff34\uff2f\uff30", "no")),
        (incoming("STOP", OptOutType="HELP"), None),
        (incoming("STOP", From="whatsapp:+15005550010"), None),
        *((incoming("STOP", From=sender), None) for sender in ("12345", "ACME", "", "+0", "client:ada", "+1é")),
        (incoming("STOP", sid=""), None),
        (form("delivered", Body="STOP", From="+15005550010"), ReceiptKind.DELIVERED),
    ],
)
def test_only_a_message_of_that_one_word_is_an_opt_out(
    parser: TwilioReceipts, fields: dict[str, str], kind: ReceiptKind | None
) -> None:
    found = parser.parse(callback(fields))
    assert [one.kind for one in found] == ([kind] if kind is not None else [])
    if kind in (OUT, BACK):
        assert found[0].recipient == "+15005550010"


def test_stop_suppresses_and_start_ends_it(
    container: Container,
    post: Post,  # noqa: F811
    sent: Notification,  # noqa: F811
    lines: Lines,
) -> None:
    def reasons() -> list[str]:
        chosen = SuppressionSelection(tenant=sent.tenant, in_force=True)
        return [entry.reason for entry in container.store.find_suppressions(chosen, 10)]

    assert post(incoming("STOP"), signature="forged").status == 401
    assert reasons() == []
    assert post(incoming("STOP")).status == 204
    assert reasons() == ["opted_out"]
    assert post(incoming("Hello?", sid="SMin2")).status == 204
    assert post(incoming("STOP")).status == 204, "a duplicate"
    assert post(incoming("START", sid="SMin3")).status == 204
    assert reasons() == []
    assert post(incoming("STOP")).status == 204, "a late duplicate"
    assert reasons() == []
    assert status(container, sent) is Status.SENT
    assert "5005550010" not in lines.text()


@pytest.mark.parametrize(
    ("code", "reason"), [("30005", "hard_bounce"), ("21610", "opted_out"), ("30007", None), ("30003", None)]
)
def test_the_code_of_a_failure_says_whether_it_suppresses(
    parser: TwilioReceipts, code: str, reason: str | None
) -> None:
    (found,) = parser.parse(callback(form("undelivered", ErrorCode=code)))
    assert found.suppress == reason
    assert found.at <= datetime.now(UTC)

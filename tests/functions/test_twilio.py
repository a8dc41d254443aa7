"""Twilio: what each code means, what is sent, and what is never done twice."""

import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest
from tidings.config.settings import load
from tidings.domain.channels import EmailContent, SmsContent
from tidings.domain.errors import (
    AccountError,
    AmbiguousError,
    ConfigurationError,
    DeliveryError,
    PermanentError,
    TransientError,
)
from tidings.ports import SendRequest
from tidings.providers import http
from tidings.providers.twilio.provider import TwilioProvider
from tidings.providers.twilio.settings import TwilioSettings

from tests.emulator import emulator
from tests.functions.scripted import CLOSE, HANG, RESET, Answer, Request, ScriptedHttp, blunt_server, refusing_port
from tests.scenarios.caller import wait_for
from tests.test_failures import rows

SERVICE = f"MG{'0' * 32}"
CREATED = Answer(201, {"sid": "SM42", "status": "queued"})


def outbound(**changed: Any) -> SendRequest:
    given = {"id": "1", "attempt": 1, "recipient": "+15005550123", "content": SmsContent(text="Hello"), **changed}
    return SendRequest(**given)


def provider(url: str, **changed: Any) -> TwilioProvider:
    given = {"account_sid": "AC1", "auth_token": "secret", "sender": "+15005550006", "timeout": 20.0, **changed}
    return TwilioProvider(TwilioSettings(url=url, **given))


Serve = Callable[[Answer | str], ScriptedHttp]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that gives this answer to everything."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(ScriptedHttp(lambda _: answer).running())


def refused(status: int, code: int | None, message: str = "no", **headers: str) -> Answer:
    body = {"message": message, "status": status, **({"code": code} if code is not None else {})}
    return Answer(status, body, headers)


def raised_by(one: TwilioProvider) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        one.send(outbound())
    return raised.value


def may_be_account(error: DeliveryError) -> bool:
    return isinstance(error, TransientError) and error.may_be_account


def failed(server: ScriptedHttp, **changed: Any) -> DeliveryError:
    one = provider(server.url, **changed)
    try:
        error = raised_by(one)
    finally:
        one.close()
    wait_for(lambda: server.requests)  # whose time ran out may be gone before the server has read it
    assert len(server.requests) == 1
    return error


def form(request: Request) -> dict[str, list[str]]:
    return parse_qs(request.body.decode())


DOCUMENTED = [
    (int(cells[0].strip("`")), cells[1], cells[2]) for cells in rows("SMS") if re.fullmatch(r"`\d{5}`", cells[0])
]
"""Code, class and meaning, as docs/failures.md has them."""


SUPPRESSING = {21610: "opted_out", 30005: "hard_bounce", 30006: "hard_bounce"}


@pytest.mark.parametrize("status", [400, 403, 429])
def test_every_code_means_what_the_catalogue_says_whatever_the_status(status: int) -> None:
    """Twilio's pages do not tell a code's status."""
    codes = iter(DOCUMENTED)
    given: list[int] = []

    def answer(_: Request) -> Answer:
        return refused(status, given[-1])

    wrong = []
    with ScriptedHttp(answer).running() as server:
        one = provider(server.url)
        for code, kind, meaning in codes:
            given.append(code)
            error = raised_by(one)
            if (error.kind, error.code, may_be_account(error)) != (kind, str(code), meaning.startswith("[may be us: ")):
                wrong.append((code, error))
            assert getattr(error, "suppress", None) == SUPPRESSING.get(code)
        one.close()
    assert not wrong
    assert len(server.requests) == len(DOCUMENTED) > 70


ACCOUNT_STATUSES, TRANSIENT_STATUSES = (401, 402, 403, 404, 405, 407, 410, 426), (408, 409, 421, 425, 429, 499)

UNKNOWN: list[tuple[int, int | None, type[DeliveryError]]] = [
    *((status, None, AccountError) for status in ACCOUNT_STATUSES),
    *((status, None, TransientError) for status in TRANSIENT_STATUSES),
    *((status, None, PermanentError) for status in (400, 406, 411, 413, 414, 415, 422, 431, 451)),
    *((status, None, AmbiguousError) for status in (301, 302, 303, 307, 308, 500, 502, 503, 504, 511)),
    *((status, 12345, PermanentError) for status in (400, 422)),
    *((401, code, AccountError) for code in (12345, 20001)),
    (429, 12345, TransientError),
    (500, 12345, AmbiguousError),
    *((400, code, AccountError) for code in (20101, 20160, 21711, 21799)),
    *((400, 20000 + status, AccountError) for status in ACCOUNT_STATUSES),
    *((400, 20000 + status, TransientError) for status in TRANSIENT_STATUSES),
    *((400, code, PermanentError) for code in (20001, 20412, 20422, 21624, 21699)),
    *((400, code, AmbiguousError) for code in (20502, 20599)),
    *((400, code, TransientError) for code in (572001, 572005)),
]


@pytest.mark.parametrize(("status", "code", "kind"), UNKNOWN)
def test_what_is_not_in_the_table_is_judged_by_family_and_status(
    serve: Serve, status: int, code: int | None, kind: type[DeliveryError]
) -> None:
    error = failed(serve(refused(status, code)))
    assert type(error) is kind
    assert error.code == str(code or status)
    assert may_be_account(error) == (code in (572001, 572005))


@pytest.mark.parametrize("body", [b"", b"<html>Blocked by policy</html>", b'{"error": "denied"}', b'{"code": "E7"}'])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, AccountError), (404, AccountError), (407, AccountError), (408, TransientError), (502, AmbiguousError)],
)
def test_the_answer_of_a_proxy_is_judged_by_its_status(
    serve: Serve, status: int, kind: type[DeliveryError], body: bytes
) -> None:
    error = failed(serve(Answer(status, body)))
    assert (type(error), error.code) == (kind, str(status))


SENDERS = {"+15005550006": AccountError, SERVICE: AccountError, "12345": TransientError, "Shop": TransientError}


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (21606, "The 'From' phone number provided is not a valid message-capable number for this destination/account"),
        (21659, "'From' is not a Twilio phone number or Short Code country mismatch"),
        (21699, "'From' is something that Twilio has thought of since"),
        (30199, "The Sender ID is not allowed here"),
    ],
)
def test_a_sender_that_is_tied_to_a_country_may_not_be_to_blame(
    serve: Serve, sender: str, code: int, message: str
) -> None:
    error = failed(serve(refused(400, code, message)), sender=sender)
    assert type(error) is SENDERS[sender]
    assert may_be_account(error) == (SENDERS[sender] is TransientError)


def test_a_new_code_about_sender_and_recipient_is_this_recipients(serve: Serve) -> None:
    message = "Messages to the 'To' number cannot be sent from the 'From' number"
    assert type(failed(serve(refused(400, 21699, message)))) is PermanentError


@pytest.mark.parametrize(
    "code", ["21610\u0661", "\u0662\u0661\u0666\u0661\u0660", "9" * 5000, "²", [21610], 21610.5, True]
)
def test_a_code_that_is_none_is_no_exception(serve: Serve, code: Any) -> None:
    error = failed(serve(Answer(400, {"code": code, "message": "no"})))
    assert (type(error), error.code) == (PermanentError, "400")
    assert isinstance(error, PermanentError)
    assert error.suppress is None


@pytest.mark.parametrize(("header", "wait"), [({}, None), ({"Retry-After": "3600"}, timedelta(hours=1))])
def test_the_caps_of_the_day_wait_as_twilio_says(serve: Serve, header: dict[str, str], wait: timedelta | None) -> None:
    error = failed(serve(refused(429, 63038, "Account exceeded the 500 daily messages limit", **header)))
    assert (type(error), error.retry_after) == (AccountError, wait)


def test_the_newer_form_of_an_error_means_the_same(serve: Serve) -> None:
    body = {"type": "https://t", "title": "Opted out", "status": 400, "code": 21610, "detail": "to +15005550123"}
    error = failed(serve(Answer(400, body)))
    assert isinstance(error, PermanentError)
    assert error.suppress == "opted_out"
    assert "Opted out" in str(error)
    assert "5550123" not in str(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0", 0), ("99999999999", 86_400), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", None), (None, None)],
)
def test_retry_after_is_seconds_or_a_date(serve: Serve, value: str | None, seconds: int | None) -> None:
    headers = {"Retry-After": value} if value is not None else {}
    error = failed(serve(refused(429, 20429, **headers)))
    assert error.retry_after == (timedelta(seconds=seconds) if seconds is not None else None)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'"x"', b'{"code": "many"}', b"\xff"])
def test_an_error_page_that_is_not_twilios_is_judged_by_its_status(serve: Serve, body: bytes) -> None:
    assert type(failed(serve(Answer(502, body)))) is AmbiguousError


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b"{}", b'{"sid": 7}', b'{"sid": "' + b"x" * 999 + b'"}']
)
def test_an_acceptance_that_cannot_be_read_is_ambiguous(serve: Serve, body: bytes) -> None:
    assert type(failed(serve(Answer(201, body)))) is AmbiguousError


FAILED: list[tuple[str, int | None, type[DeliveryError], str]] = [
    *((status, None, TransientError, "failed") for status in ("failed", "undelivered", "canceled")),
    ("failed", 21610, PermanentError, "21610"),
    ("failed", 30007, PermanentError, "30007"),
    ("failed", 30008, TransientError, "30008"),
    ("failed", 30002, AccountError, "30002"),
    ("failed", 30410, AmbiguousError, "30410"),
    ("undelivered", 30006, PermanentError, "30006"),
    ("failed", 39999, TransientError, "39999"),
]


@pytest.mark.parametrize(("status", "code", "kind", "shown"), FAILED)
def test_a_message_that_failed_at_once_was_not_sent_and_its_code_says_why(
    serve: Serve, status: str, code: int | None, kind: type[DeliveryError], shown: str
) -> None:
    body = {"sid": "SM42", "status": status, "error_code": code, "error_message": "Not to +15005550123"}
    error = failed(serve(Answer(201, body)))
    assert (type(error), error.code) == (kind, shown)
    assert "555" not in error.message
    assert getattr(error, "suppress", None) == SUPPRESSING.get(code or 0)


@pytest.mark.parametrize(
    "status", ["accepted", "scheduled", "queued", "sending", "sent", "delivered", "read", "new", None]
)
def test_any_other_status_is_an_acceptance(serve: Serve, status: str | None) -> None:
    one = provider(serve(Answer(201, {"sid": "SM42", "status": status})).url)
    assert one.send(outbound()).provider_message_id == "SM42"
    one.close()


@pytest.mark.parametrize("how", [CLOSE, RESET])
def test_a_connection_that_breaks_after_the_request_is_ambiguous(serve: Serve, how: str) -> None:
    error = failed(serve(how))
    assert (type(error), error.code) == (AmbiguousError, "connection_lost")


def test_an_answer_that_does_not_come_is_ambiguous(serve: Serve) -> None:
    error = failed(serve(HANG), timeout=1.0)
    assert (type(error), error.code) == (AmbiguousError, "timeout")


@pytest.mark.parametrize("host", [f"127.0.0.1:{refusing_port()}", "no-such-host.invalid"], ids=["refusing", "no host"])
def test_a_failure_to_connect_is_transient(host: str) -> None:
    one = provider(f"http://{host}")
    with pytest.raises(TransientError, match="connect"):
        one.send(outbound())


def test_a_connection_that_does_not_come_about_is_transient() -> None:
    one = provider("http://192.0.2.1", timeout=0.4)  # RFC 5737: nobody there
    with pytest.raises(TransientError, match="connect"):
        one.send(outbound())


def test_a_certificate_that_is_not_trusted_is_transient(certificate: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    with ScriptedHttp(lambda _: CREATED, tls=tls).running() as server:
        error = raised_by(provider(server.url))
        assert (type(error), error.code) == (TransientError, "connect")
        assert "SSLError" in error.message
        assert server.requests == []


def test_a_proxy_that_refuses_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    with blunt_server(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as host:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{host}")
        error = raised_by(provider("https://api.twilio.com"))
    assert (type(error), error.code) == (TransientError, "connect")
    assert "ProxyError" in error.message


def test_an_unexpected_error_before_the_request_is_transient(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last call of this thread did reach Twilio."""
    server = serve(CREATED)
    one = provider(server.url)
    one.send(outbound())
    monkeypatch.setattr("tidings.providers.twilio.client.urlencode", lambda *_, **__: 1 / 0)
    error = raised_by(one)
    one.close()
    assert (type(error), error.code) == (TransientError, "internal")
    assert "ZeroDivisionError" in error.message
    assert len(server.requests) == 1


def test_a_client_that_cannot_be_made_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.providers.twilio.provider.Client", lambda *_, **__: 1 / 0)
    assert type(raised_by(provider("http://127.0.0.1:1"))) is TransientError


def test_an_unexpected_error_after_the_request_is_raised(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its class is the pipeline's business: ambiguous."""
    monkeypatch.setattr("requests.adapters.HTTPAdapter.build_response", lambda *_: 1 / 0)
    one = provider(serve(CREATED).url)
    with pytest.raises(ZeroDivisionError):
        one.send(outbound())
    one.close()


def test_a_redirect_is_not_followed(serve: Serve) -> None:
    target = serve(CREATED)
    assert type(failed(serve(Answer(307, {}, {"Location": f"{target.url}/elsewhere"})))) is AmbiguousError
    assert target.requests == []


def test_a_kept_connection_that_the_server_closed_is_replaced(serve: Serve) -> None:
    server = serve(Answer(201, CREATED.body, {"Connection": "close"}))
    one = provider(server.url)
    for _ in range(3):
        one.send(outbound())
    one.close()
    assert len(server.requests) == 3


def test_a_connection_from_before_a_long_pause_is_not_used_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have died unnoticed, and the request that finds it out may have been taken."""
    server = serve(CREATED)
    one = provider(server.url)
    for _ in range(2):
        one.send(outbound())
    assert server.connections == 1
    monkeypatch.setattr(http, "time", SimpleNamespace(time=lambda: time.time() + http.IDLE + 1))
    for _ in range(2):
        one.send(outbound())
    one.close()
    assert server.connections == 2


@pytest.mark.parametrize(
    "text", ["+15005550123", "15005550123", "+1 500 555 0123", "+1 (500) 555-0123", "1500.555.0123", "+1500555XXXX"]
)
def test_no_number_appears_in_an_error_however_it_is_written(serve: Serve, text: str) -> None:
    error = failed(serve(refused(400, 21211, f"Invalid 'To' Phone Number: {text}")))
    assert "Invalid 'To' Phone Number: <number>" in str(error)
    assert "555" not in error.message


def test_the_secret_appears_in_no_error(serve: Serve) -> None:
    for answer in (refused(401, 20003), HANG):
        assert "secret" not in str(failed(serve(answer), timeout=1.0))


def test_the_request_says_what_was_meant(serve: Serve) -> None:
    server = serve(CREATED)
    one = provider(server.url)
    receipt = one.send(outbound(time_to_live=timedelta(minutes=5)))
    one.close()
    assert receipt.provider_message_id == "SM42"
    [request] = server.requests
    assert request.path == "/2010-04-01/Accounts/AC1/Messages.json"
    assert request.headers["authorization"].startswith("Basic ")
    assert form(request) == {
        "To": ["+15005550123"],
        "From": ["+15005550006"],
        "Body": ["Hello"],
        "ValidityPeriod": ["300"],
    }


def test_a_messaging_service_picks_the_number(serve: Serve) -> None:
    server = serve(CREATED)
    one = provider(server.url, sender=SERVICE)
    one.send(outbound())
    one.close()
    sent = form(server.requests[0])
    assert sent["MessagingServiceSid"] == [SERVICE]
    assert "From" not in sent


@pytest.mark.parametrize(
    ("time_to_live", "period"),
    [
        (None, None),
        (timedelta(0), "1"),
        (timedelta(seconds=-5), "1"),
        (timedelta(seconds=90, microseconds=500), "90"),
        (timedelta(hours=10), "36000"),
        (timedelta(days=30), "36000"),
    ],
)
def test_the_expiry_becomes_a_validity_period_that_twilio_takes(
    serve: Serve, time_to_live: timedelta | None, period: str | None
) -> None:
    server = serve(CREATED)
    one = provider(server.url)
    one.send(outbound(time_to_live=time_to_live))
    one.close()
    assert form(server.requests[0]).get("ValidityPeriod") == ([period] if period is not None else None)


# --- the message list -------------------------------------------------------------------------------------------------

SINCE = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def listed(sid: str, **changed: Any) -> dict[str, Any]:
    given = {"body": "Hello", "from": "+15005550006", "messaging_service_sid": None, "date_sent": None, **changed}
    return {"sid": sid, "date_created": format_datetime(given.pop("at", SINCE)), **given}


def found(serve: Serve, *messages: dict[str, Any], **changed: Any) -> list[str]:
    one = provider(serve(Answer(200, {"messages": messages, "page": 0})).url, **changed)
    receipts = one.accepted(outbound(), SINCE)
    one.close()
    return [receipt.provider_message_id for receipt in receipts]


def test_the_list_is_asked_for_the_number_and_not_for_a_day(serve: Serve) -> None:
    server = serve(Answer(200, {"messages": []}))
    one = provider(server.url)
    assert one.accepted(outbound(), SINCE) == []
    one.close()
    [request] = server.requests
    path, _, query = request.path.partition("?")
    assert (request.method, path) == ("GET", "/2010-04-01/Accounts/AC1/Messages.json")
    assert parse_qs(query) == {"To": ["+15005550123"], "PageSize": ["200"]}


def test_only_a_message_just_like_ours_is_found(serve: Serve) -> None:
    others = [
        listed("SM2", body="Hello "),
        listed("SM3", **{"from": "+15005550007"}),
        listed("SM4", at=SINCE - timedelta(seconds=1)),
        listed("SM5", messaging_service_sid=SERVICE, **{"from": "+15005550007"}),
    ]
    assert found(serve, *others) == []
    assert found(serve, listed("SM1"), *others) == ["SM1"]
    assert found(serve, *others, sender=SERVICE) == ["SM5"]


@pytest.mark.parametrize("status", ["failed", "undelivered", "canceled"])
def test_what_failed_has_not_arrived(serve: Serve, status: str) -> None:
    assert found(serve, listed("SM1", status=status), listed("SM2", status="queued")) == ["SM2"]


def test_a_list_too_long_to_be_looked_through_is_no_proof(serve: Serve) -> None:
    with pytest.raises(TransientError, match="list"):
        found(serve, *[listed(f"SM{n}", body="other") for n in range(200)])
    assert len(found(serve, *[listed(f"SM{n}") for n in range(200)])) == 200


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(401, 20003), AccountError),
        (refused(400, 20404), AccountError),
        (Answer(404, b"<html>"), AccountError),
        (refused(429, 20429), TransientError),
        (refused(500, 20500), AmbiguousError),
        (Answer(200, b"<html>"), AmbiguousError),
        (Answer(200, {"messages": [{"sid": "SM1", "body": "Hello"}]}), AmbiguousError),
        (Answer(200, {}), AmbiguousError),
        (CLOSE, AmbiguousError),
    ],
)
def test_a_list_that_does_not_come_is_an_error_and_no_empty_list(
    serve: Serve, answer: Answer | str, kind: type[DeliveryError]
) -> None:
    server = serve(answer)
    one = provider(server.url)
    with pytest.raises(kind):
        one.accepted(outbound(), SINCE)
    one.close()
    assert len(server.requests) == 1


def test_what_arrived_though_its_answer_was_lost_is_found(tmp_path: Path) -> None:
    with emulator(tmp_path) as running:
        one, begun = provider(running.http_url, sender=SERVICE), datetime.now(UTC) - timedelta(seconds=1)
        assert one.accepted(outbound(), begun) == []
        running.client.fail("sms", drop="after_accept", next=1)
        with pytest.raises(AmbiguousError):
            one.send(outbound())
        [receipt] = one.accepted(outbound(), begun)
        [arrived] = running.client.inbox("sms")
        one.close()
    assert receipt.provider_message_id == arrived["provider_message_id"]


def test_what_the_emulator_refuses_is_judged_as_from_twilio(tmp_path: Path) -> None:
    """Through the SDK, each code with a status of its own."""
    wrong = []
    with emulator(tmp_path) as running:
        one = provider(running.http_url)
        for code, kind, _ in DOCUMENTED:
            status = code - 20000 if 20400 <= code < 20600 else {20003: 401, 70051: 403, 63038: 429}.get(code, 400)
            running.client.fail("sms", status=status, code=str(code), next=1)
            error = raised_by(one)
            wrong += [(code, error)] if (error.kind, error.code) != (kind, str(code)) else []
        running.client.fail("sms", created="failed", code="30007", next=1)
        assert type(raised_by(one)) is PermanentError
        running.client.fail("sms", created="canceled", next=1)
        assert type(raised_by(one)) is TransientError
        assert one.send(outbound()).provider_message_id
        one.close()
    assert not wrong


def test_the_environment_decides_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_EDGE", "sydney")
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "ACother")
    server = serve(CREATED)
    one = provider(server.url)
    one.send(outbound())
    one.close()
    assert server.requests[0].path == "/2010-04-01/Accounts/AC1/Messages.json"


def test_nothing_personal_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        failed(serve(refused(400, 21211, "+15005550123")))
    assert "5550123" not in caplog.text
    assert "Hello" not in caplog.text
    assert "secret" not in caplog.text


def test_content_of_another_channel_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        provider("http://127.0.0.1:1").send(outbound(content=EmailContent(subject="s", text="t")))


GOOD = {"ACCOUNT_SID": "AC1", "AUTH_TOKEN": "secret", "SENDER": "+15005550006"}


def environment(**changed: str) -> dict[str, str]:
    return {f"TIDINGS_TWILIO_{name}": value for name, value in {**GOOD, **changed}.items()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCOUNT_SID", "SK1"),
        ("ACCOUNT_SID", ""),
        ("AUTH_TOKEN", "a secret with spaces"),
        ("SENDER", "a name that is too long"),
        ("URL", "ftp://host"),
        ("URL", "https://host/path"),
        ("TIMEOUT", "0"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^TIDINGS_TWILIO_{name}: .+") as raised:
        load(TwilioSettings, environment(**{name: value}))
    assert "\n" not in str(raised.value)
    assert "a secret" not in str(raised.value)


NO_SENDERS = {
    "a number of 16 digits": "+1234567890123456",
    "a number with a leading zero": "+0150055500",
    "a number without plus": "15005550006",
    "digits, too few for a short code": "12",
    "digits, too many": "123456789",
    "digits of others": "\u0661\u0662\u0663\u0664\u0665",
    "no letter": "12-34",
    "a name too long": "Shop and Co.",
    "a blank in front": " Shop",
    "a blank behind": "Shop ",
    "a dot": "Shop.com",
    "an umlaut": "Schön",
    "a line break": "Shop\n",
    "a service too short": f"MG{'0' * 31}",
    "a service that is not hexadecimal": f"MG{'g' * 32}",
    "an account": f"AC{'0' * 32}",
}


@pytest.mark.parametrize("value", NO_SENDERS.values(), ids=NO_SENDERS)
def test_what_is_no_sender_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^TIDINGS_TWILIO_SENDER: is neither a number like .+"):
        load(TwilioSettings, environment(SENDER=value))


@pytest.mark.parametrize(
    "sender", ["+15005550006", "12345", "123", SERVICE, "Shop & Co", "1st-Shop_+", "MG", "123456789 a", "S"]
)
def test_every_kind_of_sender_is_taken(sender: str) -> None:
    assert load(TwilioSettings, environment(SENDER=sender)).sender == sender


def test_the_secret_does_not_show() -> None:
    assert "secret" not in repr(load(TwilioSettings, environment()))
    assert "secret" not in json.dumps(str(load(TwilioSettings, environment())))

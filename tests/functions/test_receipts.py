"""The receipts function: what Twilio reports, verified and recorded."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from tidings.api.api_keys import Scope, new_key
from tidings.api.app import App
from tidings.api.http import Request, Response
from tidings.domain.channels import SmsContent
from tidings.domain.errors import AmbiguousError, ConfigurationError, StoreUnavailable
from tidings.domain.notification import Notification, Status
from tidings.domain.receipt import ReceiptKind
from tidings.domain.timing import REPORTED_AFTER
from tidings.ports import SendRequest, Settlement
from tidings.ports.receipts import Callback, WrongSignature
from tidings.providers.callbacks import CallbackAddresses, CallbackSettings, callback_addresses
from tidings.providers.twilio.receipts import TwilioReceipts
from tidings.providers.twilio.settings import TwilioCredentials
from tidings.runtime.container import Container
from twilio.request_validator import RequestValidator

from tests import make
from tests.functions.conftest import Imported
from tests.functions.scripted import Answer, ScriptedHttp
from tests.functions.served import Lines

BASE, TOKEN = "https://receipts.example.com", "emulated"
PATH = "/v1/receipts/twilio/main"
SECRET = "s" * 32
ADDRESSES = CallbackAddresses(base=BASE, secrets=[SECRET.encode()])


def form(status: str = "delivered", sid: str = "SM1", **more: str) -> dict[str, str]:
    """As Twilio sends it, with fields that we do not read."""
    return {
        "AccountSid": "AC1",
        "MessageSid": sid,
        "MessageStatus": status,
        "To": "+15005550010",
        "Ünknown": "",
        **more,
    }


def signed(fields: Mapping[str, str], *, url: str = f"{BASE}{PATH}", token: str = TOKEN) -> str:
    """By Twilio's own library."""
    return str(RequestValidator(token).compute_signature(url, dict(fields)))


def marked(row: Notification, **changes: Any) -> str:
    content = SmsContent(text="Hello")
    values = {"id": row.id, "generation": row.generation, "attempt": 1, "recipient": row.recipient, "content": content}
    return ADDRESSES.for_attempt("twilio", SendRequest(**{**values, **changes}))


# --- the function -----------------------------------------------------------------------------------------------------


@pytest.fixture
def app(imported: Imported, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", BASE)
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", SECRET)
    monkeypatch.setenv("TIDINGS_TWILIO_PREVIOUS_AUTH_TOKEN", "the-one-before")
    app: App = imported("receipts").function.app
    return app


Post = Callable[..., Response]


@pytest.fixture
def post(app: App) -> Post:
    """Send it as Twilio does, to the address that it was given."""

    def send(fields: Mapping[str, str], *, url: str = f"{BASE}{PATH}", signature: str | None = None) -> Response:
        path, _, query = url.removeprefix(BASE).partition("?")
        given = signature if signature is not None else signed(fields, url=url)
        request = Request(
            method="POST",
            path=path,
            query={"n": query.removeprefix("n=")} if query else {},
            headers={"x-twilio-signature": given, "content-type": "application/x-www-form-urlencoded"},
            body=urlencode(fields).encode(),
        )
        return asyncio.run(app.answer(request))

    return send


@pytest.fixture
def sent(container: Container) -> Notification:
    """A row that was accepted as SM1."""
    row = make.notification(datetime.now(UTC), channel="sms", recipient="+15005550010")
    container.store.insert([row])
    claims = container.store.claim([make.message(row)], timedelta(seconds=60))
    accepted: dict[str, Any] = {"status": Status.SENT, "provider": "twilio", "provider_message_id": "SM1"}
    container.store.settle([Settlement(claims=claims, notification=claims.acquired[0], **accepted)])
    return row


def status(container: Container, row: Notification) -> Status:
    found = container.store.get(row.tenant, row.id)
    assert found is not None
    return found.status


def test_a_signed_receipt_is_committed_before_it_is_answered(
    container: Container, post: Post, sent: Notification
) -> None:
    answer = post(form())
    assert (answer.status, answer.body) == (204, b"")
    assert status(container, sent) is Status.DELIVERED


def test_a_receipt_finds_its_row_by_the_address_if_the_providers_id_was_lost(container: Container, post: Post) -> None:
    row = make.notification(datetime.now(UTC), channel="sms")
    container.store.insert([row])
    claims = container.store.claim([make.message(row)], timedelta(seconds=60))
    assert post(form(), url=marked(row)).status == 204
    assert status(container, row) is Status.SENDING
    claimed = claims.acquired[0]
    container.store.settle(
        [Settlement(claims=claims, notification=claimed, status=Status.RETRYING, delay=timedelta(1))]
    )
    assert status(container, row) is Status.DELIVERED


@pytest.mark.parametrize("wrong", ["", "x", "é", signed(form(), token="a stranger's"), signed(form("failed"))])
def test_a_wrong_signature_is_refused_without_detail(
    container: Container, post: Post, sent: Notification, wrong: str
) -> None:
    answer = post(form(), signature=wrong)
    assert answer.status == 401
    assert "detail" not in json.loads(answer.body)
    assert status(container, sent) is Status.SENT


def test_a_signature_for_another_address_is_refused(container: Container, post: Post, sent: Notification) -> None:
    other = marked(make.notification(datetime.now(UTC)))
    assert post(form(), url=other, signature=signed(form())).status == 401
    assert post(form(), signature=signed(form(), url=other)).status == 401
    assert status(container, sent) is Status.SENT


def test_the_token_before_the_rotation_still_signs(container: Container, post: Post, sent: Notification) -> None:
    assert post(form(), signature=signed(form(), token="the-one-before")).status == 204
    assert status(container, sent) is Status.DELIVERED


def test_a_mark_that_is_not_ours_is_no_mark(container: Container, post: Post, sent: Notification) -> None:
    """Its seal belongs to another secret. The provider's id still finds the row."""
    forged = CallbackAddresses(base=BASE, secrets=[b"another" * 8])
    other = make.notification(datetime.now(UTC), channel="sms")
    request = SendRequest(id=other.id, attempt=1, recipient="+1", content=SmsContent(text="Hello"))
    assert post(form(), url=forged.for_attempt("twilio", request)).status == 204
    assert status(container, sent) is Status.DELIVERED


@pytest.mark.parametrize("path", ["/v1/receipts/sendgrid/main", "/v1/receipts/twilio/other", "/v1/receipts/twilio"])
def test_an_unknown_path_is_not_found_and_its_body_not_read(app: App, path: str) -> None:
    read: list[int] = []

    @asynccontextmanager
    async def body(most: int) -> Any:
        read.append(most)
        yield b""

    assert asyncio.run(app.answer(Request(method="POST", path=path), body)).status == 404
    assert read == []
    assert asyncio.run(app.answer(Request(method="POST", path=PATH), body)).status == 401
    assert read == [64 * 1024]


def test_a_larger_body_is_refused(app: App) -> None:
    request = Request(method="POST", path=PATH, body=bytes(64 * 1024 + 1))
    assert asyncio.run(app.answer(request)).status == 413


def test_a_body_that_is_no_form_is_refused(app: App) -> None:
    for raw in (b"\xff=\xff\xfe", b"&".join(b"a=%d" % number for number in range(300)), b"{}"):
        headers = {"x-twilio-signature": "x"}
        assert asyncio.run(app.answer(Request(method="POST", path=PATH, headers=headers, body=raw))).status == 401


def test_while_the_database_is_down_nothing_is_lost_if_it_comes_again(
    container: Container, app: App, post: Post, sent: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidings.adapters.sql.store import SqlStore

    def down(*_: object) -> Any:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patched:
        patched.setattr(SqlStore, "apply_receipts", down)
        answer = post(form())
        assert (answer.status, "retry-after" in answer.headers) == (503, True)
    assert post(form()).status == 204
    assert status(container, sent) is Status.DELIVERED


def test_many_at_once_are_recorded_in_few_transactions(
    container: Container, app: App, sent: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidings.adapters.sql.store import SqlStore

    batches: list[int] = []
    apply = SqlStore.apply_receipts

    def counted(self: SqlStore, batch: Any) -> Any:
        batches.append(len(batch))
        return apply(self, batch)

    monkeypatch.setattr(SqlStore, "apply_receipts", counted)

    async def flood() -> list[Response]:
        requests = [
            Request(
                method="POST",
                path=PATH,
                headers={"x-twilio-signature": signed(fields)},
                body=urlencode(fields).encode(),
            )
            for fields in [form("sent"), form(), *(form(sid=f"SM{number}") for number in range(100))]
        ]
        return list(await asyncio.gather(*(app.answer(request) for request in requests)))

    assert {answer.status for answer in asyncio.run(flood())} == {204}
    assert sum(batches) == 102
    assert len(batches) < 30
    assert status(container, sent) is Status.DELIVERED


@pytest.mark.parametrize("is_down", [False, True])
def test_of_reports_that_are_read_together_each_has_its_own_answer(
    app: App, container: Container, sent: Notification, monkeypatch: pytest.MonkeyPatch, is_down: bool
) -> None:
    from tidings.adapters.sql.store import SqlStore

    read: list[str] = []
    parse = TwilioReceipts.parse

    def parsed(self: TwilioReceipts, callback: Callback) -> Any:
        read.append(threading.current_thread().name)
        if b"SM666" in callback.body:
            raise ArithmeticError
        return parse(self, callback)

    def down(*_: object) -> Any:
        raise StoreUnavailable("down")

    monkeypatch.setattr(TwilioReceipts, "parse", parsed)
    if is_down:
        monkeypatch.setattr(SqlStore, "apply_receipts", down)

    def request(fields: Mapping[str, str], signature: str | None = None) -> Request:
        headers = {"x-twilio-signature": signature or signed(fields)}
        return Request(method="POST", path=PATH, headers=headers, body=urlencode(fields).encode())

    async def together() -> list[int]:
        requests = [
            request(form("a new word")),
            request(form(), "forged"),
            request(form("received")),
            request(form(sid="SM666")),
            request(form()),
            request(form()),
        ]
        return [answer.status for answer in await asyncio.gather(*(app.answer(one) for one in requests))]

    committed = 503 if is_down else 204
    assert asyncio.run(together()) == [204, 401, 204, 500, committed, committed]
    assert all(name.startswith("tidings-receipts") for name in read)  # the event loop verifies nothing
    assert status(container, sent) is (Status.SENT if is_down else Status.DELIVERED)


def test_no_line_has_a_number_or_a_signature(post: Post, sent: Notification, lines: Lines) -> None:
    post(form("undelivered", ErrorCode="30003"))
    post(form(), signature="a-forged-signature")
    assert "receipt_recorded" in lines.text()
    assert "5005550010" not in lines.text()
    assert "a-forged-signature" not in lines.text()


def test_an_event_of_lambda_is_answered(
    container: Container,
    imported: Imported,
    settings: dict[str, str],
    sent: Notification,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", BASE)
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", SECRET)
    url = marked(sent)
    event = {
        "requestContext": {"http": {"method": "POST", "path": PATH}},
        "rawPath": PATH,
        "rawQueryString": url.partition("?")[2],
        "headers": {"X-Twilio-Signature": signed(form(), url=url)},
        "body": urlencode(form()),
    }
    assert imported("receipts").handler(event, None)["statusCode"] == 204
    assert status(container, sent) is Status.DELIVERED


@pytest.mark.parametrize(
    ("given", "missing"),
    [({}, "TIDINGS_RECEIPTS_URL"), ({"TIDINGS_RECEIPTS_URL": BASE}, "TIDINGS_RECEIPTS_SECRET")],
)
def test_a_missing_setting_is_named(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, given: dict[str, str], missing: str
) -> None:
    from tidings.providers import receipt_parsers

    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=missing):
        receipt_parsers()


# --- Twilio's words ---------------------------------------------------------------------------------------------------


@pytest.fixture
def parser() -> TwilioReceipts:
    return TwilioReceipts(TwilioCredentials(account_sid="AC1", auth_token=TOKEN), ADDRESSES)


def callback(fields: Mapping[str, str], *, signature: str | None = None, mark: str | None = None) -> Callback:
    url = ADDRESSES.url("twilio", "main", mark)
    headers = {"x-twilio-signature": signed(fields, url=url) if signature is None else signature}
    return Callback(
        connection="main", mark=mark, headers=headers, body=urlencode(fields).encode(), at=datetime.now(UTC)
    )


@pytest.mark.parametrize(
    ("said", "code", "kind"),
    [
        *((word, "", ReceiptKind.ACCEPTED) for word in ("accepted", "scheduled", "queued", "sending", "sent")),
        ("delivered", "", ReceiptKind.DELIVERED),
        ("read", "", ReceiptKind.DELIVERED),
        ("canceled", "", ReceiptKind.FAILED_SOFT),
        ("undelivered", "30003", ReceiptKind.FAILED_SOFT),
        ("undelivered", "30008", ReceiptKind.FAILED_SOFT),
        ("undelivered", "", ReceiptKind.FAILED_SOFT),
        ("failed", "99999", ReceiptKind.FAILED_SOFT),
        ("failed", "30005", ReceiptKind.FAILED_HARD),
        ("undelivered", "30006", ReceiptKind.FAILED_HARD),
        ("failed", "30007", ReceiptKind.FAILED_HARD),
        ("failed", "21610", ReceiptKind.FAILED_HARD),
        ("failed", "30034", ReceiptKind.FAILED_SOFT),  # our account's: another try may help
    ],
)
def test_each_word_of_twilio_has_its_kind(parser: TwilioReceipts, said: str, code: str, kind: ReceiptKind) -> None:
    (found,) = parser.parse(callback(form(said, ErrorCode=code)))
    assert (found.kind, found.provider_message_id, found.event_id) == (kind, "SM1", f"SM1:{said}")
    assert (found.code is None) == (found.error is None)


@pytest.mark.parametrize("said", ["received", "receiving", "a new word", ""])
def test_words_that_we_do_not_know_change_nothing(parser: TwilioReceipts, said: str) -> None:
    assert parser.parse(callback(form(said))) == []


def test_the_usual_port_may_be_signed_and_another_may_not(parser: TwilioReceipts) -> None:
    with_port = f"{BASE}:443{PATH}"
    assert parser.parse(callback(form(), signature=signed(form(), url=with_port))) != []
    with pytest.raises(WrongSignature):
        parser.parse(callback(form(), signature=signed(form(), url=f"{BASE}:8443{PATH}")))


def test_the_mark_says_which_attempt(parser: TwilioReceipts) -> None:
    row = make.notification(datetime.now(UTC))
    mark = marked(row, generation=3, attempt=7).partition("n=")[2]
    (found,) = parser.parse(callback(form(), mark=mark))
    assert (found.notification_id, found.generation, found.attempt) == (row.id, 3, 7)
    (other,) = parser.parse(callback(form(), mark=mark.replace(".7.", ".8.")))
    assert other.notification_id is None


def test_a_token_that_has_changed_in_aws_is_read_again(parser: TwilioReceipts, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = TwilioCredentials(account_sid="AC1", auth_token="new")
    asked: list[bool] = []

    def read(given: TwilioCredentials, *, anew: bool = False) -> TwilioCredentials:
        asked.append(anew)
        return newer if anew else given

    monkeypatch.setattr("tidings.config.rotation.load_again", read)
    monkeypatch.setattr(TwilioCredentials, "are_in_aws", True)
    assert parser.parse(callback(form(), signature=signed(form(), token="new"))) != []
    assert asked == [False, True]
    for _ in range(20):
        with pytest.raises(WrongSignature):
            parser.parse(callback(form(), signature="forged"))
    assert asked.count(True) == 1, "a flood of forged ones does not flood AWS"


# --- what Twilio is asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [True, False])
def test_twilio_is_asked_to_report_if_there_is_an_address(on: bool) -> None:
    from tests.functions.test_twilio import outbound, provider

    row = make.notification(datetime.now(UTC))
    with ScriptedHttp(lambda _: Answer(201, {"sid": "SM42", "status": "queued"})).running() as server:
        one = provider(server.url)
        one._callbacks = ADDRESSES if on else None
        one.send(outbound(id=row.id, generation=2, attempt=5))
        one.close()
        (request,) = server.requests
    address = dict(parse_qsl(request.body.decode())).get("StatusCallback")
    if not on:
        assert address is None
        return
    assert address == f"{marked(row, generation=2, attempt=5)}#rc=5&rp=all"
    mark = ADDRESSES.read("twilio", address.partition("n=")[2].partition("#")[0])
    assert mark is not None
    assert (mark.notification_id, mark.generation, mark.attempt) == (row.id, 2, 5)


@pytest.mark.parametrize(("on", "wait"), [(True, REPORTED_AFTER), (False, None)])
def test_a_receipt_has_time_to_cancel_the_repetition_of_an_ambiguous_attempt(on: bool, wait: timedelta | None) -> None:
    from tests.functions.test_twilio import outbound, provider

    with ScriptedHttp(lambda _: Answer(500, {"code": 20500})).running() as server:
        one = provider(server.url)
        one._callbacks = ADDRESSES if on else None
        with pytest.raises(AmbiguousError) as raised:
            one.send(outbound())
        one.close()
    assert raised.value.retry_after == wait


def test_without_an_address_there_is_none(settings: dict[str, str]) -> None:
    assert callback_addresses() is None
    assert "s" * 32 not in repr(CallbackSettings(receipts_secret=SECRET))


# --- what it needs ----------------------------------------------------------------------------------------------------


def test_it_needs_neither_a_broker_nor_api_keys(
    imported: Imported, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is public, so it gets as little as possible. A key is for `GET /metrics`, which is off here."""
    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", BASE)
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", SECRET)
    for name in ("TIDINGS_API_KEYS", "TIDINGS_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    app: App = imported("receipts").function.app
    answer = asyncio.run(app.answer(Request(method="GET", path="/readyz", query={}, headers={}, body=b"")))
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok", "database": "ok"})


def test_where_metrics_are_served_it_needs_the_keys_that_may_read_them(
    imported: Imported, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", BASE)
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", SECRET)
    monkeypatch.setenv("TIDINGS_METRICS", "prometheus")
    monkeypatch.delenv("TIDINGS_API_KEYS", raising=False)
    with pytest.raises(SystemExit):
        imported("receipts")


def test_a_refused_report_is_counted_and_a_scrape_says_whose_reports_are_expected(
    imported: Imported, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many refused ones mean a wrong token or address; none at all, that nobody reaches this function."""
    key, stored = new_key("ops", [Scope.ADMIN])
    more = {"RECEIPTS_URL": BASE, "RECEIPTS_SECRET": SECRET, "METRICS": "prometheus", "API_KEYS": str(stored)}
    for name, value in more.items():
        monkeypatch.setenv(f"TIDINGS_{name}", value)
    app: App = imported("receipts").function.app
    forged = Request(method="POST", path=PATH, query={}, headers={"x-twilio-signature": "x"}, body=b"a=b")
    scrape = Request(method="GET", path="/metrics", query={}, headers={"authorization": f"Bearer {key}"}, body=b"")
    assert asyncio.run(app.answer(forged)).status == 401
    shown = asyncio.run(app.answer(scrape)).body.decode()
    assert 'tidings_receipts_refused_total{provider="twilio"} 1.0' in shown
    assert 'tidings_receipts_expected{provider="twilio"} 1.0' in shown

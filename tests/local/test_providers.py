"""The emulated providers keep their promises to the real SDKs: smtplib, twilio and firebase-admin."""

import contextlib
import json
import signal
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import firebase_admin
import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from firebase_admin import credentials, exceptions, messaging
from requests.adapters import HTTPAdapter
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from local.emulators.client import EmulatorError
from tests.emulator import Running, emulator
from tests.scenarios.caller import wait_for

ACCOUNT = "AC" + "0" * 32
SENDER = "+15005550006"
RECIPIENT = "+4915112345678"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with emulator(tmp_path_factory.mktemp("providers")) as running:
        yield running


@pytest.fixture
def providers(started: Running) -> Running:
    """The shared emulator, with an empty inbox and no failures."""
    started.client.clear()
    return started


# --- the SDKs, pointed here -------------------------------------------------------------------------------------------


class Redirected(HTTPAdapter):
    """Sends every request to the emulator, without retries."""

    def __init__(self, url: str) -> None:
        super().__init__(max_retries=0)
        self._url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = self._url + request.path_url
        return super().send(request, *args, **kwargs)


@contextmanager
def twilio(providers: Running, *, token: str = "token", timeout: float = 10) -> Iterator[Client]:
    http = TwilioHttpClient(timeout=timeout)
    http.session.mount("https://", Redirected(providers.http_url))
    with http.session:
        yield Client(ACCOUNT, token, http_client=http)


@pytest.fixture
def push(providers: Running) -> Iterator[firebase_admin.App]:
    app = firebase_admin.initialize_app(credentials.Certificate(str(providers.service_account)), name="test")
    session = messaging._get_messaging_service(app)._client.session
    session.mount("https://fcm.googleapis.com", Redirected(providers.http_url))
    yield app
    firebase_admin.delete_app(app)


@contextmanager
def smtp(providers: Running) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", providers.smtp_port, timeout=10) as client:
        yield client


def mail(recipient: str = "ada@example.com", message_id: str = "<1@example.com>") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@example.com", recipient, "Verschickt: Ihr Päckchen"
    message["Message-ID"] = message_id
    message.set_content("Grüße\nvon uns\n")
    return message


def send_mail(providers: Running, recipient: str = "ada@example.com", message_id: str = "<1@example.com>") -> None:
    with smtp(providers) as client:
        client.send_message(mail(recipient, message_id))


def refused_with(providers: Running, recipient: str = "ada@example.com") -> tuple[int, bytes]:
    with smtp(providers) as client, pytest.raises(smtplib.SMTPResponseException) as refused:
        client.send_message(mail(recipient))
    error = refused.value.smtp_error
    return refused.value.smtp_code, error if isinstance(error, bytes) else error.encode()


def send_sms(providers: Running, **parameters: Any) -> Any:
    with twilio(providers) as client:
        return client.messages.create(**{"to": RECIPIENT, "from_": SENDER, "body": "Hello", **parameters})


def sms_error(providers: Running, **parameters: Any) -> TwilioRestException:
    with pytest.raises(TwilioRestException) as refused:
        send_sms(providers, **parameters)
    return refused.value


def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    try:
        with urlopen(Request(url, body, headers or {}), timeout=10) as response:
            return response.status, json.loads(response.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def outcomes(providers: Running) -> list[tuple[str, int]]:
    return [(call["outcome"], call["status"]) for call in providers.client.calls()]


# --- email ------------------------------------------------------------------------------------------------------------


def test_a_mail_arrives_with_everything_in_it(providers: Running) -> None:
    message = mail()
    message.add_alternative("<p>Grüße</p>", subtype="html")
    message.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="Rechnung für Ada.pdf")
    with smtp(providers) as client:
        client.send_message(message, to_addrs=["ada@example.com", "bob@example.com"])

    (arrived,) = providers.client.inbox("email")
    assert arrived["recipient"] == "ada@example.com"
    assert arrived["recipients"] == ["ada@example.com", "bob@example.com"]
    assert arrived["sender"] == "shop@example.com"
    assert arrived["subject"] == "Verschickt: Ihr Päckchen"
    assert arrived["text"] == "Grüße\nvon uns\n"
    assert arrived["html"] == "<p>Grüße</p>\n"
    assert arrived["message_id"] == "<1@example.com>"
    assert arrived["headers"]["To"] == "ada@example.com"
    assert arrived["attachments"] == [
        {"filename": "Rechnung für Ada.pdf", "content_type": "application/pdf", "size": 5}
    ]
    assert arrived["at"].endswith("Z")
    (call,) = providers.client.calls("email")
    assert (call["outcome"], call["message_id"], call["recipient"]) == (
        "accepted",
        "<1@example.com>",
        "ada@example.com",
    )


def test_the_mail_server_offers_pipelining_and_a_size_and_no_smtputf8(providers: Running) -> None:
    with smtp(providers) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == str(25 * 1024 * 1024)
        assert client.has_extn("pipelining")
        assert not client.has_extn("smtputf8")
        assert not client.has_extn("starttls")


def test_pipelined_commands_are_answered_one_by_one(providers: Running) -> None:
    with socket.create_connection(("127.0.0.1", providers.smtp_port), timeout=10) as connection:
        lines = connection.makefile("rb")
        lines.readline()
        connection.sendall(b"HELO me\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<unknown@example.com>\r\n")
        connection.sendall(b"RCPT TO:<b@example.com>\r\nDATA\r\n")
        assert [lines.readline()[:3] for _ in range(5)] == [b"250", b"250", b"550", b"250", b"354"]
        connection.sendall(b"Subject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n")
        assert [lines.readline()[:3] for _ in range(2)] == [b"250", b"221"]
        lines.close()
    assert providers.client.inbox("email")[0]["text"] == ".dot\n"


@pytest.mark.parametrize(
    ("recipient", "status", "enhanced"),
    [
        ("unknown-1@example.com", 550, "5.1.1"),
        ("full@example.com", 452, "4.2.2"),
        ("greylist@example.com", 451, "4.7.1"),
        ("denied@example.com", 554, "5.7.1"),
        ("policy@example.com", 550, "5.7.1"),
    ],
)
def test_a_mailbox_refuses_in_its_way(providers: Running, recipient: str, status: int, enhanced: str) -> None:
    with smtp(providers) as client, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        client.send_message(mail(recipient))

    assert refused.value.recipients[recipient][0] == status
    assert refused.value.recipients[recipient][1].startswith(enhanced.encode())
    (call,) = providers.client.calls("email")
    assert (call["outcome"], call["recipient"], call["status"], call["code"]) == (
        "refused",
        recipient,
        status,
        enhanced,
    )
    assert providers.client.inbox() == []


def test_spam_is_refused_after_the_mail(providers: Running) -> None:
    with smtp(providers) as client, pytest.raises(smtplib.SMTPDataError, match=r"554, b'5\.7\.1 .* spam") as refused:
        client.send_message(mail("spam@example.com"))

    assert refused.value.smtp_code == 554
    assert outcomes(providers) == [("refused", 554)]
    assert providers.client.inbox() == []


def test_a_mail_over_the_size_limit_is_refused(providers: Running) -> None:
    with smtp(providers) as client:
        client.ehlo()
        code, text = client.mail("a@example.com", [f"size={25 * 1024 * 1024 + 1}"])
        assert (code, text[:6]) == (552, b"5.3.4 ")


def test_a_smaller_size_limit_is_announced_and_kept(tmp_path: Path) -> None:
    with emulator(tmp_path, "--smtp-size", "1000") as providers, smtp(providers) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == "1000"
        client.mail("a@example.com")
        client.rcpt("b@example.com")
        code, text = client.data(b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 20)
        assert (code, text[:6]) == (552, b"5.3.4 ")
        assert providers.client.inbox() == []


def test_an_idle_client_gets_a_timeout_reply(tmp_path: Path) -> None:
    with emulator(tmp_path, "--smtp-idle", "1") as providers, smtp(providers) as client:
        client.ehlo()
        client.send_message(mail())
        assert client.getreply() == (451, b"4.4.2 Timeout waiting for data from client.")
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()


def test_a_slow_answer_to_a_mail_is_not_an_idle_timeout(tmp_path: Path) -> None:
    with emulator(tmp_path, "--smtp-idle", "1") as providers:
        providers.client.fail("email", next=1, delay=3)
        with smtp(providers) as client, pytest.raises(smtplib.SMTPServerDisconnected):
            client.send_message(mail())
        assert len(providers.client.inbox("email")) == 1


def test_a_hundred_recipients_are_taken_and_no_more(providers: Running) -> None:
    with smtp(providers) as client:
        client.ehlo()
        client.mail("a@example.com")
        assert {client.rcpt(f"a{n}@example.com")[0] for n in range(100)} == {250}
        assert client.rcpt("one.more@example.com") == (452, b"4.5.3 Too many recipients")


@pytest.mark.parametrize("stage", ["mail", "data", "dot"])
def test_a_mail_fails_on_demand_at_each_stage(providers: Running, stage: Any) -> None:
    providers.client.fail("email", next=1, status=451, enhanced="4.3.2", message="Come back later", stage=stage)

    assert refused_with(providers) == (451, b"4.3.2 Come back later")
    send_mail(providers)

    assert outcomes(providers) == [("refused", 451), ("accepted", 250)]


def test_a_recipient_fails_on_demand(providers: Running) -> None:
    providers.client.fail("email", status=450, stage="rcpt", recipient="bob@example.com")
    with smtp(providers) as client:
        refused = client.send_message(mail(), to_addrs=["ada@example.com", "bob@example.com"])

    assert refused == {"bob@example.com": (450, b"4.3.0 Failure on demand")}
    assert providers.client.inbox()[0]["recipients"] == ["ada@example.com"]


def test_a_connection_fails_on_demand(providers: Running) -> None:
    providers.client.fail("email", next=1, status=421, stage="connect")
    providers.client.fail("email", next=1, drop="before_accept", stage="connect")

    with pytest.raises(smtplib.SMTPConnectError, match="421"):
        send_mail(providers)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send_mail(providers)
    send_mail(providers)

    assert outcomes(providers) == [("refused", 421), ("dropped_before_accept", 0), ("accepted", 250)]


def test_421_closes_the_connection(providers: Running) -> None:
    providers.client.fail("email", next=1, status=421, stage="rcpt")
    with smtp(providers) as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.send_message(mail())
    with smtp(providers) as client:
        client.ehlo()
        providers.client.fail("email", next=1, status=421, stage="mail")
        assert client.mail("a@example.com")[0] == 421
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()


@pytest.mark.parametrize(("drop", "arrived"), [("after_accept", 1), ("before_accept", 0)])
def test_a_connection_is_lost_after_the_dot(providers: Running, drop: Any, arrived: int) -> None:
    providers.client.fail("email", next=1, drop=drop)

    with pytest.raises(smtplib.SMTPServerDisconnected):
        send_mail(providers)

    assert len(providers.client.inbox("email")) == arrived
    (call,) = providers.client.calls()
    assert (call["outcome"], call["message_id"]) == (f"dropped_{drop}", "<1@example.com>")


def test_a_login_is_required_and_starttls_protects_it(tmp_path: Path) -> None:
    options = ("--smtp-auth", "ada:secret", "--smtp-tls", "self-signed", "--state", str(tmp_path / "state"))
    with emulator(tmp_path, *options) as providers:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "state" / "smtp-certificate.pem"))
        with smtp(providers) as client, pytest.raises(smtplib.SMTPSenderRefused, match="530"):
            client.send_message(mail())
        with smtp(providers) as client:
            client.ehlo()
            assert not client.has_extn("auth")
            client.starttls(context=trusted)
            with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
                client.login("ada", "wrong")
            client.login("ada", "secret")
            client.send_message(mail())
        providers.client.fail("email", drop="after_accept")
        with smtp(providers) as client:
            client.starttls(context=trusted)
            client.login("ada", "secret")
            with pytest.raises(smtplib.SMTPServerDisconnected):
                client.send_message(mail())

        assert len(providers.client.inbox("email")) == 2
        assert {"refused", "accepted", "dropped_after_accept"} == {outcome for outcome, _ in outcomes(providers)}


# --- sms --------------------------------------------------------------------------------------------------------------


def test_an_sms_is_queued_and_arrives(providers: Running) -> None:
    message = send_sms(providers, body="Grüße " * 27, validity_period=600)

    assert message.sid.startswith("SM")
    assert len(message.sid) == 34
    assert message.status == "queued"
    assert message.num_segments == "2"
    assert message.error_code is None
    (arrived,) = providers.client.inbox("sms")
    assert arrived["provider_message_id"] == message.sid
    assert (arrived["recipient"], arrived["from"]) == (RECIPIENT, SENDER)
    assert arrived["text"] == "Grüße " * 27
    assert arrived["parameters"] == {"ValidityPeriod": "600"}
    (call,) = providers.client.calls("sms")
    assert (call["outcome"], call["status"], call["message_id"]) == ("accepted", 201, message.sid)


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("é" * 160, 1),
        ("é" * 161, 2),
        ("é" * 306, 2),
        ("é" * 307, 3),
        ("[" * 80, 1),
        ("[" * 81, 2),
        ("[" * 152, 2),  # 76 in each: one place is left over, and none is cut in two
        ("[" * 153, 3),
        ("á" * 70, 1),
        ("á" * 71, 2),
        ("\N{GRINNING FACE}" * 35, 1),
        ("\N{GRINNING FACE}" * 66, 2),
        ("\N{GRINNING FACE}" * 67, 3),
    ],
)
def test_an_sms_has_as_many_segments_as_its_letters_need(providers: Running, text: str, segments: int) -> None:
    assert send_sms(providers, body=text).num_segments == str(segments)


@pytest.mark.parametrize(("created", "code"), [("failed", "30007"), ("undelivered", None), ("canceled", None)])
def test_an_sms_fails_on_demand_as_it_is_created(providers: Running, created: Any, code: str | None) -> None:
    given: Any = {"code": code} if code is not None else {}
    providers.client.fail("sms", next=1, created=created, **given)

    message = send_sms(providers)

    assert (message.status, message.error_code) == (created, int(code) if code is not None else None)
    assert providers.client.inbox("sms") == []
    (call,) = providers.client.calls("sms")
    assert (call["outcome"], call["status"], call["code"]) == ("refused", 201, code or created)


def test_daily_limits_fail_on_demand(providers: Running) -> None:
    providers.client.fail("sms", next=1, status=429, code="63038")
    error = sms_error(providers)
    assert (error.status, error.code) == (429, 63038)
    assert "daily messages limit" in error.msg


def test_a_messaging_service_needs_no_sender(providers: Running) -> None:
    assert send_sms(providers, from_=None, messaging_service_sid="MG" + "0" * 32).status == "accepted"


@pytest.mark.parametrize(
    ("parameters", "code", "status"),
    [
        ({"to": "+15005550001"}, 21211, 400),
        ({"to": "+15005550002"}, 21612, 400),
        ({"to": "+15005550003"}, 21408, 400),
        ({"to": "+15005550004"}, 21610, 400),
        ({"to": "+15005550009"}, 21614, 400),
        ({"to": "not a number"}, 21211, 400),
        ({"from_": "+15005550001"}, 21212, 400),
        ({"from_": "+15005550007"}, 21606, 400),
        ({"from_": "+15005550008"}, 21611, 429),
        ({"to": ""}, 21604, 400),
        ({"from_": ""}, 21603, 400),
        ({"body": ""}, 21602, 400),
        ({"body": " \n\u200b"}, 21602, 400),
        ({"body": " ", "from_": None, "messaging_service_sid": "MG" + "0" * 32}, 21619, 400),
        ({"body": "x" * 1601}, 21617, 400),
        ({"body": "[" * 801}, 21617, 400),
        ({"body": "\N{GRINNING FACE}" * 801}, 21617, 400),
        ({"to": "12345"}, 21265, 400),
        ({"to": SENDER}, 21266, 400),
        ({"from_": "Shop and Company"}, 21212, 400),
        ({"from_": "12"}, 21212, 400),
        ({"from_": None, "messaging_service_sid": "MG1"}, 21705, 400),
    ],
)
def test_twilio_refuses_with_its_code(providers: Running, parameters: dict[str, str], code: int, status: int) -> None:
    error = sms_error(providers, **parameters)

    assert (error.code, error.status) == (code, status)
    assert providers.client.inbox() == []
    (call,) = providers.client.calls("sms")
    assert (call["outcome"], call["code"]) == ("refused", str(code))


def test_a_wrong_twilio_login_is_refused(tmp_path: Path) -> None:
    with emulator(tmp_path, "--twilio-auth", f"{ACCOUNT}:right") as providers:
        with twilio(providers, token="wrong") as client, pytest.raises(TwilioRestException) as refused:
            client.messages.create(to=RECIPIENT, from_=SENDER, body="Hello")
        assert (refused.value.code, refused.value.status) == (20003, 401)
        with twilio(providers, token="right") as client:
            client.messages.create(to=RECIPIENT, from_=SENDER, body="Hello")
        assert outcomes(providers) == [("refused", 401), ("accepted", 201)]


def test_sent_messages_can_be_fetched_and_listed_over_pages(providers: Running) -> None:
    sids = [send_sms(providers, body=f"Number {number}").sid for number in range(5)]
    send_sms(providers, to="+4915100000000")
    with twilio(providers) as client:
        fetched = client.messages(sids[0]).fetch()
        listed = client.messages.list(to=RECIPIENT, page_size=2)
        limited = client.messages.list(to=RECIPIENT, limit=1)
        everything = client.messages.list()
        today = client.messages.list(date_sent=fetched.date_sent)
        earlier = client.messages.list(date_sent_before="2000-01-01T00:00:00Z")
        with pytest.raises(TwilioRestException) as missing:
            client.messages("SM" + "0" * 32).fetch()

    assert (fetched.body, fetched.to, fetched.status) == ("Number 0", RECIPIENT, "delivered")
    assert [message.sid for message in listed] == sids[::-1]
    assert [message.sid for message in limited] == sids[-1:]
    assert len(everything) == 6
    day = fetched.date_sent.date()  # that of all of them, unless midnight came in between
    assert [message.sid for message in today] == [one.sid for one in everything if one.date_sent.date() == day]
    assert earlier == []
    assert (missing.value.code, missing.value.status) == (20404, 404)


# --- push -------------------------------------------------------------------------------------------------------------


def to_device(token: str, **parts: Any) -> messaging.Message:
    """A message to a registration token, set afterwards: the constructor warns of tokens, which FCM still takes."""
    message = messaging.Message(**parts)
    message.token = token
    return message


def push_error(push: firebase_admin.App, message: messaging.Message) -> exceptions.FirebaseError:
    with pytest.raises(exceptions.FirebaseError) as refused:
        messaging.send(message, app=push)
    return refused.value


def test_a_push_arrives(providers: Running, push: firebase_admin.App) -> None:
    notification = messaging.Notification(title="Shipped", body="On its way")
    name = messaging.send(to_device("device-1", notification=notification, data={"k": "v"}), app=push)
    messaging.send(messaging.Message(topic="news", data={"k": "v"}), app=push)
    messaging.send(messaging.Message(fid="installation-1", data={"k": "v"}), app=push)

    assert name.startswith("projects/tidings-local/messages/")
    third, second, first = providers.client.inbox("push")
    assert (first["recipient"], first["provider_message_id"]) == ("device-1", name)
    assert (first["title"], first["body"], first["data"]) == ("Shipped", "On its way", {"k": "v"})
    assert second["recipient"] == "topic:news"
    assert third["recipient"] == "installation-1"


def test_a_dry_run_is_accepted_and_arrives_nowhere(providers: Running, push: firebase_admin.App) -> None:
    messaging.send(to_device("device-1", data={"k": "v"}), dry_run=True, app=push)

    assert providers.client.inbox() == []
    assert outcomes(providers) == [("accepted", 200)]


def test_special_tokens_are_refused_as_fcm_refuses_them(providers: Running, push: firebase_admin.App) -> None:
    dead = push_error(push, to_device("unregistered-1"))
    foreign = push_error(push, to_device("mismatch-1"))
    broken = push_error(push, to_device("invalid-1"))

    assert isinstance(dead, messaging.UnregisteredError)
    assert isinstance(foreign, messaging.SenderIdMismatchError)
    assert isinstance(broken, exceptions.InvalidArgumentError)
    details = broken.http_response.json()["error"]["details"]
    assert details[0]["errorCode"] == "INVALID_ARGUMENT"
    assert details[1]["fieldViolations"][0]["field"] == "message.token"
    codes = [call["code"] for call in providers.client.calls("push")]
    assert codes == ["UNREGISTERED", "SENDER_ID_MISMATCH", "INVALID_ARGUMENT"]


def test_an_apns_or_web_push_key_is_refused_for_its_tokens_alone(providers: Running, push: firebase_admin.App) -> None:
    assert isinstance(push_error(push, to_device("third-party-1", data={"k": "v"})), messaging.ThirdPartyAuthError)
    messaging.send(to_device("device-1", data={"k": "v"}), app=push)


def test_a_push_shows_its_priority_and_collapse_id(providers: Running, push: firebase_admin.App) -> None:
    headers = {"apns-priority": "5", "apns-push-type": "background", "apns-collapse-id": "id-1"}
    payload = messaging.APNSPayload(aps=messaging.Aps(content_available=True))
    parts = {
        "android": messaging.AndroidConfig(priority="high"),
        "apns": messaging.APNSConfig(headers=headers, payload=payload),
        "webpush": messaging.WebpushConfig(headers={"Topic": "id1", "Urgency": "high"}),
    }
    messaging.send(to_device("device-1", data={"k": "v"}, **parts), app=push)
    (arrived,) = providers.client.inbox("push")
    assert (arrived["priority"], arrived["collapse_id"]) == ("high", "id-1")
    assert arrived["message"]["apns"]["headers"] == headers


def test_a_quota_error_has_retry_after_in_the_header_or_the_body(providers: Running, push: firebase_admin.App) -> None:
    providers.client.fail("push", next=1, status=429, retry_after=90)
    header = push_error(push, to_device("device-1", data={"k": "v"})).http_response
    providers.client.fail("push", next=1, status=429, retry_after=90, retry_info=True)
    body = push_error(push, to_device("device-1", data={"k": "v"})).http_response

    assert (header.headers["Retry-After"], len(header.json()["error"]["details"])) == ("90", 1)
    assert "Retry-After" not in body.headers
    told = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "90s"}
    assert body.json()["error"]["details"][1] == told


def test_the_token_exchange_answers_anything_on_demand(providers: Running) -> None:
    providers.client.fail("push", next=1, stage="token", message="<html>")
    providers.client.fail("push", next=1, stage="token", status=503)
    providers.client.fail("push", next=1, stage="token", drop="before_accept")
    url = f"{providers.http_url}/token"
    with urlopen(Request(url, b"x"), timeout=10) as response:
        assert (response.status, response.read()) == (200, b"<html>")
    with pytest.raises(HTTPError, match="503"), urlopen(Request(url, b"x"), timeout=10):
        pass
    with pytest.raises(ConnectionResetError), urlopen(Request(url, b"x"), timeout=10):
        pass
    assert access_token(providers)
    assert providers.client.calls("push") == []


def access_token(providers: Running) -> str:
    account = providers.account()
    now = int(time.time())
    claims = {"iss": account["client_email"], "iat": now, "exp": now + 600, "aud": account["token_uri"]}
    return _exchange(providers, jwt.encode(claims, account["private_key"], "RS256"))[1]["access_token"]  # type: ignore[no-any-return]


def _exchange(providers: Running, assertion: str) -> tuple[int, Any]:
    body = f"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}".encode()
    return post(f"{providers.http_url}/token", body)


SILENT = {"aps": {"content-available": 1}}


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"data": {"k": "v"}}, "message"),
        ({"token": "a", "topic": "b"}, "message"),
        ({"token": "a", "data": {"k": 1}}, "message.data[0].value"),
        ({"token": "a", "data": {"k": "v" * 4096}}, "message"),
        ({"token": "a", "data": {"k": "v" * 4051}}, "message"),
        ({"topic": "a", "data": {"k": "v" * 2003}}, "message"),
        ({"token": "a", "data": {"from": "v"}}, "message.data"),
        ({"token": "a", "data": {"notification": "v"}}, "message.data"),
        ({"token": "a", "data": {"googleplus": "v"}}, "message.data"),
        ({"token": "a", "data": {"gcm\n": "v"}}, "message.data"),
        ({"token": "a", "notification": "text"}, "message.notification"),
        ({"token": "a", "android": {"priority": "urgent"}}, "message.android.priority"),
        ({"token": "a", "apns": {"headers": {"apns-priority": "9"}}}, "message.apns.headers"),
        ({"token": "a", "apns": {"headers": {"apns-collapse-id": "x" * 65}}}, "message.apns.headers"),
        ({"token": "a", "apns": {"headers": {"apns-push-type": "background"}}}, "message.apns.headers"),
        ({"token": "a", "apns": {"headers": {"apns-priority": "10"}, "payload": SILENT}}, "message.apns.headers"),
        ({"token": "a", "webpush": {"headers": {"Topic": "x" * 33}}}, "message.webpush.headers"),
        ({"token": "a", "webpush": {"headers": {"Urgency": "urgent"}}}, "message.webpush.headers"),
        (None, "message"),
    ],
)
def test_a_malformed_push_is_refused(providers: Running, message: Any, field: str) -> None:
    headers = {"Authorization": f"Bearer {access_token(providers)}", "Content-Type": "application/json"}
    url = f"{providers.http_url}/v1/projects/p/messages:send"
    status, answer = post(url, json.dumps({"message": message}).encode(), headers)

    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    fcm, request = answer["error"]["details"]
    assert fcm["@type"] == "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    assert request["fieldViolations"][0]["field"] == field


def test_a_push_needs_a_token_that_was_issued(providers: Running) -> None:
    url = f"{providers.http_url}/v1/projects/p/messages:send"
    body = b'{"message": {"token": "a", "data": {"k": "v"}}}'
    for headers in ({}, {"Authorization": "Bearer made-up"}):
        status, answer = post(url, body, headers)
        assert (status, answer["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert post(url, body, {"Authorization": f"Bearer {access_token(providers)}"})[0] == 200


def test_the_token_exchange_accepts_only_its_own_key(providers: Running) -> None:
    account, now = providers.account(), int(time.time())
    claims = {"iss": account["client_email"], "iat": now, "exp": now + 600}
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    unlike = [
        jwt.encode(claims, stranger, "RS256"),
        jwt.encode({**claims, "exp": now - 600}, account["private_key"], "RS256"),
        jwt.encode({**claims, "iss": "someone@example.com"}, account["private_key"], "RS256"),
        jwt.encode(claims, "x" * 32, "HS256"),
        "no-token",
    ]
    for assertion in unlike:
        status, answer = _exchange(providers, assertion)
        assert (status, answer["error"]) == (400, "invalid_grant")


def test_a_service_account_keeps_its_key_and_follows_the_port(tmp_path: Path) -> None:
    with emulator(tmp_path) as first:
        before = first.account()
        assert before["token_uri"] == f"{first.http_url}/token"
    with emulator(tmp_path) as second:
        after = second.account()
        assert after["token_uri"] == f"{second.http_url}/token"
        assert access_token(second)
    assert {**after, "token_uri": ""} == {**before, "token_uri": ""}


# --- failures on demand -----------------------------------------------------------------------------------------------


def test_twilio_fails_on_demand_with_its_own_error(providers: Running) -> None:
    providers.client.fail("sms", next=1, status=503)
    providers.client.fail("sms", next=1, status=400, code="30034", message="Unregistered number")

    first, second = sms_error(providers), sms_error(providers)
    send_sms(providers)

    assert (first.status, first.code) == (503, 20503)
    assert (second.status, second.code, second.msg) == (400, 30034, "Unable to create record: Unregistered number")
    assert [failure["used"] for failure in providers.client.failures()] == [1, 1]


def test_fcm_fails_on_demand_with_its_own_error(providers: Running, push: firebase_admin.App) -> None:
    message = to_device("device-1", data={"k": "v"})
    providers.client.fail("push", next=1, status=429, retry_after=60)
    quota = push_error(push, message)
    providers.client.fail("push", next=1, status=404)
    dead = push_error(push, message)
    providers.client.fail("push", next=1, status=503)
    unavailable = push_error(push, message)
    providers.client.fail("push", next=1, status=500, code="INTERNAL")
    internal = push_error(push, message)

    assert isinstance(quota, messaging.QuotaExceededError)
    assert quota.http_response.headers["Retry-After"] == "60"
    assert isinstance(dead, messaging.UnregisteredError)
    assert isinstance(unavailable, exceptions.UnavailableError)
    assert isinstance(internal, exceptions.InternalError)
    assert messaging.send(message, app=push)


def closed_without_a_byte(providers: Running) -> bool:
    body = b"To=%2B4915112345678&From=%2B15005550006&Body=Hello"
    head = (
        f"POST /2010-04-01/Accounts/{ACCOUNT}/Messages.json HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YTpi\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", providers.http_port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        return connection.recv(1) == b""


@pytest.mark.parametrize(("drop", "arrived"), [("after_accept", 1), ("before_accept", 0)])
def test_a_dropped_call_ends_without_a_byte(providers: Running, drop: Any, arrived: int) -> None:
    providers.client.fail("sms", next=1, drop=drop)

    assert closed_without_a_byte(providers)

    assert len(providers.client.inbox("sms")) == arrived
    assert [call["outcome"] for call in providers.client.calls("sms")] == [f"dropped_{drop}"]


def test_sdks_see_a_dropped_call_as_a_connection_error(providers: Running, push: firebase_admin.App) -> None:
    providers.client.fail("sms", drop="after_accept")
    providers.client.fail("push", drop="after_accept")

    with pytest.raises(requests.ConnectionError):
        send_sms(providers)
    error = push_error(push, to_device("device-1", data={"k": "v"}))

    assert isinstance(error, exceptions.UnavailableError)
    assert providers.client.totals() == {"email": 0, "sms": 1, "push": 1, "webhook": 0}


def test_a_slow_provider_has_accepted_though_the_client_gave_up(providers: Running) -> None:
    providers.client.fail("sms", next=1, delay=60)

    # Long enough for the request to be read before the client gives up.
    with twilio(providers, timeout=5) as client, pytest.raises(requests.ReadTimeout):
        client.messages.create(to=RECIPIENT, from_=SENDER, body="Hello")

    assert len(providers.client.inbox("sms")) == 1


def test_a_delay_alone_delays_and_succeeds(providers: Running) -> None:
    providers.client.fail("sms", next=1, delay=0.3)
    providers.client.fail("email", next=1, delay=0.3)
    for send in (send_sms, send_mail):
        began = time.monotonic()
        send(providers)
        assert time.monotonic() - began >= 0.29  # the emulator's clock counts whole milliseconds
    assert providers.client.totals() == {"email": 1, "sms": 1, "push": 0, "webhook": 0}


def test_a_failure_can_be_for_one_recipient(providers: Running) -> None:
    providers.client.fail("sms", status=500, recipient="+4915100000000")
    providers.client.fail("email", status=451, recipient="bob@example.com")

    assert sms_error(providers, to="+4915100000000").status == 500
    assert refused_with(providers, "bob@example.com")[0] == 451
    send_sms(providers)
    send_mail(providers)


def test_the_first_failure_that_matches_wins_until_it_is_spent(providers: Running) -> None:
    providers.client.fail("sms", status=429, next=2)
    providers.client.fail("sms", status=500)

    assert [sms_error(providers).status for _ in range(4)] == [429, 429, 500, 500]
    assert [failure["used"] for failure in providers.client.failures()] == [2, 2]
    providers.client.forgive()
    send_sms(providers)
    assert providers.client.failures() == []


def test_every_third_matching_call_fails(providers: Running) -> None:
    providers.client.fail("sms", status=503, every=3, next=1)
    for _ in range(2):
        send_sms(providers)
    assert sms_error(providers).status == 503
    for _ in range(3):
        send_sms(providers)


def test_chance_decides_which_calls_fail(providers: Running) -> None:
    providers.client.fail("sms", status=500, chance=0.0)
    send_sms(providers)
    providers.client.fail("sms", status=503, chance=1.0)
    assert sms_error(providers).status == 503


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "Invalid JSON"),
        (b'{"channel": "fax", "status": 500}', "channel: Input should be 'email', 'sms', 'push' or 'webhook'"),
        (b'{"channel": "sms"}', "this rule does nothing"),
        (b'{"channel": "push", "created": "failed"}', "created belongs to sms"),
        (b'{"channel": "sms", "created": "failed", "status": 500}', "created belongs to sms, without status and drop"),
        (b'{"channel": "sms", "status": 200}', "status: Input should be greater than or equal to 400"),
        (b'{"channel": "sms", "status": 500, "stage": "rcpt"}', "belong to email"),
        (b'{"channel": "sms", "status": 500, "drop": "after_accept"}', "not both"),
        (b'{"channel": "sms", "status": 500, "next": 0}', "next: "),
        (b'{"channel": "sms", "status": 500, "nxt": 1}', "nxt: Extra inputs"),
        (b'{"channel": "email", "drop": "after_accept", "stage": "data"}', "needs stage dot"),
        (b'{"channel": "email", "status": 451, "stage": "token"}', "belongs to push"),
        (b'{"channel": "sms", "status": 429, "retry_after": 9, "retry_info": true}', "belongs to push"),
        (b'{"channel": "push", "stage": "token"}', "this rule does nothing"),
        (b'{"channel": "push", "stage": "token", "status": 503, "recipient": "a"}', "no recipient is known"),
        (b'{"channel": "email", "status": 451, "stage": "connect", "recipient": "a@b.c"}', "no recipient is known"),
        (b'{"channel": "email", "status": 451, "message": "a\\r\\nb"}', "message: "),
    ],
)
def test_an_inconsistent_failure_rule_is_refused_with_the_reason(providers: Running, body: bytes, problem: str) -> None:
    status, answer = post(f"{providers.http_url}/failures.json", body)

    assert status == 400
    assert problem in answer["error"]
    assert providers.client.failures() == []


# --- pages of others ------------------------------------------------------------------------------------------------

ELSEWHERE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
def test_another_sites_page_cannot_write(providers: Running, headers: dict[str, str]) -> None:
    send_mail(providers)
    url = providers.http_url
    for method, path, body in (
        ("DELETE", "/inbox.json", None),
        ("DELETE", "/failures.json", None),
        ("POST", "/failures.json", '{"channel": "sms", "status": 500}'),
        ("POST", f"/2010-04-01/Accounts/AC{'0' * 32}/Messages.json", "To=%2B15005550010&From=%2B15005550006&Body=x"),
    ):
        assert requests.request(method, url + path, data=body, headers=headers, timeout=10).status_code == 403
    assert providers.client.failures() == []
    assert len(providers.client.inbox()) == 1


def test_its_own_page_and_programs_can_write(providers: Running) -> None:
    own = {"Origin": providers.http_url, "Sec-Fetch-Site": "same-origin"}
    for headers in (own, {}):
        send_mail(providers)
        assert requests.delete(f"{providers.http_url}/inbox.json", headers=headers, timeout=10).status_code == 204
        assert providers.client.inbox() == []


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::1", "a@b"]
)
def test_another_host_name_is_refused(providers: Running, host: str) -> None:
    """As in DNS rebinding: a page's own host name resolves to this address."""
    for path in ("/", "/inbox.json", "/calls.json", "/failures.json"):
        answer = requests.get(providers.http_url + path, headers={"Host": host}, timeout=10)
        assert answer.status_code in (400, 403), (path, host)
    for ours in ("localhost:9", "127.0.0.1", "[::1]:80", "10.0.0.7:8090"):
        assert requests.get(f"{providers.http_url}/inbox.json", headers={"Host": ours}, timeout=10).status_code == 200


def test_the_host_name_of_the_public_url_is_accepted(tmp_path: Path) -> None:
    with emulator(tmp_path, "--public-url", "http://providers:8090") as running:
        named = requests.get(f"{running.http_url}/inbox.json", headers={"Host": "providers:8090"}, timeout=10)
        assert named.status_code == 200


def test_another_site_cannot_frame_the_page(providers: Running) -> None:
    headers = requests.get(providers.http_url, timeout=10).headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"


# --- inbox, calls, page, process --------------------------------------------------------------------------------------


def test_the_inbox_is_filtered_and_newest_first(providers: Running) -> None:
    send_mail(providers)
    send_sms(providers)
    send_sms(providers, to="+4915100000000")

    assert [message["recipient"] for message in providers.client.inbox("sms")] == ["+4915100000000", RECIPIENT]
    assert [message["channel"] for message in providers.client.inbox(recipient=RECIPIENT)] == ["sms"]
    assert len(providers.client.inbox(limit=1)) == 1
    assert [call["recipient"] for call in providers.client.calls(limit=2)] == [RECIPIENT, "+4915100000000"]
    assert providers.client.totals() == {"email": 1, "sms": 2, "push": 0, "webhook": 0}
    with pytest.raises(EmulatorError, match="limit must be a whole number"):
        providers.client.inbox(limit="many")
    with pytest.raises(EmulatorError, match="unknown parameter chanel"):
        providers.client.calls(chanel="sms")


def test_clear_empties_inbox_calls_and_failures(providers: Running) -> None:
    providers.client.fail("email", status=451, next=1)
    send_sms(providers)
    providers.client.clear()

    assert providers.client.inbox() == []
    assert providers.client.calls() == []
    assert providers.client.call_totals() == {"email": 0, "sms": 0, "push": 0, "webhook": 0}
    assert providers.client.failures() == []


def test_memory_is_bounded_and_totals_count_on(tmp_path: Path) -> None:
    with emulator(tmp_path, "--inbox-limit", "3", "--calls-limit", "4") as providers:
        for number in range(6):
            send_mail(providers, message_id=f"<{number}@example.com>")
        assert [message["message_id"][1] for message in providers.client.inbox()] == ["5", "4", "3"]
        assert [call["message_id"][1] for call in providers.client.calls()] == ["2", "3", "4", "5"]
        assert providers.client.totals()["email"] == 6
        assert providers.client.call_totals()["email"] == 6


def test_the_inbox_outlives_the_process_even_when_killed(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"), "--inbox-limit", "3")
    with contextlib.suppress(AssertionError), emulator(tmp_path, *state) as providers:
        for number in range(8):
            send_mail(providers, message_id=f"<{number}@example.com>")
        send_sms(providers)
        providers.process.kill()
    assert providers.process.wait() == -signal.SIGKILL
    with emulator(tmp_path, *state) as providers:
        shown = providers.client.inbox()
        assert [message["channel"] for message in shown] == ["sms", "email", "email"]
        assert shown[1]["message_id"] == "<7@example.com>"
        assert shown[1]["text"] == "Grüße\nvon uns\n"
        providers.client.clear()
    with emulator(tmp_path, *state) as providers:
        assert providers.client.inbox() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_without_waiting_for_a_delay(tmp_path: Path, number: signal.Signals) -> None:
    with emulator(tmp_path) as providers, smtp(providers), ThreadPoolExecutor() as pool:
        providers.client.fail("sms", delay=60)
        call = pool.submit(send_sms, providers)
        wait_for(lambda: providers.client.inbox("sms"))
        providers.process.send_signal(number)
        assert providers.process.wait(20) == 0  # the delay has most of a minute left
        assert call.result().status == "queued"
    assert (tmp_path / "emulator.out").read_text().count("\n") == 1, "nothing but the address line was printed"


def test_the_page_loads_nothing_from_elsewhere(providers: Running) -> None:
    with urlopen(providers.http_url, timeout=10) as response:
        page = response.read().decode()
        policy = response.headers["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'")
    assert "http" not in page.replace("HTTP", "")
    assert "innerHTML" not in page


def test_two_hundred_concurrent_senders_are_all_served(providers: Running) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: send_mail(providers, message_id=f"<{number}@example.com>"), range(200)))

    assert {message["message_id"] for message in providers.client.inbox("email")} == {
        f"<{number}@example.com>" for number in range(200)
    }

"""The emulated Twilio reports what became of a message, as Twilio does."""

from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import parse_qsl

import pytest
from twilio.request_validator import RequestValidator

from local.emulators.client import EmulatorError
from tests.emulator import Running, emulator
from tests.functions.scripted import Answer, Request, ScriptedHttp
from tests.local.test_providers import twilio
from tests.scenarios.caller import wait_for

How = Literal["undelivered", "failed", "late", "twice", "out_of_order", "forged", "never"]
PATH = "/v1/receipts/twilio/main?n=mark"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with emulator(tmp_path_factory.mktemp("providers")) as running:
        yield running


@pytest.fixture
def ours() -> Iterator[ScriptedHttp]:
    """Where the callbacks go."""
    with ScriptedHttp(lambda _: Answer(200)).running() as server:
        yield server


def send(providers: Running, ours: ScriptedHttp, **parameters: Any) -> Any:
    to, sender = "+4915112345678", "+15005550006"
    with twilio(providers) as client:
        address = f"{ours.url}{PATH}#rc=5&rp=all"
        return client.messages.create(to=to, from_=sender, body="Hello", status_callback=address, **parameters)


def form(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode(), keep_blank_values=True))


def is_signed(ours: ScriptedHttp, request: Request) -> bool:
    given = request.headers["x-twilio-signature"]
    return bool(RequestValidator("token").validate(f"{ours.url}{PATH}", form(request), given))


@pytest.mark.parametrize(
    ("how", "statuses"),
    [
        (None, ["sent", "delivered"]),
        ("undelivered", ["sent", "undelivered"]),
        ("failed", ["failed"]),
        ("twice", ["sent", "sent", "delivered", "delivered"]),
        ("out_of_order", ["delivered", "sent"]),
        ("late", ["sent", "delivered"]),
    ],
)
def test_each_way_to_report(started: Running, ours: ScriptedHttp, how: How | None, statuses: list[str]) -> None:
    started.client.clear()
    if how is not None:
        started.client.fail("sms", next=1, receipts=how)
    sid = send(started, ours).sid
    wait_for(lambda: len(ours.requests) == len(statuses))
    assert [form(request)["MessageStatus"] for request in ours.requests] == statuses
    assert {form(request)["MessageSid"] for request in ours.requests} == {sid}
    assert all(is_signed(ours, request) for request in ours.requests)
    assert {request.path for request in ours.requests} == {PATH}, "the fragment is not sent"


def test_a_forged_report_has_another_signature_and_none_is_sent_on_demand(started: Running, ours: ScriptedHttp) -> None:
    started.client.clear()
    started.client.fail("sms", next=1, receipts="never")
    started.client.fail("sms", next=1, receipts="forged")
    silent, forged = send(started, ours).sid, send(started, ours).sid
    wait_for(lambda: bool(ours.requests))
    (request,) = ours.requests
    assert form(request)["MessageSid"] == forged != silent
    assert not is_signed(ours, request)


def test_a_report_about_a_lost_answer_comes_as_well_and_again_after_a_503(started: Running) -> None:
    started.client.clear()
    started.client.fail("sms", next=1, drop="after_accept")
    answers = [503, 200, 200]
    with ScriptedHttp(lambda _: Answer(answers.pop(0))).running() as ours:
        with pytest.raises(Exception, match="onnection"):
            send(started, ours)
        wait_for(lambda: not answers)
        assert [form(request)["MessageStatus"] for request in ours.requests] == ["sent", "sent", "delivered"]


def test_a_device_reports_or_does_not(started: Running) -> None:
    with pytest.raises(EmulatorError, match="receipts of push is one of never"):
        started.client.fail("push", receipts="late")

"""What every provider promises, proven against the emulated vendors in a process of their own.

A new provider adds its `Subject` here and passes the same suite.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from tidings.domain.channels import Content, EmailContent, PushContent, SmsContent
from tidings.domain.errors import AccountError, AmbiguousError, DeliveryError, PermanentError, TransientError
from tidings.domain.notification import Priority
from tidings.ports import Acceptance, Checkable, Provider, SendRequest
from tidings.providers.fcm.provider import FcmProvider, FcmSettings
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.settings import SmtpSettings
from tidings.providers.twilio.provider import TwilioProvider
from tidings.providers.twilio.settings import TwilioSettings

from local.emulators.client import Failure
from local.emulators.records import Channel
from tests.emulator import Running, emulator
from tests.functions.scripted import refusing_port

PATIENCE = 60.0  # seconds; far longer than any answer, also on a busy machine
SHORT = 5.0  # seconds; still longer than any answer that is not held back on purpose


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One provider under test, and what to provoke at its vendor."""

    channel: Channel
    content: Content
    recipient: str  # the stored form
    shown: str  # what of it must never be in an error's text
    make: Callable[[Running, float], Provider]  # with this timeout in seconds
    unreachable: Callable[[Running], Provider]  # nobody listens there
    failures: dict[type[DeliveryError], Failure]
    statuses: tuple[Failure, ...]  # what may tempt an SDK to try again

    def outbound(self, id: str = "0193-a") -> SendRequest:
        return SendRequest(id=id, attempt=1, recipient=self.recipient, content=self.content)


def twilio(url: str, timeout: float) -> Provider:
    return TwilioProvider(
        TwilioSettings(account_sid="AC0", auth_token="secret", sender="+15005550006", url=url, timeout=timeout)
    )


def fcm(url: str, running: Running, timeout: float) -> Provider:
    return FcmProvider(FcmSettings(service_account=str(running.service_account), url=url, timeout=timeout))


def smtp(url: str, timeout: float) -> Provider:
    return SmtpProvider(SmtpSettings(url=url, sender="shop@example.org", timeout=timeout))


HTTP_TEMPTATIONS: tuple[Failure, ...] = (
    *(Failure(status=status) for status in (400, 401, 403, 404, 429, 500, 502, 503)),
    *(Failure(status=status, retry_after=int(2 * PATIENCE)) for status in (413, 429, 503)),
    {"drop": "before_accept"},
    {"drop": "after_accept"},
)

SUBJECTS = (
    Subject(
        channel="email",
        content=EmailContent(subject="Shipped", text="Your order is on its way."),
        recipient="ada@example.com",
        shown="ada",
        make=lambda running, timeout: smtp(running.smtp_url, timeout),
        unreachable=lambda _: smtp(f"smtp://127.0.0.1:{refusing_port()}", PATIENCE),
        failures={
            TransientError: {"status": 451, "message": "Try later, ada@example.com"},
            PermanentError: {
                "status": 550,
                "enhanced": "5.1.1",
                "stage": "rcpt",
                "message": "<ada@example.com>?",
            },
            AccountError: {"status": 530, "enhanced": "5.7.0", "stage": "mail", "message": "Log in, ada"},
            AmbiguousError: {"drop": "after_accept"},
        },
        statuses=(
            *(Failure(status=status) for status in (421, 450, 451, 452, 550, 552, 554)),
            {"status": 451, "stage": "mail"},
            {"status": 451, "stage": "rcpt"},
            {"status": 451, "stage": "data"},
            {"drop": "before_accept"},
            {"drop": "after_accept"},
            {"drop": "before_accept", "stage": "rcpt"},
        ),
    ),
    Subject(
        channel="sms",
        content=SmsContent(text="Your order is on its way."),
        recipient="+15005550123",
        shown="5550123",
        make=lambda running, timeout: twilio(running.http_url, timeout),
        unreachable=lambda _: twilio(f"http://127.0.0.1:{refusing_port()}", PATIENCE),
        failures={
            TransientError: {"status": 429, "message": "Too many to +15005550123"},
            PermanentError: {"status": 400, "code": "21610", "message": "+15005550123 has unsubscribed"},
            AccountError: {"status": 401, "message": "Authenticate before sending to +1 (500) 555-0123"},
            AmbiguousError: {"status": 500, "message": "Internal error at +15005550123"},
        },
        statuses=HTTP_TEMPTATIONS,
    ),
    Subject(
        channel="push",
        content=PushContent(title="Shipped", body="Your order is on its way."),
        recipient="token:device-4711:abc",
        shown="4711",
        make=lambda running, timeout: fcm(running.http_url, running, timeout),
        unreachable=lambda running: fcm(f"http://127.0.0.1:{refusing_port()}", running, PATIENCE),
        failures={
            TransientError: {"status": 429, "message": "Too many to device-4711:abc"},
            PermanentError: {"status": 404, "message": "device-4711:abc is gone"},
            AccountError: {"status": 403, "code": "PERMISSION_DENIED", "message": "Not to device-4711:abc"},
            AmbiguousError: {"status": 503, "message": "No way to device-4711:abc"},
        },
        statuses=HTTP_TEMPTATIONS,
    ),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture(params=SUBJECTS, ids=lambda subject: subject.channel)
def subject(request: pytest.FixtureRequest, running: Running) -> Subject:
    running.client.clear()
    chosen: Subject = request.param
    return chosen


Make = Callable[..., Provider]


@pytest.fixture
def make(subject: Subject, running: Running) -> Iterator[Make]:
    """Make the provider; it is closed afterwards."""
    made: list[Provider] = []

    def provider(timeout: float = PATIENCE) -> Provider:
        made.append(subject.make(running, timeout))
        return made[-1]

    yield provider
    for one in made:
        one.close()


def failed(provider: Provider, subject: Subject) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        provider.send(subject.outbound())
    return raised.value


def test_an_accepted_message_arrives_and_leaves_the_vendors_id(subject: Subject, make: Make, running: Running) -> None:
    receipt = make().send(subject.outbound())
    assert isinstance(receipt, Acceptance)
    assert receipt.provider_message_id
    [arrived] = running.client.inbox(subject.channel)
    assert arrived["recipient"] in subject.recipient


@pytest.mark.parametrize("kind", [TransientError, PermanentError, AccountError, AmbiguousError])
def test_each_kind_of_failure_is_told_apart_without_naming_the_recipient(
    subject: Subject, make: Make, running: Running, kind: type[DeliveryError]
) -> None:
    running.client.fail(subject.channel, **subject.failures[kind])
    error = failed(make(), subject)
    assert type(error) is kind
    assert error.code
    assert subject.shown not in str(error)


def test_a_recipient_that_can_take_nothing_any_more_is_suppressed(
    subject: Subject, make: Make, running: Running
) -> None:
    running.client.fail(subject.channel, **subject.failures[PermanentError])
    error = failed(make(), subject)
    assert isinstance(error, PermanentError)
    assert error.suppress == {"email": "mailbox_unknown", "sms": "opted_out", "push": "token_dead"}[subject.channel]


def test_one_send_is_one_call_whatever_the_answer(subject: Subject, make: Make, running: Running) -> None:
    provider = make()
    for failure in subject.statuses:
        running.client.clear()
        running.client.fail(subject.channel, **failure)
        began = time.monotonic()
        failed(provider, subject)
        assert time.monotonic() - began < PATIENCE, failure  # nor does it sleep until it is to come again
        assert len(running.client.calls(subject.channel)) == 1, failure


def test_the_next_message_goes_well_after_any_failure(subject: Subject, make: Make, running: Running) -> None:
    provider = make()
    for failure in subject.statuses:
        running.client.clear()
        once: Failure = {**failure, "next": 1}
        running.client.fail(subject.channel, **once)
        failed(provider, subject)
        assert provider.send(subject.outbound("0193-b")).provider_message_id, failure


def test_an_answer_that_does_not_come_in_time_is_ambiguous_and_not_waited_for(
    subject: Subject, make: Make, running: Running
) -> None:
    provider = make(SHORT)
    provider.send(subject.outbound())  # connected, and an access token at hand
    running.client.clear()
    running.client.fail(subject.channel, delay=3 * SHORT)
    began = time.monotonic()
    error = failed(provider, subject)
    assert time.monotonic() - began < 2 * SHORT  # neither for the answer, nor a second time
    assert (type(error), error.code) == (AmbiguousError, "timeout")
    assert len(running.client.calls(subject.channel)) == 1
    assert provider.timeout == timedelta(seconds=SHORT)


def test_an_answer_that_is_slow_and_in_time_is_waited_for(subject: Subject, make: Make, running: Running) -> None:
    running.client.fail(subject.channel, delay=2.0)
    assert make().send(subject.outbound()).provider_message_id
    assert len(running.client.calls(subject.channel)) == 1
    assert len(running.client.inbox(subject.channel)) == 1


def test_a_connection_lost_after_the_vendor_accepted_is_ambiguous(
    subject: Subject, make: Make, running: Running
) -> None:
    running.client.fail(subject.channel, drop="after_accept")
    assert type(failed(make(), subject)) is AmbiguousError
    assert len(running.client.inbox(subject.channel)) == 1


def test_a_connection_that_is_refused_is_transient(subject: Subject, running: Running) -> None:
    provider = subject.unreachable(running)
    error = failed(provider, subject)
    provider.close()
    assert (type(error), error.code) == (TransientError, "connect")


def test_many_threads_send_at_once(subject: Subject, make: Make, running: Running) -> None:
    provider = make(20)
    with ThreadPoolExecutor(16) as pool:
        receipts = list(pool.map(lambda n: provider.send(subject.outbound(f"0193-{n}")), range(160)))
    assert len({receipt.provider_message_id for receipt in receipts}) == 160
    assert running.client.call_totals()[subject.channel] == 160
    assert running.client.totals()[subject.channel] == 160


def test_the_next_message_after_close_opens_the_connection_again(
    subject: Subject, make: Make, running: Running
) -> None:
    provider = make()
    provider.close()
    for n in range(2):
        provider.send(subject.outbound(str(n)))
        provider.close()
        provider.close()
    assert len(running.client.inbox(subject.channel)) == 2


def test_nothing_is_opened_before_the_first_message(subject: Subject, running: Running) -> None:
    subject.unreachable(running).close()


def test_a_provider_is_named(subject: Subject, make: Make) -> None:
    assert make().name == {"email": "smtp", "sms": "twilio", "push": "fcm"}[subject.channel]


def test_what_is_configured_does_not_show_in_an_error(subject: Subject, make: Make, running: Running) -> None:
    running.client.fail(subject.channel, **subject.failures[AccountError])
    error: Any = failed(make(), subject)
    assert "secret" not in f"{error} {error!r} {error.__cause__!r}"


def test_a_check_reaches_the_vendor_and_sends_nothing(make: Make, running: Running) -> None:
    provider = make()
    assert isinstance(provider, Checkable)
    assert provider.check()
    assert set(running.client.totals().values()) == {0}
    assert set(running.client.call_totals().values()) == {0}


def test_a_send_after_a_check_is_one_call_as_without(subject: Subject, make: Make, running: Running) -> None:
    provider = make()
    assert isinstance(provider, Checkable)
    provider.check()
    provider.send(subject.outbound())
    assert running.client.call_totals()[subject.channel] == 1


@pytest.mark.parametrize("content", [PushContent(title="Shipped"), PushContent(data={"order": "4711"})])
@pytest.mark.parametrize("priority", list(Priority))
def test_a_push_is_as_urgent_as_its_notification_and_a_second_copy_replaces_the_first(
    running: Running, content: PushContent, priority: Priority
) -> None:
    running.client.clear()
    subject = next(subject for subject in SUBJECTS if subject.channel == "push")
    provider = subject.make(running, PATIENCE)
    for recipient in ("token:device-1", "topic:news"):
        provider.send(SendRequest(id="0193-a", attempt=1, recipient=recipient, content=content, priority=priority))
    provider.close()
    shown = [(arrived["priority"], arrived["collapse_id"]) for arrived in running.client.inbox("push")]
    assert shown == [(priority.value, "0193-a")] * 2

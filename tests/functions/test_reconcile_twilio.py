"""`tidings reconcile twilio`: Twilio's list, over its SDK, compared with ours, over the operator API."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tidings.cli import main
from tidings.cli import reconcile as command
from tidings.domain.errors import AmbiguousError
from tidings.domain.notification import Notification, Status
from tidings.domain.receipt import Receipt, ReceiptKind
from tidings.pipeline.comparison import agrees
from tidings.ports import Settlement
from tidings.ports.message_list import ListedMessage
from tidings.providers import message_list
from tidings.providers.twilio.message_list import TwilioMessageList
from tidings.providers.twilio.settings import TwilioSettings
from tidings.runtime.container import Container

from local.emulators.records import Received
from local.emulators.twilio_messages import resource
from tests import make
from tests.functions.scripted import Answer, Request, ScriptedHttp
from tests.functions.served import Caller

ACCOUNT, SENDER, NUMBER = "AC" + "0" * 32, "+15005550006", "+15005550010"
LIST = f"/2010-04-01/Accounts/{ACCOUNT}/Messages"
AT = datetime.now(UTC) - timedelta(hours=1)


@dataclass
class Twilio:
    """Its list, two messages a page, whatever was asked for."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)  # statuses of the next answers

    def has(self, sid: str, status: str = "delivered", *, at: datetime = AT, **changes: Any) -> None:
        text = {"from": SENDER, "text": "Hello", "account": ACCOUNT, "parameters": {}}
        received = Received(channel="sms", recipient=NUMBER, provider_message_id=sid, fields=text, at=at.isoformat())
        shown = resource(received, status=status)
        self.messages.append({**shown, "date_sent": shown["date_created"], **changes})

    def answer(self, request: Request) -> Answer:
        self.asked.append(request.path)
        if self.failures:
            return Answer(self.failures.pop(0), b'{"code": 20429, "message": "Too many", "status": 429}')
        path = urlsplit(request.path)
        if path.path != f"{LIST}.json":
            sid = path.path.removeprefix(f"{LIST}/").removesuffix(".json")
            found = [message for message in self.messages if message["sid"] == sid]
            missing = {"code": 20404, "message": "The requested resource was not found", "status": 404}
            return Answer(200, json.dumps(found[0]).encode()) if found else Answer(404, json.dumps(missing).encode())
        number = int(parse_qs(path.query).get("Page", ["0"])[0])
        more = f"{LIST}.json?Page={number + 1}&PageToken=PT{number}" if len(self.messages) > 2 * (number + 1) else None
        page = {"messages": self.messages[2 * number : 2 * number + 2], "page": number, "next_page_uri": more}
        return Answer(200, json.dumps(page).encode())


@pytest.fixture
def theirs() -> Twilio:
    return Twilio()


@pytest.fixture
def listed(theirs: Twilio) -> Iterator[TwilioMessageList]:
    with ScriptedHttp(theirs.answer).running() as server:
        settings = TwilioSettings(account_sid=ACCOUNT, auth_token="token", sender=SENDER, url=server.url)
        found = TwilioMessageList(settings, sleep=lambda _: None)
        yield found
        found.close()


@dataclass
class InProcess:
    """The operator API, in the place of the command's HTTP client."""

    caller: Caller

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        sent = {
            name: list(map(str, value)) if isinstance(value, list) else str(value)
            for name, value in (query or {}).items()
        }
        answer = self.caller("GET", path, query=sent)
        assert answer.status == 200, answer.body
        return answer.body


Compare = Callable[..., command.Comparison]


@pytest.fixture
def compare(replay: Caller, listed: TwilioMessageList) -> Compare:
    def run(since: datetime = AT - timedelta(hours=1), until: datetime = AT + timedelta(minutes=1)) -> Any:
        server: Any = InProcess(replay)
        compared = command.Comparison(provider="twilio", channel="sms", listed=listed, server=server)
        compared.day(since, until)
        return compared

    return run


Row = Callable[..., Notification]


@pytest.fixture
def row(container: Container) -> Row:
    def settled(sid: str | None, *, at: datetime = AT, delivered: bool = False) -> Notification:
        made = make.notification(at, channel="sms", recipient=NUMBER)
        container.store.insert([made])
        claims = container.store.claim([make.message(made)], timedelta(seconds=60))
        (claimed,) = claims.acquired
        if sid is None:
            lost = AmbiguousError("timeout", "no answer")
            outcome: dict[str, Any] = {"status": Status.UNKNOWN, "provider": "twilio", "error": lost}
        else:
            outcome = {"status": Status.SENT, "provider": "twilio", "provider_message_id": sid}
        container.store.settle([Settlement(claims=claims, notification=claimed, **outcome)])
        if delivered:
            told = {
                "provider": "twilio",
                "connection": "main",
                "event_id": f"{sid}:delivered",
                "provider_message_id": sid,
            }
            container.store.apply_receipts([Receipt(kind=ReceiptKind.DELIVERED, at=at, **told)])  # type: ignore[arg-type]
        return made

    return settled


def found(compared: command.Comparison) -> dict[str, tuple[str, str | None]]:
    return {item["provider_message_id"]: (item["kind"], item.get("id")) for item in compared.findings}


def test_what_differs_is_named_and_what_agrees_is_not(theirs: Twilio, compare: Compare, row: Row) -> None:
    agreed, late, gone = row("SM1", delivered=True), row("SM2"), row("SM3")
    for sid in ("SM1", "SM2"):
        theirs.has(sid)
    another: dict[str, Any] = {"from": "+15005550099"}
    theirs.has("SM8", **another)
    theirs.has("SM9", direction="inbound")
    compared = compare()
    assert found(compared) == {"SM2": ("state_differs", late.id), "SM3": ("ours_not_theirs", gone.id)}
    assert agreed.id not in {item["id"] for item in compared.findings}
    assert (compared.theirs, compared.ours, compared.others) == (3, 3, 1)
    assert any("PageToken=PT0" in path for path in theirs.asked), "all pages are read"


def test_without_receipts_a_delivery_is_counted_and_a_failure_is_found(
    theirs: Twilio, listed: TwilioMessageList, compare: Compare, row: Row
) -> None:
    """Nobody has told us more than that they were accepted."""
    listed.reports = False
    row("SM1"), row("SM2")
    failed = row("SM3")
    for sid, status in (("SM1", "delivered"), ("SM2", "sent"), ("SM3", "undelivered")):
        theirs.has(sid, status)
    compared = compare()
    assert found(compared) == {"SM3": ("state_differs", failed.id)}
    assert compared.unreported == 1


def test_whether_receipts_are_set_up_is_read_from_the_settings(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert message_list("twilio").reports is False
    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", "https://receipts.example.com")
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", "s" * 32)
    assert message_list("twilio").reports is True


def test_a_time_of_another_zone_is_asked_for_in_utc(theirs: Twilio, compare: Compare) -> None:
    """The SDK writes 05:00-05:00 as 05:00Z."""
    zone = timezone(timedelta(hours=-5))
    compare(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 1, 5, tzinfo=zone))
    query = parse_qs(urlsplit(theirs.asked[0]).query)
    assert query["DateSent>"] == ["2026-05-01T00:00:00Z"]
    assert query["DateSent<"] == ["2026-05-01T10:00:00Z"]


def test_a_message_on_two_pages_counts_once_and_an_odd_one_is_of_another_system(
    theirs: Twilio, compare: Compare
) -> None:
    for sid in ("SM1", "SM2", "SM1"):
        theirs.has(sid)
    theirs.has("SM4", to="whatsapp:+15005550010")
    theirs.has("SM5", to=None, date_created=None)
    compared = compare()
    assert (compared.theirs, compared.others, compared.findings) == (4, 4, [])


def test_an_acceptance_that_an_ambiguous_attempt_never_heard_of_is_found(
    theirs: Twilio, compare: Compare, row: Row
) -> None:
    lost = row(None, at=datetime.now(UTC))
    theirs.has("SM1", at=datetime.now(UTC))
    compared = compare(AT, datetime.now(UTC) + timedelta(minutes=1))
    assert found(compared) == {"SM1": ("theirs_not_ours", lost.id)}


def test_one_that_was_created_before_and_sent_after_the_edge_agrees_on_both_sides(
    theirs: Twilio, compare: Compare, row: Row
) -> None:
    row("SM1", at=AT - timedelta(minutes=30), delivered=True)
    theirs.has("SM1", at=AT)
    edge = AT - timedelta(minutes=15)
    assert compare(edge - timedelta(hours=1), edge).findings == []
    assert compare(edge, AT + timedelta(minutes=1)).findings == []


def test_a_rate_limit_is_waited_for(theirs: Twilio, compare: Compare, row: Row) -> None:
    row("SM1", delivered=True)
    theirs.has("SM1")
    theirs.failures = [429, 429]
    assert compare().findings == []


@pytest.mark.parametrize(
    ("kind", "ours", "fits"),
    [
        (ReceiptKind.ACCEPTED, Status.SENT, True),
        (ReceiptKind.ACCEPTED, Status.FAILED, False),
        (ReceiptKind.DELIVERED, Status.UNDELIVERED, False),
        (ReceiptKind.FAILED_SOFT, Status.SENT, False),
        (ReceiptKind.FAILED_HARD, Status.UNDELIVERED, True),
        (ReceiptKind.DELIVERED, Status.PENDING, True),  # replayed: it is about the message before
        (None, Status.FAILED, True),
    ],
)
def test_which_states_agree(kind: ReceiptKind | None, ours: Status, fits: bool) -> None:
    message = ListedMessage(
        provider_message_id="SM1", status="x", kind=kind, recipient=NUMBER, is_ours=True, created_at=AT
    )
    assert agrees(message, ours) is fits


@pytest.fixture
def as_command(listed: TwilioMessageList, replay: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command reads this list, and calls this API."""

    @contextmanager
    def operator(_options: Any) -> Iterator[Any]:
        yield InProcess(replay)

    monkeypatch.setattr(command, "operator", operator)
    monkeypatch.setattr(command, "message_list", lambda _vendor: listed)


@pytest.mark.usefixtures("as_command")
def test_the_command_says_it_with_its_exit_code_and_as_json(
    theirs: Twilio, row: Row, capsys: pytest.CaptureFixture[str]
) -> None:
    since = (AT - timedelta(days=1)).isoformat()
    assert main(["reconcile", "twilio", "--since", since]) == 0
    late = row("SM1")
    theirs.has("SM1")
    capsys.readouterr()
    assert main(["reconcile", "twilio", "--since", since, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    (finding,) = document["findings"]
    assert (finding["id"], finding["ours"], finding["theirs"]) == (late.id, "sent", "delivered")
    theirs.failures = [401]
    assert main(["reconcile", "twilio", "--since", since]) == 1
    capsys.readouterr()
    assert main(["reconcile", "twilio", "--since", "2026-01-01", "--until", "2026-01-03", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["since"] == "2026-01-01T00:00:00+00:00"
    assert main(["reconcile", "twilio", "--since", "2026-01-03", "--until", "2026-01-03"]) == 2


def test_days_are_of_utc_and_nothing_is_between_two() -> None:
    since = datetime.fromisoformat("2026-11-28T23:00:00+02:00")
    days = [*command._days(since, datetime(2026, 11, 30, 5, tzinfo=UTC))]
    assert [edge.isoformat() for pair in days for edge in pair] == [
        "2026-11-28T21:00:00+00:00",
        "2026-11-29T00:00:00+00:00",
        "2026-11-29T00:00:00+00:00",
        "2026-11-30T00:00:00+00:00",
        "2026-11-30T00:00:00+00:00",
        "2026-11-30T05:00:00+00:00",
    ]

"""Every function as Lambda calls it: `handler(event, context)`, with real events, real parts and emulated providers."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tidings.adapters.rabbitmq.broker import BrokerSettings, RabbitBroker
from tidings.api.body_limits import MAX_BODY
from tidings.domain.errors import BrokerUnavailable, InvalidMessage, StoreUnavailable
from tidings.domain.notification import Notification, Priority
from tidings.messaging import topology
from tidings.pipeline.outgoing import message_for, to_work
from tidings.runtime.container import Container

from tests.emulator import Running, emulator
from tests.functions.conftest import Imported
from tests.functions.served import Answer, Keys, Lines, mail, sms
from tests.make import notification

SEND = "/v1/notifications"

# What the event source of Amazon MQ fills in besides.
PROPERTIES: dict[str, Any] = {
    "contentType": "application/json",
    "contentEncoding": None,
    "deliveryMode": 2,
    "priority": None,
    "correlationId": None,
    "replyTo": None,
    "expiration": None,
    "timestamp": None,
    "type": None,
    "userId": None,
    "appId": None,
    "clusterId": None,
    "bodySize": 70,
}


@dataclass(frozen=True)
class Context:
    """What the functions use of Lambda's."""

    milliseconds: int

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


CONTEXT = Context(90_000)
ENDING = Context(0)  # no time to wait for a database that is down


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture
def ready(providers: Running, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Running:
    """The settings lead to the emulated providers, which are as new."""
    monkeypatch.setenv("TIDINGS_SMTP_URL", providers.smtp_url)
    monkeypatch.setenv("TIDINGS_TWILIO_URL", providers.http_url)
    monkeypatch.setenv("TIDINGS_FCM_URL", providers.http_url)
    monkeypatch.setenv("TIDINGS_FCM_SERVICE_ACCOUNT", str(providers.service_account))
    providers.client.clear()
    return providers


def entry(row: Notification, **changes: Any) -> dict[str, Any]:
    message = message_for(row)
    headers: dict[str, Any] = {name: {"bytes": list(value.encode())} for name, value in message.headers.items()}
    headers["x-delivery-count"] = 1
    properties = {**PROPERTIES, "headers": headers, "messageId": message.message_id}
    return {
        "basicProperties": properties,
        "redelivered": False,
        "data": base64.b64encode(message.body).decode(),
        **changes,
    }


def rmq(channel: str, *entries: Any) -> dict[str, Any]:
    return {
        "eventSource": "aws:rmq",
        "eventSourceArn": "arn:aws:mq:eu-central-1:123456789012:broker:tidings:b-1",
        "rmqMessagesByQueue": {f"tidings.{channel}::/": list(entries)},
    }


def of_channel(channel: str, n: int = 0, **changes: Any) -> Notification:
    given = {
        "email": {"recipient": f"ada{n}@example.com", "content": '{"subject": "Shipped", "text": "On its way."}'},
        "sms": {"recipient": f"+1500555{2000 + n}", "content": '{"text": "On its way."}'},
        "push": {"recipient": f"token:device-{n}", "content": '{"title": "Shipped", "body": "On its way."}'},
    }[channel]
    return notification(datetime.now(UTC), channel=channel, **{**given, **changes})


def stored(container: Container, row: Notification) -> Notification:
    found = container.store.get(row.tenant, row.id)
    assert found is not None
    return found


# --- queue functions --------------------------------------------------------------------------------------------------

PROVIDERS = {"email": "smtp", "sms": "twilio", "push": "fcm"}


@pytest.mark.parametrize("channel", PROVIDERS)
def test_a_batch_is_delivered_and_settled(
    imported: Imported, ready: Running, container: Container, channel: Any
) -> None:
    rows = [of_channel(channel, n) for n in range(5)]
    container.store.insert(rows)
    assert imported(channel).handler(rmq(channel, *map(entry, rows)), CONTEXT) is None
    arrived = {message["provider_message_id"] for message in ready.client.inbox(channel)}
    assert len(arrived) == 5
    for row in rows:
        end = stored(container, row)
        assert (end.status, end.attempt, end.provider) == ("sent", 1, PROVIDERS[channel])
        assert end.provider_message_id


@pytest.mark.parametrize("channel", PROVIDERS)
def test_a_redelivered_batch_sends_nothing_again(
    imported: Imported, ready: Running, container: Container, channel: Any
) -> None:
    rows = [of_channel(channel, n) for n in range(3)]
    container.store.insert(rows)
    main, event = imported(channel), rmq(channel, *map(entry, rows), entry(rows[0]))
    for _ in range(3):
        main.handler(event, CONTEXT)
    assert ready.client.call_totals()[channel] == 3


@pytest.mark.parametrize("channel", PROVIDERS)
def test_an_unreadable_message_is_parked_and_its_neighbours_delivered(
    imported: Imported, ready: Running, container: Container, lines: Lines, channel: Any
) -> None:
    rows = [of_channel(channel, n) for n in range(2)]
    container.store.insert(rows)
    bad: list[Any] = [
        None,
        {},
        entry(rows[0], data="%%%"),
        entry(rows[0], basicProperties=None),
        entry(rows[0], data=base64.b64encode(b"\xff ada@example.com").decode()),
    ]
    imported(channel).handler(rmq(channel, entry(rows[0]), *bad, entry(rows[1])), CONTEXT)
    assert [stored(container, row).status for row in rows] == ["sent", "sent"]
    assert container.broker.depth(topology.PARKING) == len(bad)
    assert ready.client.totals()[channel] == 2
    assert len(lines.named("parked")) == len(bad)
    assert "ada@example.com" not in lines.text()


@pytest.mark.parametrize("channel", PROVIDERS)
def test_a_failing_message_fails_alone(
    imported: Imported, ready: Running, container: Container, lines: Lines, channel: Any
) -> None:
    refused = {"email": "refused@example.com", "sms": "+15005550001", "push": "token:gone"}[channel]
    if channel != "sms":  # which has its own number for that
        shown = refused.removeprefix("token:")
        ready.client.fail(channel, recipient=shown, status=550 if channel == "email" else 404)
    rows = [of_channel(channel, 1), of_channel(channel, recipient=refused), of_channel(channel, 2)]
    container.store.insert(rows)
    imported(channel).handler(rmq(channel, *map(entry, rows)), CONTEXT)
    assert [stored(container, row).status for row in rows] == ["sent", "failed", "sent"]
    assert container.broker.depth(topology.dead_queue(channel)) == 1
    (dead,) = lines.named("dead_lettered")
    assert (dead["notification_id"], dead["channel"], dead["attempt"]) == (rows[1].id, channel, 1)
    for row in rows:
        assert row.recipient.removeprefix("token:") not in lines.text()


@pytest.mark.parametrize("channel", PROVIDERS)
def test_messages_of_a_paused_channel_are_deferred_unclaimed(
    imported: Imported, ready: Running, container: Container, channel: Any
) -> None:
    row, urgent = of_channel(channel), of_channel(channel, 1, priority=Priority.HIGH)
    container.store.insert([row, urgent])
    container.store.pause(channel)
    event = rmq(channel, entry(row))
    event["rmqMessagesByQueue"][f"tidings.{channel}.high::/"] = [entry(urgent)]
    imported(channel).handler(event, CONTEXT)
    assert [stored(container, one).attempt for one in (row, urgent)] == [0, 0]
    assert ready.client.call_totals()[channel] == 0
    assert container.broker.depths(["tidings.retry.30s"])["tidings.retry.30s"].ready == 2
    container.store.resume(channel)
    imported(channel).handler(event, CONTEXT)
    assert [stored(container, one).status for one in (row, urgent)] == ["sent", "sent"]


@pytest.mark.parametrize("channel", PROVIDERS)
def test_a_transient_failure_is_published_to_a_retry_step(
    imported: Imported, ready: Running, container: Container, channel: Any
) -> None:
    ready.client.fail(channel, next=1, status=451 if channel == "email" else 429)
    row = of_channel(channel)
    container.store.insert([row])
    imported(channel).handler(rmq(channel, entry(row)), CONTEXT)
    end = stored(container, row)
    assert (end.status, end.error_class) == ("retrying", "transient")
    assert end.next_attempt_at is not None
    assert ready.client.call_totals()[channel] == 1  # no hidden retry


@pytest.fixture
def queues(rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RabbitBroker]:
    """A real broker, which is there while the database is not."""
    monkeypatch.setenv("TIDINGS_BROKER_URL", rabbitmq_url)
    broker = RabbitBroker(BrokerSettings(broker_url=rabbitmq_url))
    broker.declare()
    yield broker
    broker.close()


@pytest.fixture
def without_database(ready: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setenv("TIDINGS_DATABASE_URL", "sqlite:////nowhere/at/all/tidings.db")
    return ready


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the function would have waited."""
    pauses: list[float] = []
    monkeypatch.setattr("tidings.runtime.queue_lambda.sleep", pauses.append)
    return pauses


WAITING = "tidings.retry.30s"


@pytest.mark.parametrize("channel", PROVIDERS)
def test_a_batch_without_the_database_is_deferred_and_counts_no_delivery(
    imported: Imported,
    without_database: Running,
    queues: RabbitBroker,
    lines: Lines,
    channel: Any,
) -> None:
    """Raised, each redelivery would count towards the queue's delivery limit: a database that is down for a minute
    would park healthy notifications."""
    rows = [of_channel(channel, n) for n in range(2)]
    unreadable = entry(rows[0], data="%%%")
    imported(channel).handler(rmq(channel, *map(entry, rows), unreadable), CONTEXT)
    depths = queues.depths([WAITING, topology.PARKING])
    assert (depths[WAITING].ready, depths[topology.PARKING].ready) == (2, 1)
    assert without_database.client.call_totals()[channel] == 0
    assert len(lines.named("batch_deferred")) == 1
    with closing(queues.consume([WAITING])) as consumer:
        waiting = consumer.receive(10, timedelta(seconds=5))
    assert {message.headers.get("x-delivery-count") for message in waiting} <= {None, 0}


def test_a_database_lost_during_a_batch_parks_no_invalid_message_twice(
    imported: Imported, ready: Running, queues: RabbitBroker, database_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = imported("sms")
    store = main.function.delivery.store

    def lost(*_: object, **__: object) -> Any:
        raise StoreUnavailable("the connection is lost")

    monkeypatch.setattr(type(store), "claim", lost)
    row = of_channel("sms")
    main.handler(rmq("sms", entry(row), entry(row, data="%%%")), CONTEXT)
    depths = queues.depths([WAITING, topology.PARKING])
    assert (depths[WAITING].ready, depths[topology.PARKING].ready) == (1, 1)


@pytest.mark.parametrize("channel", PROVIDERS)
def test_without_database_and_broker_it_waits_before_the_redelivery(
    imported: Imported, without_database: Running, lines: Lines, channel: Any, slept: list[float]
) -> None:
    """Given back at once, it would be at its delivery limit within seconds. The embedded broker is in the same file."""
    with pytest.raises((StoreUnavailable, BrokerUnavailable)):
        imported(channel).handler(rmq(channel, entry(of_channel(channel))), CONTEXT)
    assert without_database.client.call_totals()[channel] == 0
    assert len(lines.named("batch_aborted")) == 1
    assert slept == [30]


@pytest.mark.parametrize(("left", "waits"), [(12_500, 7.5), (3_000, 0)])
def test_the_wait_ends_before_lambda_ends_the_process(
    imported: Imported, without_database: Running, slept: list[float], left: int, waits: float
) -> None:
    with pytest.raises((StoreUnavailable, BrokerUnavailable)):
        imported("sms").handler(rmq("sms", entry(of_channel("sms"))), Context(left))
    assert slept == [waits]


@pytest.mark.parametrize("event", [None, {}, {"Records": []}, {"eventSource": "aws:rmq"}])
def test_an_invalid_event_raises(imported: Imported, ready: Running, event: Any) -> None:
    with pytest.raises(InvalidMessage):
        imported("sms").handler(event, CONTEXT)


def test_an_event_without_messages_is_settled(imported: Imported, ready: Running) -> None:
    main = imported("sms")
    main.handler(rmq("sms"), CONTEXT)
    main.handler({"eventSource": "aws:rmq", "rmqMessagesByQueue": {"tidings.sms::/": None}}, CONTEXT)


def test_on_lambda_no_trigger_token_is_needed(imported: Imported, monkeypatch: pytest.MonkeyPatch) -> None:
    """IAM decides there who may call."""
    monkeypatch.delenv("TIDINGS_TRIGGER_TOKEN")
    with pytest.raises(SystemExit):
        imported("sms")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "tidings-sms")
    imported("sms")


def test_a_message_as_the_broker_delivers_it_is_delivered(
    imported: Imported, ready: Running, container: Container
) -> None:
    """From the queue through the trigger's own encoding."""
    from tidings.messaging.envelope import to_event

    row = of_channel("sms")
    container.store.insert([row])
    container.broker.publish([to_work(row)])
    consumer = container.broker.consume(topology.work_queues("sms"))
    received = consumer.receive(10, timedelta(seconds=5))
    event = to_event([(one.queue, one.body, {"headers": one.headers}, one.redelivered) for one in received])
    imported("sms").handler(json.loads(json.dumps(event)), CONTEXT)
    consumer.acknowledge(received)
    consumer.close()
    assert stored(container, row).status == "sent"


# --- HTTP functions ---------------------------------------------------------------------------------------------------


def gateway(
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    key: str | None = None,
    query: list[tuple[str, str]] | None = None,
    encoded: bool = False,
    stage: str = "$default",
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html"""
    raw = path if stage == "$default" else f"/{stage}{path}"
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw,
        "rawQueryString": urlencode(query or []),
        "cookies": ["a=b"],
        "headers": {
            "content-type": "application/json",
            "X-Forwarded-For": "192.0.2.1, 192.0.2.2",
            **({"Authorization": f"Bearer {key}"} if key is not None else {}),
            **(headers or {}),
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "http": {
                "method": method,
                "path": raw,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "agent",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": stage,
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1583348638390,
        },
        "isBase64Encoded": encoded,
    }
    if query:
        event["queryStringParameters"] = dict(query)
    if body is not None:
        event["body"] = base64.b64encode(body).decode() if encoded else body.decode(errors="surrogatepass")
    return event


def called(main: Any, *args: Any, **options: Any) -> Answer:
    answer = main.handler(gateway(*args, **options), CONTEXT)
    json.dumps(answer)  # as Lambda hands it on
    assert answer["isBase64Encoded"] is True
    return Answer(answer["statusCode"], answer["headers"], json.loads(base64.b64decode(answer["body"])))


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "base64"])
@pytest.mark.parametrize("stage", ["$default", "prod"])
def test_intake_behind_an_http_api(
    imported: Imported, keys: Keys, database_file: Path, encoded: bool, stage: str
) -> None:
    main = imported("intake")
    options: dict[str, Any] = {"key": keys.send, "encoded": encoded, "stage": stage}
    body = json.dumps(mail(metadata={"who": "Zoë"}), ensure_ascii=False).encode()
    made = called(main, "POST", SEND, body, headers={"Idempotency-Key": "k"}, **options)
    again = called(main, "POST", SEND, body, headers={"idempotency-key": '"k"'}, **options)
    assert (made.status, made.body["status"], again.body) == (202, "pending", made.body)
    shown = called(main, "GET", made.headers["location"], **options)
    assert (shown.status, shown.body["metadata"]) == (200, {"who": "Zoë"})
    assert called(main, "POST", f"{made.headers['location']}/cancel", **options).body["status"] == "canceled"
    assert called(main, "GET", "/healthz", stage=stage).status == 200
    with closing(sqlite3.connect(database_file)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM notifications").fetchone() == (1,)


def test_a_query_behind_an_http_api(imported: Imported, keys: Keys) -> None:
    main = imported("intake")
    numbers = ["+15005550010", "+15005550011"]
    for number in numbers:
        called(main, "POST", SEND, json.dumps(sms(recipient=number)).encode(), key=keys.send)

    def found(*query: tuple[str, str]) -> list[str]:
        answer = called(main, "GET", SEND, key=keys.send, query=list(query))
        assert answer.status == 200, answer.body
        return [item["recipient"] for item in answer.body["notifications"]]

    assert found(("recipient", numbers[0])) == [numbers[0]]  # its plus sign is encoded
    assert found(("limit", "1")) == [numbers[1]]
    assert found(("status", "pending"), ("status", "sent")) == numbers[::-1]
    twice = [("recipient", numbers[1]), ("recipient", numbers[0])]
    assert called(main, "GET", SEND, key=keys.send, query=twice).status == 422
    assert called(main, "GET", SEND, key=keys.send, query=[("limit", "x")]).status == 422


def test_an_unusual_event_of_api_gateway_gets_a_clear_answer(imported: Imported, keys: Keys) -> None:
    main = imported("intake")
    assert called(main, "GET", SEND).status == 401
    assert called(main, "GET", SEND, key=keys.operate).status == 403
    assert called(main, "GET", "/nowhere", key=keys.send).status == 404
    assert called(main, "DELETE", SEND, key=keys.send).status == 405
    assert called(main, "POST", SEND, key=keys.send).status == 400  # no body at all
    assert called(main, "POST", SEND, b"\xff", key=keys.send, encoded=True).status == 400
    assert called(main, "POST", SEND, "\ud800".encode(errors="surrogatepass"), key=keys.send).status == 400
    assert called(main, "POST", SEND, b" " * (MAX_BODY + 1), key=keys.send).status == 413
    assert called(main, "GET", f"{SEND}/%C3%A9", key=keys.send).status == 404
    bare = {"requestContext": {"http": {"method": "GET", "path": "/healthz"}}, "headers": None}
    assert main.handler(bare, CONTEXT)["statusCode"] == 200


def test_a_path_that_only_begins_like_its_stage_is_kept(imported: Imported) -> None:
    main = imported("intake")
    event = gateway("GET", "/healthz")
    event["requestContext"]["stage"] = "health"
    assert main.handler(event, CONTEXT)["statusCode"] == 200


def test_intake_without_the_database_is_a_503_on_lambda_too(
    imported: Imported, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDINGS_DATABASE_URL", "sqlite:////nowhere/at/all/tidings.db")
    answer = called(imported("intake"), "POST", SEND, json.dumps(mail()).encode(), key=keys.send)
    assert (answer.status, "retry-after" in answer.headers) == (503, True)


def test_replay_behind_an_http_api(imported: Imported, ready: Running, keys: Keys, container: Container) -> None:
    row = of_channel("sms", recipient="+15005550001")
    container.store.insert([row])
    imported("sms").handler(rmq("sms", entry(row)), CONTEXT)
    main = imported("replay")
    listed = called(main, "GET", "/v1/dead-letters", key=keys.operate, query=[("code", "21211")])
    assert [item["id"] for item in listed.body["notifications"]] == [row.id]
    dry = called(main, "POST", "/v1/dead-letters/replay", b'{"dry_run": true}', key=keys.operate)
    assert (dry.body["count"], stored(container, row).status) == (1, "failed")
    done = called(main, "POST", "/v1/dead-letters/replay", b"{}", key=keys.operate)
    assert (done.body["ids"], stored(container, row).generation) == ([row.id], 2)
    assert called(main, "POST", "/v1/sweep", key=keys.operate).status == 200
    assert called(main, "POST", "/v1/sweep", key=keys.send).status == 403

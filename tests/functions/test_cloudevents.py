"""CloudEvents, as Knative's RabbitmqSource sends them and in the other modes of the standard: delivered, and taken from
nobody who may not call."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tidings.domain.notification import Notification
from tidings.messaging import topology
from tidings.messaging.cloudevents import LONGEST
from tidings.messaging.envelope import Message
from tidings.pipeline.outgoing import message_for
from tidings.runtime.container import Container
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from tests.functions.conftest import Imported
from tests.functions.scripted import ScriptedSmtp
from tests.functions.served import TRIGGER_TOKEN, Answer, Lines, process
from tests.make import notification

BEARER = {"Authorization": f"Bearer {TRIGGER_TOKEN}"}
STRUCTURED = {"content-type": "application/cloudevents+json; charset=utf-8"}
BATCHED = {"content-type": "application/cloudevents-batch+json"}


def ask(main: Any, body: bytes, headers: Any, method: str = "POST", path: str = "/") -> Answer:
    request = Request(EnvironBuilder(method=method, path=path, data=body, headers=headers).get_environ())
    raw, status, answered = main.email(request)
    return Answer(status, answered, json.loads(raw) if "json" in answered["content-type"] else raw)


def binary(message: Message) -> dict[str, str]:
    """As the bridge makes them of a message's headers, with no content type: none of those is one."""
    return {f"Ce-{name.removeprefix('ce-').title()}": value for name, value in message.headers.items()}


def structured(message: Message, *, encoded: bool = False) -> dict[str, Any]:
    attributes: dict[str, Any] = {name.removeprefix("ce-"): value for name, value in message.headers.items()}
    if encoded:
        return {**attributes, "data_base64": base64.b64encode(message.body).decode()}
    return {**attributes, "datacontenttype": "application/json", "data": json.loads(message.body)}


@pytest.fixture
def main(imported: Imported) -> Any:
    return imported("email")


def stored(container: Container, **changes: Any) -> tuple[Notification, Message]:
    row = notification(datetime.now(UTC), recipient="ada@example.com", **changes)
    container.store.insert([row])
    return row, message_for(row)


def status(container: Container, row: Notification) -> str:
    found = container.store.get(row.tenant, row.id)
    assert found is not None
    return str(found.status)


def test_a_real_process_delivers_one_in_each_mode(
    settings: dict[str, str], container: Container, tmp_path: Path
) -> None:
    (one, first), (two, second), (three, third), (four, fourth) = (stored(container) for _ in range(4))
    batch = [structured(third), structured(fourth, encoded=True)]
    sent = [
        (first.body, binary(first)),
        (json.dumps(structured(second)).encode(), STRUCTURED),
        (json.dumps(batch).encode(), BATCHED),
    ]
    with ScriptedSmtp() as server, process("email", {**settings, "TIDINGS_SMTP_URL": server.url}, tmp_path) as post:
        for body, headers in sent:
            assert post("POST", "/", body, {**headers, **BEARER}).body == {"status": "settled"}
        assert len(server.mails) == 4
        assert post("POST", "/", *sent[0]).status == 401
    assert {status(container, row) for row in (one, two, three, four)} == {"sent"}


def test_a_real_process_that_is_open_takes_them_without_the_token_and_nothing_else(
    settings: dict[str, str], container: Container, tmp_path: Path
) -> None:
    row, message = stored(container)
    with ScriptedSmtp() as server:
        given = {
            **settings,
            "TIDINGS_SMTP_URL": server.url,
            "TIDINGS_CLOUDEVENTS": "open",
            "TIDINGS_METRICS": "prometheus",
        }
        with process("email", given, tmp_path) as post:
            event = {"eventSource": "aws:rmq", "rmqMessagesByQueue": {}}
            assert post("POST", "/", json.dumps(event).encode()).status == 401
            assert post("GET", "/metrics", None, binary(message)).status == 401
            assert post("POST", "/", b"x" * (LONGEST + 1), binary(message)).status == 413
            assert post("POST", "/", message.body, binary(message)).status == 200
        assert len(server.mails) == 1
    assert status(container, row) == "sent"


def test_without_the_setting_nobody_sends_one_without_the_token(main: Any, container: Container) -> None:
    row, message = stored(container)
    assert ask(main, message.body, binary(message)).status == 401
    assert ask(main, message.body, {**binary(message), "Authorization": "Bearer wrong"}).status == 401
    assert status(container, row) == "pending"


def test_a_body_without_an_end_is_not_read(main: Any) -> None:
    with pytest.raises(RequestEntityTooLarge):  # which the framework answers with a 413
        ask(main, b"x" * (LONGEST + 1), {**STRUCTURED, **BEARER})


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (STRUCTURED, b""),
        (STRUCTURED, b"{"),
        (STRUCTURED, b"\xff"),
        (STRUCTURED, b"[" * 100_000),
        (BATCHED, b"{}"),
        (BATCHED, b"null"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_not_what_its_content_type_says_is_a_bad_request(
    main: Any, headers: dict[str, str], body: bytes
) -> None:
    answer = ask(main, body, {**headers, **BEARER})
    assert (answer.status, answer.body["title"]) == (400, "Not a CloudEvent")


@pytest.mark.parametrize(
    "event",
    [
        None,
        7,
        [],
        {},
        {"specversion": "1.0", "type": "com.example.other", "id": "1", "source": "s", "data": {"id": "1"}},
        {"specversion": "1.0", "type": "dev.tidings.notification.v1", "generation": "1"},
        {"specversion": "1.0", "type": "dev.tidings.notification.v1", "generation": {"a": 1}, "data": {"id": "x"}},
        {"specversion": "1.0", "type": "dev.tidings.notification.v1", "generation": 1, "data_base64": "?"},
        {
            "specversion": "1.0",
            "type": "dev.tidings.notification.v1",
            "generation": 1,
            "data": {"id": 1, "channel": "sms"},
        },
    ],
    ids=lambda event: json.dumps(event)[:60],
)
def test_one_that_is_none_of_ours_is_parked_and_takes_no_neighbour_along(
    main: Any, container: Container, lines: Lines, event: Any
) -> None:
    row, message = stored(container)
    container.store.cancel(row.tenant, row.id)
    body = json.dumps([event, structured(message)]).encode()
    assert ask(main, body, {**BATCHED, **BEARER}).status == 200
    assert container.broker.depth(topology.PARKING) == 1
    assert len(lines.named("parked")) == 1
    assert len(lines.named("stale_message_dropped")) == 1


def test_an_event_of_a_paused_channel_is_deferred(main: Any, container: Container) -> None:
    """Whoever sends CloudEvents does not ask whether the channel is paused, as the trigger does."""
    row, message = stored(container)
    container.store.pause("email")
    assert ask(main, message.body, {**binary(message), **BEARER}).status == 200
    assert status(container, row) == "pending"
    assert container.broker.depths(["tidings.retry.30s"])["tidings.retry.30s"].ready == 1

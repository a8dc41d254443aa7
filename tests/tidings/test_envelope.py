"""A message in its forms: whatever comes, each entry is a message or a reason, and never an error."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidings.adapters.rabbitmq.frames import properties
from tidings.domain.errors import InvalidMessage
from tidings.domain.notification import new_id
from tidings.messaging import topology
from tidings.messaging.envelope import LONGEST_REASON, TYPE, Message, from_event, parse, to_event, unchanged_headers
from tidings.ports import Outgoing

ID = new_id(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MESSAGE = Message(id=ID, channel="sms", generation=2, attempt=3, traceparent=TRACE)


def entry(message: Message = MESSAGE, **changes: Any) -> dict[str, Any]:
    """As Lambda hands it over."""
    properties = {"headers": {name: {"bytes": list(value.encode())} for name, value in message.headers.items()}}
    made = {"basicProperties": properties, "redelivered": False, "data": base64.b64encode(message.body).decode()}
    return {**made, **changes}


def event(*entries: Any, queue: str = "tidings.sms::/") -> dict[str, Any]:
    return {"eventSource": "aws:rmq", "eventSourceArn": "arn", "rmqMessagesByQueue": {queue: list(entries)}}


def test_a_message_survives_the_round_trip_through_its_event() -> None:
    made = to_event([("tidings.sms", MESSAGE.body, {"headers": MESSAGE.headers, "messageId": "x"}, True)])
    (letter,) = from_event(json.loads(json.dumps(made)), "sms")
    assert (letter.message, letter.queue, letter.unreadable) == (MESSAGE, "tidings.sms", None)
    properties = made["rmqMessagesByQueue"]["tidings.sms::/"][0]["basicProperties"]
    assert properties["headers"]["ce-id"] == {"bytes": list(f"{ID}:2:3".encode())}


def test_a_message_holds_no_more_than_an_id_and_a_channel() -> None:
    assert json.loads(MESSAGE.body) == {"id": ID, "channel": "sms"}
    assert set(MESSAGE.headers) == {
        *("ce-id", "ce-source", "ce-type", "ce-specversion", "ce-generation", "ce-attempt", "ce-traceparent")
    }


def test_an_event_of_aws_is_read_with_all_that_it_holds() -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/with-mq.html"""
    nested = {"x-death": [{"count": 1, "queue": {"bytes": [97]}, "time": None, "table": {"a": {"b": [1, {}]}}}]}
    full = {
        "contentType": "text/plain",
        "contentEncoding": None,
        "headers": {**entry()["basicProperties"]["headers"], **nested, "n": 10, "t": True, "z": None},
        "deliveryMode": 1,
        "priority": 34,
        "correlationId": None,
        "replyTo": None,
        "expiration": "60000",
        "messageId": None,
        "timestamp": "Jan 1, 1970, 12:33:41 AM",
        "type": None,
        "userId": "AIDACKCEVSQ6C2EXAMPLE",
        "appId": None,
        "clusterId": None,
        "bodySize": 80,
    }
    (letter,) = from_event(event(entry(basicProperties=full)), "sms")
    assert letter.message == MESSAGE


def test_headers_may_be_plain_strings_and_numbers() -> None:
    headers: dict[str, Any] = {**MESSAGE.headers, "ce-generation": 2, "ce-attempt": 3}
    (letter,) = from_event(event(entry(basicProperties={"headers": headers})), "sms")
    assert letter.message == MESSAGE


@pytest.mark.parametrize("name", ["ce-attempt", "ce-traceparent"])
@pytest.mark.parametrize("how", ["null", "missing"])
def test_optional_properties_may_be_null_or_missing(name: str, how: str) -> None:
    headers: dict[str, Any] = {**MESSAGE.headers, name: None}
    if how == "missing":
        del headers[name]
    message = parse(MESSAGE.body, headers, "sms")
    assert (message.id, message.generation) == (ID, 2)
    assert (message.attempt, message.traceparent) in ((0, TRACE), (3, None))


BAD: list[tuple[str, Any]] = [
    ("null", None),
    ("a number", 7),
    ("a string", "x"),
    ("nothing in it", {}),
    ("no data", {"basicProperties": entry()["basicProperties"]}),
    ("null data", entry(data=None)),
    ("data that is a number", entry(data=7)),
    ("data that is no base64", entry(data="%%%")),
    ("data that is not ASCII", entry(data="é")),
    ("no properties", {"data": entry()["data"]}),
    ("null properties", entry(basicProperties=None)),
    ("properties that are a list", entry(basicProperties=[])),
    ("null headers", entry(basicProperties={"headers": None})),
    ("headers that are a list", entry(basicProperties={"headers": [1]})),
    ("headers that are bytes", entry(basicProperties={"headers": {"bytes": [97]}})),
    ("broken bytes", entry(basicProperties={"headers": {**MESSAGE.headers, "ce-type": {"bytes": [300]}}})),
    ("bytes that are none", entry(basicProperties={"headers": {**MESSAGE.headers, "ce-type": {"bytes": ["a"]}}})),
    ("another type", entry(basicProperties={"headers": {**MESSAGE.headers, "ce-type": "other"}})),
    ("no generation", entry(basicProperties={"headers": {"ce-type": TYPE}})),
    ("a generation that is none", entry(basicProperties={"headers": {**MESSAGE.headers, "ce-generation": "x"}})),
    ("a null generation", entry(basicProperties={"headers": {**MESSAGE.headers, "ce-generation": None}})),
    ("a huge generation", entry(basicProperties={"headers": {**MESSAGE.headers, "ce-generation": "9" * 5000}})),
    *(
        (f"the body {body[:20]!r}", entry(data=base64.b64encode(body).decode()))
        for body in (
            b"",
            b"{",
            b"null",
            b"7",
            b'"x"',
            b"[]",
            b"{}",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"id": 7, "channel": "sms"}',
            b'{"id": null, "channel": "sms"}',
            b'{"id": "%s", "channel": "email"}' % ID.encode(),
            b'{"id": "%s", "channel": {"a": 1}}' % ID.encode(),
            b'{"id": "%s", "channel": "sms"}' % (b"x" * 36),
            b'{"id": "%s", "channel": "sms"}' % ("é" * 36).encode(),
            b'{"id": "%s", "channel": "sms"}' % (b"\\ud800" * 36),
            b'{"id": "%s", "channel": "sms"}' % (b"\\u0000" * 36),
            b'{"id": "%s", "channel": "sms"}' % ID.upper().encode(),
        )
    ),
]


@pytest.mark.parametrize("bad", [item for _, item in BAD], ids=[name for name, _ in BAD])
def test_an_unreadable_entry_is_one_unreadable_message_and_affects_no_other(bad: Any) -> None:
    letters = from_event(event(entry(), bad, entry()), "sms")
    assert [letter.message for letter in letters] == [MESSAGE, None, MESSAGE]
    assert letters[1].unreadable


def test_deeply_nested_headers_affect_no_other_message() -> None:
    deep: Any = {}
    for _ in range(600):
        deep = {"a": [deep]}
    letters = from_event(event(entry(basicProperties={"headers": {**MESSAGE.headers, "x": deep}}), entry()), "sms")
    assert letters[1].message == MESSAGE


def test_a_reason_is_short_enough_for_a_header() -> None:
    headers = {**MESSAGE.headers, "ce-type": "x" * 100_000}
    (letter,) = from_event(event(entry(basicProperties={"headers": headers})), "sms")
    assert letter.unreadable is not None
    assert len(letter.unreadable) == LONGEST_REASON
    headers = {**MESSAGE.headers, "ce-type": "\ud800\r\n"}
    (letter,) = from_event(event(entry(basicProperties={"headers": headers})), "sms")
    assert letter.unreadable is not None
    assert letter.unreadable.isascii()
    assert letter.unreadable.isprintable()


def test_an_unreadable_message_keeps_its_body() -> None:
    (letter,) = from_event(event(entry(data=base64.b64encode(b"\0raw\xff").decode())), "sms")
    assert (letter.body, letter.queue) == (b"\0raw\xff", "tidings.sms")


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        "x",
        {},
        {"eventSource": "aws:sqs", "rmqMessagesByQueue": {}},
        {"eventSource": "aws:rmq"},
        {"eventSource": "aws:rmq", "rmqMessagesByQueue": None},
        {"eventSource": "aws:rmq", "rmqMessagesByQueue": []},
        {"eventSource": "aws:rmq", "rmqMessagesByQueue": {"q::/": 7}},
        {"eventSource": "aws:rmq", "rmqMessagesByQueue": {"q::/": "abc"}},
        {"eventSource": "aws:rmq", "rmqMessagesByQueue": {"q::/": {"a": 1}}},
    ],
)
def test_anything_but_an_aws_rmq_event_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidMessage, match="not an aws:rmq event"):
        from_event(wrong, "sms")


def test_several_queues_and_empty_ones_are_read_in_order() -> None:
    other = Message(id=ID, channel="sms", generation=1)
    many = event(entry())
    many["rmqMessagesByQueue"] |= {"tidings.sms.high::vhost::odd": [entry(other)], "empty::/": [], "null::/": None}
    letters = from_event(many, "sms")
    assert [(letter.queue, letter.message) for letter in letters] == [
        ("tidings.sms", MESSAGE),
        ("tidings.sms.high", other),
    ]


def test_headers_and_keys_added_by_a_newer_release_are_ignored() -> None:
    """So may it add, without a version of its own."""
    more = json.dumps({**json.loads(MESSAGE.body), "shard": [7]}).encode()
    headers = {**MESSAGE.headers, "ce-shard": "7", "ce-time": None, "ce-more": {"a": [1]}}
    added = entry(data=base64.b64encode(more).decode(), basicProperties={"headers": headers, "appId": "x"})
    assert [letter.message for letter in from_event(event(added), "sms")] == [MESSAGE]


def test_an_old_message_is_read_as_long_as_its_version_is() -> None:
    """As the first release wrote it. This test stays as it is, whatever we write today."""
    headers = {"ce-type": "dev.tidings.notification.v1", "ce-generation": "3"}
    body = b'{"id":"01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e","channel":"sms"}'
    read = parse(body, headers, "sms")
    assert (read.generation, read.attempt, read.traceparent) == (3, 0, None)


def test_any_headers_of_a_deferred_unread_message_can_be_written() -> None:
    given = {"ce-type": "t", "ce-n": 7, "": "x", "é": "x", "n" * 300: "x", "s": "\ud800", "x-death": "x", "d": {"a": 1}}
    kept = unchanged_headers(given)
    assert kept == {"ce-type": "t", "ce-n": "7", "s": "?"}
    properties(Outgoing(raw=b"", to=topology.parking(), headers=kept)).encode()


keys = st.text(max_size=5) | st.sampled_from(["bytes", "headers", "data", "ce-type"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["bytes", "headers", "data", "ce-type"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@settings(max_examples=50)
@given(anything, anything)
def test_no_entry_affects_another_whatever_it_holds(bad: Any, headers: Any) -> None:
    properties = {"headers": headers}
    letters = from_event(event(bad, entry(basicProperties=properties), entry()), "sms")
    assert len(letters) == 3
    assert letters[2].message == MESSAGE
    assert all((letter.message is None) == bool(letter.unreadable) for letter in letters)

"""The intake API: what it accepts, what it refuses and how, and what it stores.

Every answer here is also checked against the OpenAPI document (tests/functions/declared.py).
"""

import asyncio
import base64
import json
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tidings.api.submit import idempotency_key
from tidings.domain.errors import StoreUnavailable
from tidings.domain.notification import Priority
from tidings.messaging import topology
from tidings.messaging.envelope import Message
from tidings.pipeline.coalescer import Full
from tidings.runtime.container import Container

from tests.functions.declared import Declared
from tests.functions.served import Answer, Caller, Keys, Lines, intake_of, later, mail, process, push, sms, wired_to

SEND = "/v1/notifications"
RECIPIENTS = ("ada@example.com", "+15005550010", "device-1")


def rows(file: Path, query: str = "SELECT * FROM notifications") -> list[dict[str, Any]]:
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def claimed(container: Container, id: str, channel: str = "email") -> None:
    claims = container.store.claim([Message(id=id, channel=channel, generation=1)], timedelta(seconds=60))
    assert len(claims.acquired) == 1


# --- submit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [mail, sms, push])
def test_an_accepted_notification_is_a_committed_row_and_a_queued_message(
    intake: Caller, container: Container, database_file: Path, make: Any
) -> None:
    answer = intake("POST", SEND, make())
    assert answer.status == 202
    assert answer.body["status"] == "pending"
    assert answer.headers["location"] == f"{SEND}/{answer.body['id']}"
    (row,) = rows(database_file)
    assert (row["id"], row["tenant"], row["status"]) == (answer.body["id"], "acme", "pending")
    assert row["queued_at"] is not None
    assert container.broker.depth(topology.work_queue(make()["channel"], Priority.NORMAL)) == 1


def test_every_field_is_kept_and_shown_as_it_was_given(intake: Caller) -> None:
    file = base64.b64encode(b"PDF").decode()
    content = {
        "subject": "Shipped ✓",
        "text": "On its way",
        "html": "<p>On its way</p>",
        "from": "Shop <shop@example.com>",
        "reply_to": "help@example.com",
        "cc": ["b@example.com"],
        "bcc": ["c@example.com"],
        "headers": {"X-Order": "1234"},
        "attachments": [{"filename": "a.pdf", "content_type": "application/pdf", "content": file}],
    }
    given = {
        "send_at": "2999-01-01T00:00:00Z",
        "priority": "high",
        "on_ambiguous": "hold",
        "max_attempts": 3,
        "metadata": {"order": "1234", "who": "Zoë 🎁"},
    }
    given["send_at"], given["expires_at"] = later(hours=1), later(hours=2)
    answer = intake("POST", SEND, mail(content=content, **given))
    assert answer.status == 202
    shown = intake("GET", answer.headers["location"]).body
    assert shown["content"] == content
    assert {name: shown[name] for name in ("priority", "on_ambiguous", "max_attempts", "metadata")} == {
        name: given[name] for name in ("priority", "on_ambiguous", "max_attempts", "metadata")
    }
    assert shown["send_at"].endswith("Z")
    assert shown["next_attempt_at"] == shown["send_at"]


def test_high_priority_goes_to_a_queue_of_its_own(intake: Caller, container: Container) -> None:
    intake("POST", SEND, sms(priority="high"))
    assert container.broker.depth(topology.work_queue("sms", Priority.HIGH)) == 1
    assert container.broker.depth(topology.work_queue("sms", Priority.NORMAL)) == 0


def test_a_notification_with_a_future_send_at_is_stored_and_not_queued(
    intake: Caller, container: Container, database_file: Path
) -> None:
    intake("POST", SEND, sms(send_at=later(days=365)))
    assert rows(database_file)[0]["queued_at"] is None
    assert container.broker.depth(topology.work_queue("sms", Priority.NORMAL)) == 0


def test_a_send_at_in_the_past_means_at_once(intake: Caller, container: Container) -> None:
    assert intake("POST", SEND, sms(send_at=later(days=-1))).status == 202
    assert container.broker.depth(topology.work_queue("sms", Priority.NORMAL)) == 1


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nx: y", False),
        ("none of ours", False),
    ],
)
def test_only_a_valid_trace_context_is_kept(intake: Caller, database_file: Path, header: str, kept: bool) -> None:
    intake("POST", SEND, sms(), headers={"traceparent": header})
    assert rows(database_file)[0]["traceparent"] == (header if kept else None)


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_a_thousand_are_accepted_in_one_array_and_keep_their_order(intake: Caller, database_file: Path) -> None:
    items = [sms(metadata={"n": str(n)}) for n in range(1000)]
    answer = intake("POST", SEND, items)
    assert answer.status == 202
    by_id = {row["id"]: json.loads(row["metadata"])["n"] for row in rows(database_file)}
    assert [by_id[result["id"]] for result in answer.body["results"]] == [str(n) for n in range(1000)]


def test_an_item_of_an_array_takes_every_field_of_a_single_notification(intake: Caller, container: Container) -> None:
    item = mail(
        content={**mail()["content"], "cc": ["b@example.com"], "attachments": [{"filename": "a", "content": "YQ=="}]},
        send_at=later(hours=1),
        expires_at=later(hours=2),
        priority="high",
        on_ambiguous="hold",
        max_attempts=3,
        metadata={"a": "b"},
        idempotency_key="one",
    )
    alone = intake("POST", SEND, item).body
    (again,) = intake("POST", SEND, [item]).body["results"]
    assert again == {**alone, "replayed": True}  # by its key: the payload is the same to the last field


@pytest.mark.parametrize(("count", "told"), [(0, "none"), (1001, "more than 1000")])
def test_an_array_holds_1_to_1000(intake: Caller, database_file: Path, count: int, told: str) -> None:
    answer = intake("POST", SEND, [sms()] * count)
    assert answer.status == 422
    assert answer.body["detail"] == f"An array holds 1 to 1000 notifications, not {told}."
    assert rows(database_file) == []


def test_a_bad_item_never_spoils_the_good_ones(intake: Caller, database_file: Path) -> None:
    items = [sms(), sms(recipient="0800"), None, 7, mail(), {"channel": "fax"}, push(send_at=later(days=400))]
    answer = intake("POST", SEND, items)
    assert answer.status == 202
    results = answer.body["results"]
    assert [result.get("status", "error") for result in results] == [
        *("pending", "error", "error", "error", "pending", "error", "error")
    ]
    assert {row["id"] for row in rows(database_file)} == {results[0]["id"], results[4]["id"]}
    problem = results[1]["error"]
    assert (problem["type"], problem["status"]) == ("about:blank", 422)
    assert problem["errors"][0]["pointer"] == "#/1/recipient"
    assert (problem["errors"][0]["field"], problem["errors"][0]["index"]) == ("recipient", 1)
    pointers = [result["error"]["errors"][0]["pointer"] for result in results if "error" in result]
    assert pointers == ["#/1/recipient", "#/2", "#/3", "#/5/channel", "#/6/send_at"]


def test_an_array_is_422_only_when_every_item_is_bad(intake: Caller, database_file: Path) -> None:
    answer = intake("POST", SEND, [sms(recipient="0800"), None])
    assert answer.status == 422
    assert ["error" in result for result in answer.body["results"]] == [True, True]
    assert rows(database_file) == []


# --- what is refused, and in which words ------------------------------------------------------------------------------


def content(make: Any, **changes: Any) -> Any:
    """The notification with some of its content changed; None removes a field."""
    changed = {**make()["content"], **changes}
    return make(content={name: value for name, value in changed.items() if value is not None})


CONTROL = "must be one line: CR, LF and other control characters are not allowed here"
NUMBER = "not an E.164 number: a plus sign, the country code and the number, digits only, like +15005550010"
ZONE = "needs a time zone, like 2026-11-22T10:00:00Z"
NO_TIME = "must be an RFC 3339 timestamp, like 2026-05-01T12:00:00Z"
BASE64 = "content is not base64 (RFC 4648, with padding, in one line)"
OWN = "is set by Tidings; use the field of that name if there is one"


def attached(*contents: str, **more: Any) -> Any:
    return content(mail, attachments=[{"filename": "a", "content": one, **more} for one in contents])


REFUSED: list[tuple[str, Any, str, str]] = [
    # what, body, pointer, detail (its beginning)
    ("no channel", {"recipient": "x"}, "#/channel", "is required: one of email, sms, push"),
    ("another channel", {"channel": "fax"}, "#/channel", "must be one of email, sms, push"),
    ("a channel that is no string", {"channel": 3}, "#/channel", "must be one of email, sms, push"),
    ("no recipient", {"channel": "sms", "content": {"text": "x"}}, "#/recipient", "is required"),
    ("no content", {"channel": "sms", "recipient": "+15005550010"}, "#/content", "is required"),
    ("content that is no object", sms(content="x"), "#/content", "must be an object"),
    ("an unknown field", sms(colour="red"), "#/colour", "unknown field"),
    ("an unknown field inside", content(mail, colour="red"), "#/content/colour", "unknown field"),
    ("a field of another channel", content(sms, subject="x"), "#/content/subject", "unknown field"),
    ("the name that Python has for from", content(mail, from_="a@example.com"), "#/content/from_", "unknown field"),
    ("a pointer's own letters", sms(**{"a/b~c": 1}), "#/a~1b~0c", "unknown field"),
    # email
    ("an address without @", mail(recipient="ada"), "#/recipient", "not an email address: "),
    ("an address without a domain", mail(recipient="ada@localhost"), "#/recipient", "not an email address: "),
    ("two addresses", mail(recipient="a@example.com, b@example.com"), "#/recipient", "not an email address: "),
    ("a name and an address", mail(recipient="Ada <ada@example.com>"), "#/recipient", "not an email address: "),
    ("an address with CR LF", mail(recipient="ada@example.com\r\nBcc: b@example.com"), "#/recipient", CONTROL),
    ("an address that is too long", mail(recipient="a" * 330 + "@example.com"), "#/recipient", "length must be at"),
    ("a subject with LF", content(mail, subject="a\nBcc: b@example.com"), "#/content/subject", CONTROL),
    ("a subject with CR", content(mail, subject="a\rb"), "#/content/subject", CONTROL),
    ("a subject with NUL", content(mail, subject="a\0b"), "#/content/subject", CONTROL),
    ("a subject with a line separator", content(mail, subject="a\u2028b"), "#/content/subject", CONTROL),
    ("a subject with a vertical tab", content(mail, subject="a\vb"), "#/content/subject", CONTROL),
    ("no subject", content(mail, subject=None), "#/content/subject", "is required"),
    ("neither text nor html", content(mail, text=None), "#/content", "give text, html, or both"),
    ("a from with LF", content(mail, **{"from": "A\n <a@example.com>"}), "#/content/from", CONTROL),
    ("a from that is two", content(mail, **{"from": "a@example.com, B <b@example.com>"}), "#/content/from", "not one"),
    ("a from with brackets", content(mail, **{"from": '"<x>" <b@example.com>'}), "#/content/from", "not one address"),
    ("a reply-to that is none", content(mail, reply_to="x"), "#/content/reply_to", "not an email address: "),
    ("a cc that is none", content(mail, cc=["a@example.com", "x"]), "#/content/cc/1", "not an email address: "),
    ("a bcc that is no list", content(mail, bcc="a@example.com"), "#/content/bcc", "must be an array"),
    ("too many cc", content(mail, cc=["a@example.com"] * 51), "#/content/cc", "number of entries must be at most 50"),
    ("a header with LF", content(mail, headers={"X-A": "a\nB: c"}), "#/content/headers/X-A", CONTROL),
    ("a header with CR LF in its name", content(mail, headers={"X\r\nB": "c"}), "#/content/headers/X\r\nB", "not a he"),
    ("a header with a colon in its name", content(mail, headers={"X:": "c"}), "#/content/headers/X:", "not a header"),
    ("a header that is ours", content(mail, headers={"BCC": "x"}), "#/content/headers/BCC", f"the header BCC {OWN}"),
    ("a header that is empty", content(mail, headers={"X-A": ""}), "#/content/headers/X-A", "length must be at"),
    ("a Resent header", content(mail, headers={"Resent-To": "x"}), "#/content/headers/Resent-To", "the header Resent"),
    ("too many headers", content(mail, headers={f"X-{n}": "x" for n in range(21)}), "#/content/headers", "number of"),
    ("a header twice", content(mail, headers={"X-A": "1", "x-a": "2"}), "#/content", "the header x-a is given twice"),
    ("a header twice, aloud", content(mail, headers={"x-a": "1", "X-A": "2"}), "#/content", "the header X-A is given"),
    *(
        (
            f"{header} that is {what}",
            content(mail, headers={header: value}),
            "#/content",
            f"the header {header} {detail}",
        )
        for header in ("List-Unsubscribe", "list-unsubscribe-post", "References", "In-Reply-To", "List-Id")
        for what, value, detail in (
            ("not ASCII", "<https://example.com/ü>", "must be ASCII without =?; percent-encode the URL in it"),
            ("like an encoded word", "<https://example.com/?a=?b>", "must be ASCII without =?"),
            ("one long word", f"<https://example.com/{'x' * 900}>", "has over 900 characters without a space"),
        )
    ),
    (
        "over 100 recipients",
        content(mail, cc=[f"c{n}@example.com" for n in range(50)], bcc=[f"b{n}@example.com" for n in range(50)]),
        "#/content",
        "a mail has at most 100 recipients, to, cc and bcc together, not 101; send several",
    ),
    ("an attachment that is no base64", attached("!!"), "#/content/attachments/0", BASE64),
    ("an attachment without padding", attached("YQ"), "#/content/attachments/0", BASE64),
    ("an attachment in lines", attached("YWJj\nYWJj"), "#/content/attachments/0", BASE64),
    ("an attachment that is not ASCII", attached("YWJj", "é"), "#/content/attachments/1", BASE64),
    ("an attachment as multipart", attached("YQ==", content_type="multipart/mixed"), *(
        "#/content/attachments/0/content_type",
        "multipart/mixed cannot be attached; use application/octet-stream",
    )),
    ("an attachment of no type", attached("YQ==", content_type="x"), "#/content/attachments/0/content_type", "must m"),
    ("a file name with CR LF", attached("YQ==", filename="a\r\nb"), "#/content/attachments/0/filename", CONTROL),
    ("too many attachments", attached(*["YQ=="] * 21), "#/content/attachments", "number of entries must be at most 20"),
    ("attachments too large together", attached("YWFh" * 2_000_000, "YWFh" * 1_000_000), *(
        "#/content",
        "attachments are over 7340032 bytes together",
    )),
    # sms
    ("a number without plus", sms(recipient="15005550010"), "#/recipient", NUMBER),
    ("a number with a leading zero", sms(recipient="+0800123"), "#/recipient", NUMBER),
    ("a number with spaces", sms(recipient="+1 500 555"), "#/recipient", NUMBER),
    ("a number of 16 digits", sms(recipient="+1234567890123456"), "#/recipient", NUMBER),
    ("a number with LF", sms(recipient="+15005550010\n"), "#/recipient", NUMBER),
    ("a number in other digits", sms(recipient="+1\u0665\u0660\u0660\u0665\u0665"), "#/recipient", NUMBER),
    ("a number that is a number", sms(recipient=15005550010), "#/recipient", "must be a string"),
    ("no text", content(sms, text=""), "#/content/text", "length must be at least 1"),
    ("a text that is too long", content(sms, text="x" * 1601), "#/content/text", "length must be at most 1600"),
    ("a text of blanks", content(sms, text=" \n\t\xa0\u200b"), "#/content", "the text is blank"),
    ("a text with NUL", content(sms, text="a\0b"), "#/content", "the text holds a NUL character"),
    ("a text too long by its brackets", content(sms, text="x" * 1599 + "]"), "#/content", "the text has 1601 char"),
    ("a text too long by its emojis", content(sms, text="\N{GRINNING FACE}" * 801), "#/content", "the text has 1602"),
    # push
    ("neither token nor topic", push(recipient={}), "#/recipient", "give either token or topic"),
    ("both token and topic", push(recipient={"token": "a", "topic": "b"}), "#/recipient", "give either token or topic"),
    ("a token with a space", push(recipient={"token": "a b"}), "#/recipient/token", "must match "),
    ("a recipient that is no object", push(recipient="a"), "#/recipient", "must be an object"),
    ("nothing to say", push(content={}), "#/content", "give title, body, or data"),
    *(
        (f"the data key {key}", content(push, data={key: "x"}), f"#/content/data/{key}", f"the key {key} is reserved")
        for key in ("from", "message_type", "google.x", "gcm.x")
    ),
    *(
        (f"the data key {key}", content(push, data={key: "x"}), "#/content", f"the data key {key} is reserved by FCM")
        for key in ("notification", "google", "googleplus", "gcm", "gcmx")
    ),
    ("a field of 4,051 bytes with its key's", push(content={"data": {"k": "x" * 4051}}), *(
        "#/content",
        "the message has 4052 bytes as FCM counts; at most 4051 for a token",
    )),
    ("a topic's message of 2,004 bytes", push(recipient={"topic": "a"}, content={"data": {"k": "x" * 2003}}), *(
        "#/content",
        "the message has 2004 bytes as FCM counts; at most 2003 for a topic",
    )),
    ("data that is no string", content(push, data={"a": 1}), "#/content/data/a", "must be a string"),
    ("a push of more than 4096 bytes", content(push, body="é" * 2048), "#/content", "the message has 42"),
    ("an image over http", content(push, image="http://example.com/a.png"), "#/content/image", "must match "),
    # when and how
    ("a naive send_at", sms(send_at="2026-11-22T10:00:00"), "#/send_at", ZONE),
    ("a naive expires_at", sms(expires_at="2026-11-22T10:00:00"), "#/expires_at", ZONE),
    ("a send_at that is a number", sms(send_at=1800000000), "#/send_at", NO_TIME),
    ("a send_at that is a string of digits", sms(send_at="1800000000"), "#/send_at", NO_TIME),
    ("a send_at that is no time", sms(send_at="soon"), "#/send_at", "must be an RFC 3339 timestamp"),
    ("a send_at out of range", sms(send_at="0001-01-01T00:00:00+10:00"), "#/send_at", "out of range"),
    ("a send_at too far", sms(send_at=later(days=367)), "#/send_at", "lies more than 366 days ahead"),
    ("an expires_at too far", sms(expires_at=later(days=367)), "#/expires_at", "lies more than 366 days ahead"),
    ("an expires_at before send_at", sms(send_at=later(days=2), expires_at=later(days=1)), *(
        "#/expires_at",
        "must be after send_at",
    )),
    ("a priority that is none", sms(priority="urgent"), "#/priority", "must be 'normal' or 'high'"),
    (
        "an on_ambiguous that is none",
        sms(on_ambiguous="ask"),
        "#/on_ambiguous",
        "must be 'resend', 'hold' or 'reconcile'",
    ),
    (
        "a mail that is to be reconciled",
        mail(on_ambiguous="reconcile"),
        "#/on_ambiguous",
        "must be 'resend' or 'hold'",
    ),
    (
        "a push that is to be reconciled",
        push(on_ambiguous="reconcile"),
        "#/on_ambiguous",
        "must be 'resend' or 'hold'",
    ),
    ("no attempt", sms(max_attempts=0), "#/max_attempts", "must be at least 1"),
    ("21 attempts", sms(max_attempts=21), "#/max_attempts", "must be at most 20"),
    ("a huge number of attempts", sms(max_attempts=10**400), "#/max_attempts", "must be at most 20"),
    ("half an attempt", sms(max_attempts=1.5), "#/max_attempts", "must be a whole number"),
    ("attempts in a string", sms(max_attempts="3"), "#/max_attempts", "must be a whole number"),
    ("attempts that are true", sms(max_attempts=True), "#/max_attempts", "must be a whole number"),
    ("metadata that is a list", sms(metadata=[]), "#/metadata", "must be an object"),
    ("a metadata value that is no string", sms(metadata={"a": 1}), "#/metadata/a", "must be a string"),
    ("a metadata key of 65", sms(metadata={"k" * 65: "x"}), f"#/metadata/{'k' * 65}", "length must be at most 64"),
    ("a metadata value of 1025", sms(metadata={"k": "x" * 1025}), "#/metadata/k", "length must be at most 1024"),
    ("33 metadata", sms(metadata={str(n): "x" for n in range(33)}), "#/metadata", "number of entries must be at m"),
    ("metadata over a column", sms(metadata={str(n): "漢" * 1024 for n in range(30)}), *(
        "#/metadata",
        "is over 60000 bytes together",
    )),
    ("an empty idempotency key", sms(idempotency_key=""), "#/idempotency_key", "must match "),
    ("an idempotency key of 256", sms(idempotency_key="k" * 256), "#/idempotency_key", "must match "),
    ("an idempotency key beyond ASCII", sms(idempotency_key="é"), "#/idempotency_key", "must match "),
]  # fmt: skip


@pytest.mark.parametrize(("body", "pointer", "detail"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_each_invalid_field_has_an_error_entry(
    intake: Caller, database_file: Path, body: Any, pointer: str, detail: str
) -> None:
    answer = intake("POST", SEND, body)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.body["type"], answer.body["title"]) == ("about:blank", "The notification is not valid")
    assert answer.errors[pointer].startswith(detail), answer.errors
    first = next(error for error in answer.body["errors"] if error["pointer"] == pointer)
    assert first["field"] == pointer[2:].replace("~1", "/").replace("~0", "~") or "/" in pointer[2:]
    assert "index" not in first
    in_array = intake("POST", SEND, [sms(), body])
    assert in_array.status == 202
    error = next(e for e in in_array.body["results"][1]["error"]["errors"] if e["detail"].startswith(detail))
    assert (error["pointer"], error["index"]) == (f"#/1{pointer[1:]}", 1)
    assert len(rows(database_file)) == 1


@pytest.mark.parametrize(
    "absurd",
    [
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"channel":"sms","max_attempts":' + b"9" * 5000 + b"}",
        b'{"cc":[' + b'"a",' * 5000 + b'"a"]}',
        b"{" + b",".join(b'"%x":1' % n for n in range(5000)) + b"}",
    ],
    ids=["deep objects", "deep arrays", "a long number", "a long list", "many fields"],
)
def test_a_too_complex_item_is_refused_before_it_is_parsed_and_alone(intake: Caller, absurd: bytes) -> None:
    good = json.dumps(sms()).encode()
    if absurd[:1] == b"{":
        answer = intake("POST", SEND, absurd)
        assert (answer.status, answer.body["code"]) == (422, "too_complex")
    answer = intake("POST", SEND, b"[" + good + b"," + absurd + b"," + good + b"]")
    assert [one.get("error", {}).get("code") for one in answer.body["results"]] == [None, "too_complex", None]


def test_several_invalid_fields_have_an_entry_each(intake: Caller) -> None:
    answer = intake("POST", SEND, mail(recipient="x", content={"text": 1}, priority="x", max_attempts=0))
    assert {*answer.errors} == {"#/recipient", "#/content/subject", "#/content/text", "#/priority", "#/max_attempts"}


def test_an_answer_lists_a_limited_number_of_errors(intake: Caller) -> None:
    answer = intake("POST", SEND, sms(**{f"field{n}": 1 for n in range(1001)}))
    assert (answer.status, answer.body["detail"]) == (422, "1001 fields are not valid.")
    assert len(answer.body["errors"]) == 100


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"nonsense", 400),
        (b"\xef\xbb\xbf" + json.dumps(sms()).encode(), 400),  # a byte order mark, which RFC 8259 forbids
        (json.dumps(sms()).encode("utf-16"), 400),
        (json.dumps(sms(), ensure_ascii=False).encode().replace(b"way", b"\xff\xfe"), 400),
        (json.dumps(sms()).encode().replace(b"way", b"\\ud800"), 400),  # half of a pair: no text at all
        (json.dumps(mail()).encode().replace(b"Shipped", b"\\udc00"), 400),
        (json.dumps(sms()).encode() + b"x", 400),
        (b"[" * 100_000, 400),
        (b'{"channel":"sms","max_attempts":' + b"9" * 900 + b"x}", 400),
        (b"null", 422),
        (b"7", 422),
        (b"1e999", 422),
        (b"NaN", 422),
        (b'"sms"', 422),
        (b"true", 422),
    ],
    ids=lambda value: str(value[:24]) if isinstance(value, bytes) else str(value),
)
def test_a_body_that_is_no_notification_is_refused(
    intake: Caller, database_file: Path, body: bytes, status: int
) -> None:
    answer = intake("POST", SEND, body)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    if status == 400:
        assert answer.body["title"] == "The body is not JSON"
    else:
        assert answer.errors == {"#": "must be an object"}
    assert rows(database_file) == []


def test_the_last_of_two_equal_json_keys_counts(intake: Caller, database_file: Path) -> None:
    body = b'{"channel":"sms","recipient":"0800","recipient":"+15005550010","content":{"text":"x"}}'
    assert intake("POST", SEND, body).status == 202
    assert rows(database_file)[0]["recipient"] == "+15005550010"


def test_a_text_may_contain_all_unicode_characters(intake: Caller) -> None:
    text = 'NUL \0, tab \t, lines\r\n\u2028, 🎁, "quotes", \\, </script>'
    answer = intake("POST", SEND, content(mail, text=text))
    assert answer.status == 202
    assert intake("GET", answer.headers["location"]).body["content"]["text"] == text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("ada@EXAMPLE.com", "ada@example.com"),
        ("<ada@example.com>", "ada@example.com"),
        ("Ada Lovelace <ada@example.com>", "Ada Lovelace <ada@example.com>"),
        ('"Lovelace, Ada" <ada@example.com>', "Lovelace, Ada <ada@example.com>"),
        ('"A \\"B\\" C" <ada@example.com>', 'A "B" C <ada@example.com>'),
        ("Zoë & Co. <ada@example.com>", "Zoë & Co. <ada@example.com>"),
        ('"ada@example.org" <ada@example.com>', "ada@example.org <ada@example.com>"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_a_sender_is_kept_so_that_the_worker_reads_it_again(
    intake: Caller, container: Container, given: str, kept: str
) -> None:
    answer = intake("POST", SEND, content(mail, **{"from": given}))
    assert answer.status == 202
    stored = container.store.get("acme", answer.body["id"])
    assert stored is not None
    from tidings.domain.channels import EmailContent

    assert EmailContent.model_validate_json(stored.content).from_ == kept


# --- idempotency ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["order-1", '"order-1"', "  order-1 "], ids=["bare", "quoted", "spaced"])
def test_the_same_key_and_payload_get_the_first_answer_again(intake: Caller, database_file: Path, again: str) -> None:
    first = intake("POST", SEND, sms(metadata={"a": "1", "b": "2"}), headers={"idempotency-key": "order-1"})
    turned = dict(reversed(sms(metadata={"b": "2", "a": "1"}).items()))
    second = intake("POST", SEND, turned, headers={"idempotency-key": again})
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert (second.status, second.body) == (202, first.body)
    assert second.headers["location"] == first.headers["location"]
    assert len(rows(database_file)) == 1


@pytest.mark.parametrize(
    "other",
    [
        sms(recipient="+15005550011"),
        sms(content={"text": "Other"}),
        sms(priority="high"),
        sms(metadata={"a": "b"}),
        sms(send_at=later(days=1)),
        mail(),
    ],
    ids=["recipient", "text", "priority", "metadata", "send_at", "channel"],
)
def test_the_same_key_for_another_payload_is_refused(intake: Caller, database_file: Path, other: Any) -> None:
    intake("POST", SEND, sms(), headers={"idempotency-key": "order-1"})
    answer = intake("POST", SEND, other, headers={"idempotency-key": "order-1"})
    assert answer.status == 422
    assert answer.body["title"] == "This idempotency key was used for another notification"
    assert len(rows(database_file)) == 1


def test_the_key_in_the_item_is_the_key_in_the_header(intake: Caller) -> None:
    first = intake("POST", SEND, sms(), headers={"idempotency-key": "order-1"})
    assert intake("POST", SEND, sms(idempotency_key="order-1")).body == first.body
    both = intake("POST", SEND, sms(idempotency_key="order-1"), headers={"idempotency-key": "order-1"})
    assert both.body == first.body
    differ = intake("POST", SEND, sms(idempotency_key="order-2"), headers={"idempotency-key": "order-1"})
    assert (differ.status, differ.body["title"]) == (422, "Two idempotency keys")


def test_idempotency_keys_belong_to_their_tenant(intake: Caller, keys: Keys, database_file: Path) -> None:
    mine = intake("POST", SEND, sms(), headers={"idempotency-key": "order-1"})
    theirs = intake("POST", SEND, mail(), key=keys.other, headers={"idempotency-key": "order-1"})
    assert theirs.status == 202
    assert mine.body["id"] != theirs.body["id"]
    assert {row["tenant"] for row in rows(database_file)} == {"acme", "globex"}


def test_an_idempotency_key_works_after_the_notification_was_sent(intake: Caller, container: Container) -> None:
    first = intake("POST", SEND, mail(), headers={"idempotency-key": "order-1"})
    claimed(container, first.body["id"])
    again = intake("POST", SEND, mail(), headers={"idempotency-key": "order-1"})
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["idempotency-replayed"] == "true"


def test_each_item_of_an_array_has_its_own_idempotency_key(intake: Caller, database_file: Path) -> None:
    items = [sms(idempotency_key="a"), sms(idempotency_key="b"), sms(idempotency_key="a")]
    first = intake("POST", SEND, [*items, mail(idempotency_key="b")]).body["results"]
    assert first[2] == {**first[0], "replayed": True}
    assert first[0]["id"] != first[1]["id"]
    assert first[3]["error"]["title"] == "This idempotency key was used for another notification"
    second = intake("POST", SEND, [*items, sms()]).body["results"]
    assert second[:3] == [{**one, "replayed": True} for one in first[:3]]
    assert "replayed" not in second[3]
    assert len(rows(database_file)) == 3


def test_the_header_on_an_array_is_refused(intake: Caller, database_file: Path) -> None:
    answer = intake("POST", SEND, [sms()], headers={"idempotency-key": "order-1"})
    assert (answer.status, answer.body["title"]) == (422, "An array takes no Idempotency-Key header")
    assert rows(database_file) == []


@pytest.mark.parametrize("value", ["", "   ", '""', "é", "a\x7f", "k" * 256])
def test_an_invalid_idempotency_key_is_refused(intake: Caller, value: str) -> None:
    answer = intake("POST", SEND, sms(), headers={"idempotency-key": value})
    assert (answer.status, answer.body["title"]) == (422, "The Idempotency-Key is not valid")


@pytest.mark.parametrize(
    ("value", "key"),
    [("a", "a"), ('"a"', "a"), ('"a \\"b\\" \\\\c"', 'a "b" \\c'), ('"', '"'), ("k" * 255, "k" * 255)],
)
def test_an_idempotency_key_may_be_bare_or_quoted(value: str, key: str) -> None:
    assert idempotency_key({"idempotency-key": value}) == key


def test_two_requests_that_race_with_one_key_make_one_notification(
    database_url: str, database_file: Path, keys: Keys, declared: Declared
) -> None:
    """With two stores, like two processes, from many threads at once."""
    with wired_to(database_url) as one, wired_to(database_url) as two:
        callers = [intake_of(parts, keys) for parts in (one, two) * 4]
        start = threading.Barrier(8)

        def post(n: int) -> list[Answer]:
            start.wait()
            return [callers[n]("POST", SEND, sms(), headers={"idempotency-key": f"order-{key}"}) for key in range(5)]

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(post, range(8)))
    for key in range(5):
        assert {answer[key].status for answer in answers} == {202}
        assert len({answer[key].body["id"] for answer in answers}) == 1
        assert sum("idempotency-replayed" not in answer[key].headers for answer in answers) == 1
    assert len(rows(database_file)) == 5


def test_two_requests_with_one_key_in_one_batch_make_one_notification(intake: Caller, database_file: Path) -> None:
    """In one process they are in one batch and one statement."""

    async def together() -> list[Answer]:
        posts = [intake.ask("POST", SEND, sms(), headers={"idempotency-key": f"order-{n % 3}"}) for n in range(60)]
        return list(await asyncio.gather(*posts))

    answers = asyncio.run(together())
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body["id"] for answer in answers}) == 3
    assert len(rows(database_file)) == 3


# --- who may ----------------------------------------------------------------------------------------------------------

ROUTES = [
    ("POST", SEND),
    ("GET", SEND),
    ("GET", f"{SEND}/0193c0de-0000-7000-8000-000000000000"),
    ("POST", f"{SEND}/0193c0de-0000-7000-8000-000000000000/cancel"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_request_without_a_valid_key_gets_401(intake: Caller, method: str, path: str) -> None:
    none = intake(method, path, key=None)
    assert (none.status, none.headers["www-authenticate"]) == (401, "Bearer")
    for wrong in ("tdg_wrong", " ", "é"):
        answer = intake(method, path, key=wrong)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    basic = intake(method, path, key=None, headers={"authorization": "Basic YTpi"})
    assert basic.status == 401


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_key_without_the_scope_is_forbidden(intake: Caller, keys: Keys, method: str, path: str) -> None:
    answer = intake(method, path, key=keys.operate)
    assert (answer.status, answer.body["title"]) == (403, "The API key lacks the scope `send`")


def test_a_stored_hash_is_not_accepted_as_a_key(intake: Caller, keys: Keys) -> None:
    for kept in keys.kept:
        assert intake("GET", SEND, key=kept.digest.hex()).status == 401
        assert intake("GET", SEND, key=str(kept)).status == 401


def test_no_plain_api_key_is_stored(intake: Caller, keys: Keys, database_file: Path) -> None:
    intake("POST", SEND, sms())
    with closing(sqlite3.connect(database_file)) as connection:
        dump = "\n".join(connection.iterdump())
    for key in (keys.send, keys.operate, keys.both, keys.other):
        assert key not in dump
        assert key not in keys.setting


def test_another_tenants_notification_is_not_found(intake: Caller, keys: Keys, database_file: Path) -> None:
    id = intake("POST", SEND, sms()).body["id"]
    for method, path in (("GET", f"{SEND}/{id}"), ("POST", f"{SEND}/{id}/cancel")):
        answer = intake(method, path, key=keys.other)
        assert (answer.status, answer.body["title"]) == (404, "No such notification")
    assert intake("GET", SEND, key=keys.other).body == {"notifications": []}
    assert rows(database_file)[0]["status"] == "pending"


# --- look up ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["x", "é", "%00", "0193C0DE-0000-7000-8000-000000000000", "a\nb", "x" * 5000])
def test_an_invalid_id_is_not_found(intake: Caller, id: str) -> None:
    assert intake("GET", f"{SEND}/{id}").status == 404
    assert intake("POST", f"{SEND}/{id}/cancel").status == 404


def test_a_lookup_has_the_whole_timeline(intake: Caller, container: Container) -> None:
    from tidings.domain.errors import TransientError
    from tidings.ports import Acceptance

    id = intake("POST", SEND, mail()).body["id"]
    for outcome in (TransientError("451", "later"), Acceptance(provider_message_id="<m@example.com>")):
        container.store.database._clock = None  # type: ignore[attr-defined]
        _move(container, id)
        claims = container.store.claim([Message(id=id, channel="email", generation=1)], timedelta(seconds=60))
        (notification,) = claims.acquired
        container.settler.record([container.settler.settlement_for(claims, notification, outcome, provider="smtp")])
    shown = intake("GET", f"{SEND}/{id}").body
    assert (shown["status"], shown["attempts"], shown["provider"]) == ("sent", 2, "smtp")
    assert shown["provider_message_id"] == "<m@example.com>"
    steps = [(event["status"], event["attempt"]) for event in shown["events"]]
    assert steps == [("pending", 0), ("sending", 1), ("retrying", 1), ("sending", 2), ("sent", 2)]
    retry = shown["events"][2]
    assert retry["error"] == {"error_class": "transient", "code": "451", "message": "later"}
    assert retry["next_attempt_at"] > retry["at"]
    times = [event["at"] for event in shown["events"]]
    assert times == sorted(times)
    assert all(at.endswith("Z") for at in times)


def _move(container: Container, id: str) -> None:
    """Make its next attempt due."""
    import sqlalchemy

    with container.store.database.engine.begin() as connection:  # type: ignore[attr-defined]
        connection.execute(
            sqlalchemy.text("UPDATE notifications SET next_attempt_at = NULL WHERE id = :id"), {"id": id}
        )


def test_a_claimed_one_is_shown_as_sending(intake: Caller, container: Container) -> None:
    id = intake("POST", SEND, mail()).body["id"]
    claimed(container, id)
    shown = intake("GET", f"{SEND}/{id}").body
    assert shown["status"] == "sending"
    assert [event["status"] for event in shown["events"]] == ["pending", "sending"]


# --- list -------------------------------------------------------------------------------------------------------------


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [item["id"] for item in answer.body["notifications"]]


LOOKED_FOR = [
    ("Zed@EXAMPLE.com", "email"),
    (" Zed@example.com ", "email"),
    ("zed@example.com", None),  # the name's capitals are the mailbox's business
    ("15005550009", "sms"),
    (" 15005550009", "sms"),  # a plus sign that nobody escaped
    ("+1 (500) 555-0009", "sms"),
    ("0015005550009", "sms"),
    ("5005550009", None),  # no country code
    ("token:Device:1", "push"),
    ("topic:Device:1", None),
    ("nobody", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "channel"), LOOKED_FOR)
@pytest.mark.parametrize("named", [False, True])
def test_a_recipient_is_found_however_it_is_written(
    intake: Caller, text: str, channel: str | None, named: bool
) -> None:
    recipients = [
        mail(recipient="Zed@EXAMPLE.com"),
        sms(recipient="+15005550009"),
        push(recipient={"token": "Device:1"}),
    ]
    intake("POST", SEND, recipients)
    query = {"recipient": text, **({"channel": channel} if named and channel is not None else {})}
    found = intake("GET", SEND, query=query).body["notifications"]
    assert [item["channel"] for item in found] == ([channel] if channel is not None else [])


def test_a_recipient_of_another_channel_is_not_found(intake: Caller) -> None:
    intake("POST", SEND, [sms()])
    for channel in ("email", "push", "fax"):
        assert intake("GET", SEND, query={"recipient": "+15005550010", "channel": channel}).body["notifications"] == []


def test_a_list_is_filtered(intake: Caller) -> None:
    first = intake("POST", SEND, sms()).body
    second = intake("POST", SEND, mail()).body
    third = intake("POST", SEND, push(recipient={"topic": "news"})).body
    intake("POST", f"{SEND}/{first['id']}/cancel")
    everything = intake("GET", SEND)
    assert ids(everything) == [third["id"], second["id"], first["id"]]
    assert all("content" not in item and "events" not in item for item in everything.body["notifications"])

    def found(**query: str) -> list[str]:
        return ids(intake("GET", SEND, query=query))

    assert found(status="canceled") == [first["id"]]
    assert found(status="pending") == [third["id"], second["id"]]
    assert found(channel="email") == [second["id"]]
    assert found(recipient="ada@example.com") == [second["id"]]
    assert found(recipient="topic:news") == [third["id"]]
    assert found(recipient="none") == []
    assert found(channel="sms", status="pending") == []
    assert found(since=later(hours=1)) == []
    assert len(found(since=later(hours=-1), until=later(hours=1))) == 3
    assert found(until=later(hours=-1)) == []


def test_pages_do_not_shift_while_rows_are_added(intake: Caller) -> None:
    before = [result["id"] for result in intake("POST", SEND, [sms() for _ in range(25)]).body["results"]]
    seen: list[str] = []
    query = {"limit": "10"}
    while True:
        page = intake("GET", SEND, query=query)
        seen += ids(page)
        intake("POST", SEND, [sms() for _ in range(7)])
        if "next_cursor" not in page.body:
            break
        query["cursor"] = page.body["next_cursor"]
    assert seen == sorted(before, reverse=True)


def test_the_last_page_has_no_cursor(intake: Caller) -> None:
    intake("POST", SEND, [sms() for _ in range(4)])
    assert "next_cursor" in intake("GET", SEND, query={"limit": "3"}).body
    assert "next_cursor" not in intake("GET", SEND, query={"limit": "4"}).body


@pytest.mark.parametrize(
    ("query", "pointer", "detail"),
    [
        ({"status": "gone"}, "#/status", "must be one of pending, "),
        ({"limit": "0"}, "#/limit", "must be at least 1"),
        ({"limit": "201"}, "#/limit", "must be at most 200"),
        ({"limit": "x"}, "#/limit", "must be a whole number"),
        ({"cursor": "x"}, "#/cursor", "must match "),
        ({"since": "2026-11-22T10:00:00"}, "#/since", ZONE),
        ({"until": "soon"}, "#/until", "must be an RFC 3339 timestamp"),
        ({"channel": "é"}, "#/channel", "must match "),
        ({"color": "red"}, "#/color", "unknown field"),
        ({"tenant": "globex"}, "#/tenant", "unknown field"),
    ],
)
def test_each_invalid_query_parameter_has_an_error_entry(
    intake: Caller, query: dict[str, str], pointer: str, detail: str
) -> None:
    answer = intake("GET", SEND, query=query)
    assert (answer.status, answer.body["title"]) == (422, "The query is not valid")
    assert answer.errors[pointer].startswith(detail)


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_canceling_twice_is_harmless(intake: Caller) -> None:
    id = intake("POST", SEND, sms()).body["id"]
    for _ in range(2):
        answer = intake("POST", f"{SEND}/{id}/cancel")
        assert (answer.status, answer.body["status"]) == (200, "canceled")
    events = intake("GET", f"{SEND}/{id}").body["events"]
    assert [event["status"] for event in events] == ["pending", "canceled"]


def test_a_canceled_one_is_never_claimed(intake: Caller, container: Container) -> None:
    id = intake("POST", SEND, sms()).body["id"]
    intake("POST", f"{SEND}/{id}/cancel")
    claims = container.store.claim([Message(id=id, channel="sms", generation=1)], timedelta(seconds=60))
    assert (len(claims.acquired), len(claims.stale)) == (0, 1)


def test_a_claimed_one_cannot_be_canceled(intake: Caller, container: Container) -> None:
    id = intake("POST", SEND, mail()).body["id"]
    claimed(container, id)
    answer = intake("POST", f"{SEND}/{id}/cancel")
    assert answer.status == 409
    assert answer.body["detail"] == (
        "Its status is sending: a worker has it, and its outcome is not known yet; "
        "only pending and retrying can be canceled."
    )


def test_an_unknown_one_cannot_be_canceled(intake: Caller) -> None:
    assert intake("POST", f"{SEND}/0193c0de-0000-7000-8000-000000000000/cancel").status == 404


# --- about itself -----------------------------------------------------------------------------------------------------


def test_unknown_paths_and_methods_get_a_problem(intake: Caller) -> None:
    assert intake("GET", "/v2").status == 404
    assert intake("GET", "/openapiXjson").status == 404
    answer = intake("DELETE", SEND)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert answer.headers["content-type"] == "application/problem+json"


def test_readiness_is_ok_when_database_and_broker_answer(intake: Caller) -> None:
    answer = intake("GET", "/readyz", key=None)
    assert (answer.status, answer.body) == (200, {"status": "ok", "database": "ok", "broker": "ok"})


@contextmanager
def on(keys: Keys, declared: Declared, database_url: str, broker_url: str | None = None) -> Iterator[Caller]:
    with wired_to(database_url, broker_url) as parts:
        yield intake_of(parts, keys, declared)


CLOSED = "amqp://guest:guest@127.0.0.1:9/"
NO_DATABASE = "sqlite:////nowhere/at/all/tidings.db"


def test_notifications_are_accepted_without_the_broker(
    keys: Keys, declared: Declared, database_url: str, database_file: Path, lines: Lines
) -> None:
    with on(keys, declared, database_url, CLOSED) as intake:
        single, many = intake("POST", SEND, sms()), intake("POST", SEND, [mail(), push()])
        assert (single.status, many.status) == (202, 202)
        ready = intake("GET", "/readyz", key=None)
    assert [(row["status"], row["queued_at"]) for row in rows(database_file)] == [("pending", None)] * 3
    assert (ready.status, ready.body) == (200, {"status": "degraded", "database": "ok", "broker": "unavailable"})
    assert [line["notifications"] for line in lines.named("publish_deferred")] == [1, 2]


def test_returns_503_with_retry_after_when_the_database_is_down(keys: Keys, declared: Declared, lines: Lines) -> None:
    with on(keys, declared, NO_DATABASE) as intake:
        for method, path, body in (
            ("POST", SEND, sms()),
            ("POST", SEND, [sms(), mail()]),
            ("GET", SEND, None),
            ("GET", ROUTES[2][1], None),
            ("POST", ROUTES[3][1], None),
        ):
            answer = intake(method, path, body)
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["content-type"] == "application/problem+json"
        assert intake("POST", SEND, sms(recipient="x")).status == 422
        ready = intake("GET", "/readyz", key=None)
        assert (ready.status, ready.body["status"], ready.body["database"]) == (503, "unavailable", "unavailable")
        assert int(ready.headers["retry-after"]) >= 1
        also_ready = intake("GET", "/ready", key=None)  # Cloud Run lets no path that ends in z through
        assert (also_ready.status, also_ready.body) == (ready.status, ready.body)
        for path in ("/healthz", "/health"):
            health = intake("GET", path, key=None)
            assert (health.status, health.body) == (200, {"status": "ok"})
    assert not any(recipient in lines.text() for recipient in RECIPIENTS)


def test_a_database_without_the_schema_is_not_ready(keys: Keys, declared: Declared, tmp_path: Path) -> None:
    with on(keys, declared, f"sqlite:///{tmp_path}/empty.db") as intake:
        assert intake("GET", "/readyz", key=None).status == 503
        assert intake("POST", SEND, sms()).status == 503


def test_returns_503_when_too_many_notifications_wait(intake: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise Full

    monkeypatch.setattr("tidings.pipeline.coalescer.Coalescer.submit", full)
    answer = intake("POST", SEND, sms())
    assert (answer.status, answer.body["title"]) == (503, "Server overloaded")
    assert answer.headers["retry-after"]


@pytest.mark.parametrize("error", [RuntimeError, ValueError, StoreUnavailable])
def test_an_internal_error_repeats_nothing_of_the_request(
    intake: Caller, container: Container, monkeypatch: pytest.MonkeyPatch, lines: Lines, error: type[Exception]
) -> None:
    def broken(batch: Any) -> None:
        what = "the database does not answer" if error is StoreUnavailable else batch[0].recipient + batch[0].content
        raise error(what)

    monkeypatch.setattr(container.store, "insert", broken)
    answer = intake("POST", SEND, sms(content={"text": "a secret of the caller"}))
    assert answer.status == (503 if error is StoreUnavailable else 500)
    for told in (json.dumps(answer.body), lines.text()):
        assert "+15005550010" not in told
        assert "secret" not in told
    if answer.status == 500:
        (line,) = lines.named("unexpected_error")
        assert line["error"] == error.__name__
        assert "test_intake.py:" in line["where"]


def test_a_log_line_names_the_notification_and_no_recipient(intake: Caller, lines: Lines) -> None:
    id = intake("POST", SEND, mail(metadata={"who": "ada"})).body["id"]
    intake("POST", SEND, [sms(), push()])
    first = lines.named("accepted")[0]
    assert (first["notification_id"], first["channel"], first["tenant"]) == (id, "email", "acme")
    assert len(lines.named("accepted")) == 3
    assert not any(recipient in lines.text() for recipient in (*RECIPIENTS, "Shipped", "on its way"))


def refused_while_sending(url: str, headers: dict[str, str]) -> int:
    """The status that is answered before the body is sent: at once if its length is declared, else at the limit."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
    with closing(connection):
        connection.putrequest("POST", SEND)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        if "transfer-encoding" in headers:
            part = b" " * 65536
            with suppress(ConnectionError):  # it answers and closes while the last part is under way
                for _ in range(16 * 16 + 1):
                    connection.send(b"%x\r\n%s\r\n" % (len(part), part))
        return connection.getresponse().status


# --- as a process -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        None,
        ["functions_framework", "--source", "functions/intake/main.py", "--target", "intake", "--host", "127.0.0.1"],
    ],
    ids=["tidings.runtime.server", "the framework's own"],
)
def test_a_real_process_takes_a_notification_from_post_to_cancel(
    settings: dict[str, str], keys: Keys, tmp_path: Path, database_file: Path, command: list[str] | None
) -> None:
    authorization = {"authorization": f"Bearer {keys.send}", "content-type": "application/json"}
    with process("intake", settings, tmp_path, command=command) as ask:
        body = json.dumps(mail(recipient="grace@example.com")).encode()
        made = ask("POST", SEND, body, {**authorization, "idempotency-key": '"k"'})
        again = ask("POST", SEND, body, {**authorization, "Idempotency-Key": "k"})
        assert (made.status, again.body) == (202, made.body)
        assert again.headers["idempotency-replayed"] == "true"
        found = ask("GET", f"{SEND}?recipient=grace%40example.com&limit=1", None, authorization)
        assert ids(found) == [made.body["id"]]
        assert ask("GET", made.headers["location"], None, authorization).body["status"] == "pending"
        assert ask("POST", f"{made.headers['location']}/cancel", b"", authorization).body["status"] == "canceled"
        assert ask("GET", "/readyz").status == 200
        assert ask("GET", "/openapi.json").body["openapi"].startswith("3.1")

        assert ask("POST", SEND, b"{}").status == 401
        assert ask("POST", SEND, b"\xff", authorization).status == 400
        for how in ({"content-length": str(16 * 1024 * 1024 + 1)}, {"transfer-encoding": "chunked"}):
            assert refused_while_sending(ask.url, {**authorization, **how}) == 413

        with ThreadPoolExecutor(8) as threads:
            raced = list(
                threads.map(lambda _: ask("POST", SEND, body, {**authorization, "idempotency-key": "race"}), range(16))
            )
        assert len({answer.body["id"] for answer in raced}) == 1
    assert len(rows(database_file)) == 2
    log = ask.log.read_text()
    logged = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert next(line["notification_id"] for line in logged if line["message"] == "accepted") == made.body["id"]
    assert {line["service"] for line in logged} == {"intake"}
    for secret in ("grace@example.com", "grace%40example.com", "Shipped", keys.send):
        assert secret not in log


def test_answers_are_complete_and_in_order_on_one_connection(
    settings: dict[str, str], keys: Keys, tmp_path: Path
) -> None:
    """Pipelined: one with a body, a large one, and one that closes the connection."""
    key = f"Authorization: Bearer {keys.send}\r\n"
    body = json.dumps(sms())
    requests = (
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        f"POST {SEND} HTTP/1.1\r\nHost: x\r\n{key}Content-Length: {len(body)}\r\n\r\n{body}"
        "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        "GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    with process("intake", settings, tmp_path) as ask, socket.create_connection(_address(ask.url), timeout=60) as raw:
        raw.sendall(requests.encode())
        told = b"".join(iter(lambda: raw.recv(65536), b""))  # to the end: it was told to close
    for status in (200, 202, 200, 404):
        head, told = told.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 %d " % status)
        (length,) = re.findall(rb"content-length: (\d+)", head)
        body, told = told[: int(length)].decode(), told[int(length) :]
        assert isinstance(json.loads(body), dict)
    assert told == b""


@pytest.mark.parametrize("name", ["intake", "email"])  # an ASGI function, and one that is none
def test_an_idle_connection_is_kept_open(settings: dict[str, str], tmp_path: Path, name: str) -> None:
    """A proxy sends its next request on it. If we had closed it, the proxy could not repeat a POST."""
    with process(name, settings, tmp_path) as ask:
        kept = HTTPConnection(*_address(ask.url), timeout=60)
        for silence in (3.0, 0.0):  # seconds; gunicorn's default is two
            kept.request("GET", "/healthz")
            assert kept.getresponse().read()
            assert kept.sock is not None, "it was told to close"
            kept.auto_open = 0  # from here on it is an error to have no connection
            time.sleep(silence)
        kept.close()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0

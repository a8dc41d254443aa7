"""Long strings are read apart from their body. Nobody is to notice: here every string of 25 bytes is long."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json
from tidings.api import json_shape, long_strings
from tidings.api.problems import Problem
from tidings.api.reader import Reader
from tidings.domain.channels import CHANNELS
from tidings.domain.notification import Notification

NOW = datetime(2026, 1, 2, tzinfo=UTC)
READER = Reader()
FIXED = re.compile(b"256")

# Of an escape and a character of each kind, and each length in UTF-8.
CHARACTERS = st.sampled_from(["a", "é", "☂", "😀", "\U0010ffff", '"', "\\", "/", "\n", "\b", "\x01", "\x7f", "\u2028"])
TEXTS = st.text(CHARACTERS, max_size=60)
GROUPS = st.sampled_from(["YWFh", "YWFh", "/+//", "YWE=", "YQ==", "Y"])
FILES = st.one_of(
    st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()),
    st.lists(GROUPS, max_size=12).map("".join),
    TEXTS,
)
SHORT = st.text("aé", max_size=2)
ODD = st.one_of(st.none(), st.integers(), TEXTS.map(lambda text: text + "x" * 5000), st.lists(SHORT, max_size=2))
"""What no field without a `MaxLength` takes."""


def mails(*, any_odd: bool) -> st.SearchStrategy[dict[str, Any]]:
    def sometimes(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(good, good, good, good, ODD) if any_odd else good

    return st.fixed_dictionaries(
        {"channel": st.just("email"), "recipient": sometimes(st.just("a@example.com"))},
        optional={
            "content": st.fixed_dictionaries(
                {"subject": sometimes(st.just("s")), "text": sometimes(TEXTS)},
                optional={
                    "html": sometimes(TEXTS),
                    "cc": sometimes(st.just(["b@example.com"])),
                    "headers": sometimes(st.just({"X-B": "1", "X-A": "2"})),
                    "attachments": st.lists(
                        st.fixed_dictionaries({"filename": sometimes(st.just("a")), "content": sometimes(FILES)}),
                        max_size=3,
                    ),
                    **({"unknown": ODD} if any_odd else {}),
                },
            ),
            "metadata": sometimes(st.just({"b": "é", "a": "1"})),
            "idempotency_key": sometimes(st.just("k")),
            "priority": sometimes(st.just("high")),
        },
    )


MAILS = mails(any_odd=False) | mails(any_odd=True)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON as some writer makes it, now and then with a byte that is wrong."""
    mail = draw(MAILS)
    if draw(st.integers(0, 3)) == 0:
        mail |= {draw(TEXTS) + "y" * 110: 1}
    body = json.dumps(
        mail, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])), sort_keys=draw(st.booleans())
    ).encode()
    if draw(st.booleans()):
        body = body.replace(b"/", b"\\/")
    if draw(st.integers(0, 3)) == 0:
        place, size = draw(st.integers(0, len(body))), draw(st.integers(0, 2))
        wrong = draw(st.sampled_from([b"", b"\xff", b"\x80", b"\n", b"\\", b"\\u", b"\\ud83d", b'"', b"{", b","]))
        body = body[:place] + wrong + body[place + size :]
    return body


@pytest.fixture(autouse=True)
def _none_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_shape, "SMALL", 0)


@contextmanager
def nearly_all_is_long() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_shape, "LONG", 24)  # a time has 20, and application/octet-stream 24
        patched.setattr(json_shape, "PIECE", 4)
        string = json_shape._STRING
        patched.setattr(json_shape, "_STRING", re.compile(FIXED.sub(b"2", string.pattern), string.flags))
        yield


def outcome(body: bytes) -> Any:
    try:
        return row(READER.one(body).notification(tenant="acme", now=NOW, traceparent=None))
    except Problem as problem:
        return told(problem)


def told(problem: Problem) -> Any:
    """In one string, the parser looks for what is not UTF-8 last."""
    detail = problem.document.get("detail", "")
    return {**problem.document, "detail": re.sub("(it is not UTF-8|a string holds a control).*", "n", detail)}


def row(notification: Notification) -> dict[str, Any]:
    content = notification.content
    return {
        **{name: getattr(notification, name) for name in Notification.__dataclass_fields__ if name != "id"},
        "content": content.encode() if isinstance(content, str) else content,
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies())
def test_a_body_is_read_the_same_whether_its_strings_are_long_or_not(body: bytes) -> None:
    """The row, the fingerprint of a repeated request, and what is wrong with it, to the column."""
    expected = outcome(body)
    with nearly_all_is_long():
        assert outcome(body) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(bodies(), min_size=1, max_size=3))
def test_an_array_is_read_the_same_too(items: list[bytes]) -> None:
    body = b"[" + b",".join(items) + b"]"

    def outcomes() -> Any:
        try:
            return [
                told(one)
                if isinstance(one, Problem)
                else row(one.notification(tenant="acme", now=NOW, traceparent=None))
                for one in READER.many(body)
            ]
        except Problem as problem:
            return told(problem)

    expected = outcomes()
    with nearly_all_is_long():
        assert outcomes() == expected


LONG = '\u00e9"' * long_strings.LONG


@pytest.mark.parametrize(
    "data", [{"a": LONG}, {LONG: 1}, {"a": [{"b": LONG}, LONG, None]}], ids=["value", "name", "deep"]
)
def test_a_webhooks_data_keep_their_long_strings(data: dict[str, Any]) -> None:
    content = {"type": "order.shipped", "data": data}
    body = {"channel": "webhook", "recipient": "https://hooks.example/orders", "content": content}
    submitted = READER.one(json.dumps(body).encode())
    assert submitted.content.model_dump(exclude_none=True) == content


@pytest.mark.parametrize("data", [{"a": "x" * 300_000}, {f"{n}": "x" * 30_000 for n in range(10)}], ids=["one", "many"])
def test_a_webhooks_data_are_limited_with_their_long_strings(data: dict[str, Any]) -> None:
    content = {"type": "order.shipped", "data": data}
    body = {"channel": "webhook", "recipient": "https://hooks.example/orders", "content": content}
    with pytest.raises(Problem) as refused:
        READER.one(json.dumps(body).encode())
    assert refused.value.status == 422
    assert "262144 bytes" in json.dumps(refused.value.document)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_long_string_is_too_long_for_any_other_field(channel: str) -> None:
    """Also if nothing but its length is wrong: its placeholder is refused where it was."""
    long = "x" * (long_strings.LONG + 1)
    good = {"channel": channel, **CHANNELS[channel].example}
    schema = CHANNELS[channel].model_json_schema()
    for name in schema["properties"]:
        for value in (long, [long], {"a": long}, {long: "a"}):
            body = {**good, "content": {**good["content"], name: value}}
            if channel == "email" and name in ("text", "html") and value == long:
                continue
            if channel == "webhook" and name == "data" and isinstance(value, dict):
                continue  # see below
            with pytest.raises(Problem) as refused:
                READER.one(json.dumps(body).encode())
            assert refused.value.status == 422
    for name in ("recipient", "idempotency_key", "metadata"):
        for value in (long, {"a": long}, {long: "a"}, {"token": long}):
            with pytest.raises(Problem):
                READER.one(json.dumps({**good, name: value}).encode())


def test_every_field_that_may_be_long_may_be_so() -> None:
    long = "YWFh" * 20_000
    content = {"subject": "s", "text": long, "html": long, "attachments": [{"filename": "a", "content": long}] * 2}
    submission = READER.one(json.dumps({"channel": "email", "recipient": "a@example.com", "content": content}).encode())
    assert len(submission.content.long_texts()) == 4
    stored = submission.notification(tenant="acme", now=NOW, traceparent=None).content
    assert stored == to_json(content)


@pytest.mark.parametrize("size", [1_000_000, 1_000_001])
def test_a_long_text_is_measured_in_characters(size: int) -> None:
    content = {"subject": "s", "text": "😀" * size}
    body = json.dumps({"channel": "email", "recipient": "a@example.com", "content": content}).encode()
    if size == 1_000_000:
        assert READER.one(body)
        return
    with pytest.raises(Problem) as refused:
        READER.one(body)
    (error,) = refused.value.document["errors"]
    assert (error["pointer"], error["detail"]) == ("#/content/text", "length must be at most 1000000")


@pytest.mark.parametrize("groups", range(16_375, 16_390))
def test_padding_is_at_the_end_of_a_file_and_not_of_a_piece_of_it(groups: int) -> None:
    for file, is_good in (("YWFh" * groups + "YQ==", True), ("YWFh" * groups + "YQ==" + "YWFh" * groups, False)):
        content = {"subject": "s", "text": "t", "attachments": [{"filename": "a", "content": file}]}
        expected = "good" if is_good else ["#/content/attachments/0"]
        assert refused(content) == expected


def refused(content: dict[str, Any]) -> Any:
    try:
        READER.one(json.dumps({"channel": "email", "recipient": "a@example.com", "content": content}).encode())
    except Problem as problem:
        return [error["pointer"] for error in problem.document["errors"]]
    return "good"

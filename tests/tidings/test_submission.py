"""What a caller hands in, as the row that it becomes. (What is refused: tests/functions/test_intake.py.)"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import create_model
from tidings.api.problems import Problem
from tidings.api.reader import Reader
from tidings.api.requests import MAX_METADATA_BYTES, SUBMISSIONS, Submission, check_submission
from tidings.api.responses import to_response
from tidings.api.validation_problems import entry
from tidings.domain.addresses import _any_email_address, email_address
from tidings.domain.channels import CHANNELS, PushContent
from tidings.domain.notification import Notification
from tidings.ports import SendRequest
from tidings.providers.smtp.mime import build_mail

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
READER = Reader()


def submitted(body: Mapping[str, Any]) -> Submission:
    """As the API takes it. Raise Problem."""
    submission = READER.one(json.dumps(body).encode())
    if (problem := check_submission(submission, NOW)) is not None:
        raise problem
    return submission


SMS: dict[str, Any] = {"channel": "sms", "recipient": "+15005550010", "content": {"text": "x"}}


def read(**changes: Any) -> Submission:
    return READER.one(json.dumps({**SMS, **changes}).encode())


def row(tenant: str = "acme", **changes: Any) -> Notification:
    return read(**changes).notification(tenant=tenant, now=NOW, traceparent=None)


def test_a_row_begins_pending_with_an_id_of_its_moment() -> None:
    made = row()
    assert (made.status, made.generation, made.attempt, made.created_at) == ("pending", 1, 0, NOW)
    assert int(made.id[:8] + made.id[9:13], 16) == int(NOW.timestamp() * 1000)
    assert made.id[14] == "7"
    assert row().id != made.id


def test_times_are_kept_in_utc_whatever_their_zone() -> None:
    at = NOW + timedelta(hours=1)
    for zone in (UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-12))):
        made = row(send_at=at.astimezone(zone).isoformat())
        assert made.send_at == at
        assert made.send_at is not None
        assert made.send_at.tzinfo is UTC


def test_only_what_lies_ahead_waits() -> None:
    ahead = row(send_at=(NOW + timedelta(seconds=1)).isoformat())
    assert (ahead.is_for_now, ahead.next_attempt_at) == (False, NOW + timedelta(seconds=1))
    assert row(send_at=NOW.isoformat()).is_for_now
    assert row().is_for_now
    assert row().next_attempt_at is None


def test_when_it_is_due_is_left_to_the_databases_clock() -> None:
    """An intake whose clock is an hour ahead must not send an hour early."""
    for at in (NOW - timedelta(hours=1), NOW + timedelta(hours=1)):
        assert row(send_at=at.isoformat()).next_attempt_at == at


def test_the_fingerprint_is_the_same_by_a_later_release_that_knows_more_fields() -> None:
    """A request that is repeated at its intake, in the middle of an update, is the same request."""
    today = SUBMISSIONS["sms"]
    later = create_model("Later", __base__=today, shard=(int | None, None))
    made = [model.model_validate({**SMS, "idempotency_key": "k"})._fingerprint() for model in (today, later)]
    assert made == ["0b3c8edca946822e50352ac5f0a1c14e168e36a5e09447a0293f152802017187"] * 2, (
        "rows with it are kept for as long as their keys"
    )


def test_the_fingerprint_is_of_the_payload_not_of_its_spelling() -> None:
    given: dict[str, Any] = {
        "idempotency_key": "k",
        "metadata": {"a": "1", "b": "2"},
        "send_at": "2026-05-01T12:00:00Z",
    }
    first = row(**given).fingerprint
    assert first is not None
    assert row(**{**given, "metadata": {"b": "2", "a": "1"}}).fingerprint == first
    assert row(**{**given, "send_at": "2026-05-01T14:00:00+02:00"}).fingerprint == first
    assert row(**given, priority="normal", max_attempts=10).fingerprint == first  # the defaults, spelled out
    assert row(**{**given, "idempotency_key": "other"}).fingerprint == first
    assert row(**{**given, "metadata": {"a": "1"}}).fingerprint != first


def test_the_same_key_of_two_tenants_has_two_hashes() -> None:
    one, other = row("acme", idempotency_key="k"), row("globex", idempotency_key="k")
    assert one.idempotency_hash != other.idempotency_hash
    assert row("acme", idempotency_key="k").idempotency_hash == one.idempotency_hash
    assert row("a", idempotency_key="b-c").idempotency_hash != row("a-b", idempotency_key="c").idempotency_hash
    assert (row().idempotency_hash, row().fingerprint) == (None, None)


@given(st.dictionaries(st.text(max_size=64), st.text(max_size=100), max_size=5))
def test_metadata_comes_back_as_it_was_given(metadata: dict[str, str]) -> None:
    try:
        body = json.dumps({**SMS, "metadata": metadata}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return  # half of a pair
    made = READER.one(body).notification(tenant="acme", now=NOW, traceparent=None)
    assert to_response(made).metadata == (metadata or None)


def test_metadata_of_any_script_fits_its_column() -> None:
    """MySQL's TEXT holds 65,535 bytes: what is over must be refused here, or the whole batch would be there."""
    fits = row(metadata={str(n): "\N{PARTY POPPER}" * 1024 for n in range(14)})
    assert fits.metadata is not None
    assert len(fits.metadata.encode()) <= MAX_METADATA_BYTES < 65_535
    with pytest.raises(Problem):
        row(metadata={str(n): "\N{PARTY POPPER}" * 1024 for n in range(15)})
    with pytest.raises(Problem):
        row(metadata={str(n): "\0" * 1024 for n in range(10)})  # each is six bytes as JSON


EVERYTHING: list[dict[str, Any]] = [
    {
        "channel": "email",
        "recipient": "Ada@EXAMPLE.com",
        "content": {
            "subject": "Ünïcödé 🎁",
            "text": "a\r\nb\0",
            "html": "<p>",
            "from": '"Shop, The" <shop@example.com>',
            "reply_to": "Zoë <help@example.com>",
            "cc": ["b@example.com"],
            "bcc": ["c@example.com"],
            "headers": {"List-Unsubscribe": "<https://example.com/u>"},
            "attachments": [{"filename": "ä.pdf", "content_type": "application/pdf", "content": "YQ=="}],
        },
    },
    SMS,
    {
        "channel": "push",
        "recipient": {"topic": "news"},
        "content": {"title": "t", "body": "b", "data": {"k": "v"}, "image": "https://example.com/a.png"},
    },
    {"channel": "push", "recipient": {"token": "a:b-c_d"}, "content": {"data": {"k": "v"}}},
]


@pytest.mark.parametrize("body", EVERYTHING, ids=lambda body: body["channel"])
def test_what_was_accepted_a_worker_can_read(body: dict[str, Any]) -> None:
    """The stored content is read by the rules of the door, so whatever passed must pass again, unchanged."""
    given = READER.one(json.dumps(body).encode())
    made = given.notification(tenant="acme", now=NOW, traceparent=None)
    assert CHANNELS[body["channel"]].model_validate_json(made.content) == given.content


def test_a_mail_goes_to_a_hundred_recipients() -> None:
    """As many as a server must take; an address that is named twice counts once."""
    cc = [f"c{n}@example.com" for n in range(50)]
    for bcc in ([f"b{n}@example.com" for n in range(49)], ["a@example.com", *cc[1:]]):
        content = {"subject": "s", "text": "t", "cc": cc, "bcc": bcc}
        body = {"channel": "email", "recipient": "a@example.com", "content": content}
        submitted(body)


@pytest.mark.parametrize(
    "headers", [{"X-A": "1", "x-a": "2"}, {"List-Unsubscribe": "<https://example.com/ü>"}, {"References": "x" * 950}]
)
def test_a_mail_that_the_release_before_accepted_can_be_read_and_sent(headers: dict[str, str]) -> None:
    content = {"subject": "s", "text": "t", "headers": headers}
    body = {"channel": "email", "recipient": "a@example.com", "content": content}
    with pytest.raises(Problem):
        submitted(body)
    stored = CHANNELS["email"].model_validate_json(json.dumps(content))
    outbound = SendRequest(id="0193-a", attempt=1, recipient="a@example.com", content=stored)
    mail = build_mail(outbound, sender="shop@example.org", domain="example.org", date=NOW)
    assert max(map(len, mail.data.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("header", ["X-Campaign", "Keywords", "Comments"])
def test_a_header_for_people_may_hold_any_letter(header: str) -> None:
    body = {"channel": "email", "recipient": "a@example.com"}
    READER.one(json.dumps({**body, "content": {"subject": "s", "text": "t", "headers": {header: "Grüße =?"}}}).encode())


@given(st.text(min_size=1, max_size=30) | st.text('a"\\\\<>@, ', min_size=1, max_size=12))
def test_any_sender_that_is_accepted_can_be_read_again(name: str) -> None:
    body = {
        "channel": "email",
        "recipient": "a@example.com",
        "content": {"subject": "s", "text": "t", "from": f"{name} <shop@example.com>"},
    }
    try:
        given = READER.one(json.dumps(body).encode())
    except Problem:
        return
    stored = given.notification(tenant="acme", now=NOW, traceparent=None).content
    assert CHANNELS["email"].model_validate_json(stored) == given.content


_local = st.one_of(
    st.sampled_from(
        [*["INFO", "Postmaster", "ada", "-", "a..b", ".a", "a.", "ada.b+c", "ü"], '"a b"', "a" * 64, "a" * 65]
    ),
    st.text("aZ09.!#$%&'*+/=?^_`{|}~-@ <>\\\"", max_size=10),
)
_name = st.one_of(
    st.sampled_from(
        [
            *[
                "example.com",
                "EXAMPLE.com",
                "a",
                "a.test",
                "localhost",
                "-a.com",
                "a-.com",
                "xn--bcher-kva.com",
                "xn--zz.com",
                "a..com",
                "a.com.",
            ],
            *["bücher.example.com", "[127.0.0.1]", "a.123", "1.2.3.4"],
            *[f"{'a' * length}.com" for length in (63, 64)],
            *[".".join(["a" * 60] * times) for times in (3, 4)],
        ]
    ),
    st.text("aZ09.-", max_size=12),
)


@settings(max_examples=500)
@given(_local, _name)
def test_the_quick_way_to_check_an_address_gives_what_the_long_one_gives(local: str, name: str) -> None:
    def tried(check: Callable[[str], str]) -> str:
        try:
            return check(f"{local}@{name}")
        except ValueError as error:
            return f"refused: {error}"

    assert tried(email_address) == tried(_any_email_address)


def test_a_recipient_is_shown_as_it_was_given() -> None:
    for recipient in ({"token": "a:b:c"}, {"topic": "x"}):
        body = {"channel": "push", "recipient": recipient, "content": {"title": "t"}}
        made = READER.one(json.dumps(body).encode()).notification(tenant="acme", now=NOW, traceparent=None)
        assert PushContent.shown(made.recipient) == recipient


def pushed(recipient: dict[str, str], **content: Any) -> Submission:
    return submitted({"channel": "push", "recipient": recipient, "content": content})


@pytest.mark.parametrize(("recipient", "most"), [({"token": "a"}, 4051), ({"topic": "a"}, 2003)])
def test_a_push_may_be_as_long_as_fcm_takes_it(recipient: dict[str, str], most: int) -> None:
    """FCM counts the bytes of keys and values, and a prefix for each field that is shown; one of these is our tag."""
    pushed(recipient, data={"k": "x" * (most - 1)})
    pushed(recipient, data={"ключ": "я" * ((most - 8) // 2)})
    shown = most - 2 * len("gcm.notification.") - len("title") - len("tag") - 36
    pushed(recipient, title="t" * min(shown, 1024), data={"k": "x" * max(shown - 1025, 0)})
    for content in ({"data": {"k": "x" * most}}, {"title": "t", "data": {"k": "x" * (shown - 1)}}):
        with pytest.raises(Problem):
            pushed(recipient, **content)


@pytest.mark.parametrize("key", ["From", "a.google", "Google", "to", "collapse_key", "notifications"])
def test_a_data_key_that_fcm_leaves_to_its_users_is_taken(key: str) -> None:
    pushed({"token": "a"}, data={key: "x"})


def test_what_an_earlier_release_took_is_read_though_it_would_be_refused_now() -> None:
    for data in ({"notification": "x"}, {"googleplus": "x"}, {"gcmx": "x"}, {"k": "x" * 4060}):
        with pytest.raises(Problem):
            pushed({"topic": "a"}, data=data)
        CHANNELS["push"].model_validate_json(json.dumps({"data": data}))


def test_a_time_is_judged_by_the_clock_that_is_given() -> None:
    submission = read(send_at=NOW.isoformat(), expires_at=(NOW + timedelta(hours=1)).isoformat())
    assert check_submission(submission, NOW) is None
    assert check_submission(submission, NOW + timedelta(minutes=59)) is None
    problem = check_submission(submission, NOW - timedelta(days=400), index=3)
    assert problem is not None
    assert problem.document["errors"][0]["index"] == 3


def test_a_time_in_the_past_is_the_intakes_to_judge() -> None:
    """The request may be repeated for longer than its notification lasts."""
    submission = read(send_at=NOW.isoformat(), expires_at=(NOW + timedelta(hours=1)).isoformat())
    assert check_submission(submission, NOW + timedelta(days=400)) is None


def test_a_pointer_is_written_as_rfc_6901_says() -> None:
    assert entry((), "x")["pointer"] == "#"
    assert entry(("a/b", "c~d", 0), "x")["pointer"] == "#/a~1b/c~0d/0"
    assert entry(("a",), "x", index=2) == {"pointer": "#/2/a", "field": "a", "detail": "x", "index": 2}


def test_the_first_request_loads_no_module() -> None:
    """It would keep all others waiting: email-validator alone takes 60 to 85 ms."""
    script = """
import json, sys
from tidings.api.reader import Reader
from tidings.domain.channels import CHANNELS
reader = Reader()
before = set(sys.modules)
for channel, content in CHANNELS.items():
    reader.one(json.dumps({"channel": channel, **content.example}).encode())
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

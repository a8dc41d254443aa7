"""The operator API of suppressions: list, look up, add, remove, import, export."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tidings.api.operator.suppression_import import MAX_ROWS
from tidings.domain.errors import StoreUnavailable, Suppressed
from tidings.domain.notification import Status
from tidings.pipeline.outgoing import message_for
from tidings.runtime.container import Container

from tests.functions.served import Answer, Caller, Keys, Lines, intake_of, later, mail
from tests.make import notification

PATH = "/v1/suppressions"
REMOVE, IMPORT, EXPORT = f"{PATH}/remove", f"{PATH}/import", f"{PATH}/export"
ADA = {"channel": "email", "recipient": "Ada@Example.com"}


def recipients(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [one["recipient"] for one in answer.body["suppressions"]]


def bad(answer: Answer) -> dict[int, str]:
    return {one["line"]: one["error"] for one in answer.body["errors"]}


# --- add, look up, remove ---------------------------------------------------------------------------------------------


def test_an_added_recipient_is_found_in_any_spelling(replay: Caller) -> None:
    added = replay("POST", PATH, {**ADA, "note": "asked by phone"}).body
    assert (added["recipient"], added["reason"], added["source"]) == ("ada@example.com", "manual", "operator")
    assert (added["in_force"], added["note"], "expires_at" in added) == (True, "asked by phone", False)
    for spelled in ("ada@example.com", "ADA@EXAMPLE.COM"):
        assert recipients(replay("GET", PATH, query={"recipient": spelled})) == ["ada@example.com"]
    assert recipients(replay("GET", PATH, query={"recipient": "bob@example.com"})) == []


def test_a_number_and_a_token_are_taken_as_the_other_lists_take_them(replay: Caller) -> None:
    assert replay("POST", PATH, {"channel": "sms", "recipient": "+1 500 555 0010"}).body["recipient"] == "+15005550010"
    wrong = replay("POST", PATH, {"channel": "push", "recipient": "aB"})
    assert wrong.status == 422
    assert "not valid for the channel push" in str(wrong.errors)


def test_a_bounce_lasts_90_days_and_an_expiry_that_is_given_wins(replay: Caller) -> None:
    assert "expires_at" in replay("POST", PATH, {**ADA, "reason": "hard_bounce"}).body
    at = later(days=100)
    given = replay("POST", PATH, {**ADA, "reason": "manual", "expires_at": at}).body
    assert given["expires_at"][:19] == at[:19]
    assert replay("POST", PATH, {**ADA, "expires_at": "2020-01-01T00:00:00Z"}).status == 422


def test_a_removal_names_the_key_and_is_harmless_twice(replay: Caller, keys: Keys, lines: Lines) -> None:
    assert replay("POST", REMOVE, ADA).status == 404
    replay("POST", PATH, ADA)
    first, second = replay("POST", REMOVE, ADA), replay("POST", REMOVE, ADA)
    assert first.body == second.body
    assert (first.body["in_force"], len(first.body["removed_by"])) == (False, 8)
    assert first.body["removed_by"] in {key.fingerprint for key in keys.kept}
    assert len(lines.named("suppression_removed")) == 1
    assert "ada@" not in lines.text().lower()


def test_the_list_is_filtered_and_paged(replay: Caller) -> None:
    for number in range(5):
        replay("POST", PATH, {"channel": "email", "recipient": f"{number}@example.com"})
    replay("POST", PATH, {"channel": "sms", "recipient": "+15005550010", "reason": "opted_out"})
    replay("POST", REMOVE, {"channel": "email", "recipient": "3@example.com"})
    page = replay("GET", PATH, query={"channel": "email", "limit": "2"})
    assert recipients(page) == ["4@example.com", "3@example.com"]
    following = replay("GET", PATH, query={"channel": "email", "cursor": str(page.body["next_cursor"])})
    assert recipients(following) == ["2@example.com", "1@example.com", "0@example.com"]
    assert recipients(replay("GET", PATH, query={"state": "ended"})) == ["3@example.com"]
    assert recipients(replay("GET", PATH, query={"reason": "opted_out"})) == ["+15005550010"]
    assert replay("GET", PATH, query={"channel": "pigeon"}).status == 422


def test_two_tenants_are_apart_and_a_key_needs_the_scope(replay: Caller, keys: Keys) -> None:
    replay("POST", PATH, ADA)
    assert recipients(replay("GET", PATH, key=keys.other)) == []
    assert replay("POST", REMOVE, ADA, key=keys.other).status == 404
    for method, path in (("GET", PATH), ("POST", PATH), ("POST", REMOVE), ("POST", IMPORT), ("GET", EXPORT)):
        assert replay(method, path, b"" if method == "GET" else ADA, key=keys.send).status == 403


# --- import and export ------------------------------------------------------------------------------------------------


@pytest.fixture
def imports(replay: Caller) -> Callable[[str], Answer]:
    return lambda text: replay("POST", IMPORT, text.encode())


def test_a_csv_file_is_imported_and_each_bad_line_is_answered(imports: Callable[[str], Answer], replay: Caller) -> None:
    answer = imports(
        "\ufeffchannel,Recipient,reason,note\r\n"
        'email,Ada@Example.com,opted_out,"from the ""old"" system, 2019"\r\n'
        "email,not an address,,\r\n"
        "\r\n"
        "pigeon,coop,,\r\n"
        "email,bob@example.com,because,\r\n"
        "email,bob@example.com\r\n"
        "sms,+15005550010,,\r\n"
    )
    assert (answer.body["stored"], answer.body["bad"]) == (2, 4)
    assert list(bad(answer)) == [3, 5, 6, 7]
    assert bad(answer)[5].startswith("channel must be one of email")
    assert bad(answer)[7] == "has 2 columns, not 4"
    (ada,) = replay("GET", PATH, query={"recipient": "ada@example.com"}).body["suppressions"]
    assert (ada["reason"], ada["source"], ada["note"]) == ("opted_out", "import", 'from the "old" system, 2019')


def test_an_export_can_be_imported(imports: Callable[[str], Answer], replay: Caller, keys: Keys) -> None:
    replay("POST", PATH, {**ADA, "note": "asked by phone"})
    replay("POST", PATH, {"channel": "sms", "recipient": "+15005550010", "reason": "hard_bounce"})
    replay("POST", PATH, {"channel": "sms", "recipient": "+15005550011"})
    replay("POST", REMOVE, {"channel": "sms", "recipient": "+15005550011"})
    text = replay("GET", EXPORT).body
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["recipient"] for line in lines] == ["+15005550010", "ada@example.com"]
    assert replay("POST", IMPORT, text.encode(), key=keys.other).body == {"stored": 2, "bad": 0, "errors": []}
    again = [json.loads(line) for line in replay("GET", EXPORT, key=keys.other).body.splitlines()]
    kept = ("channel", "recipient", "reason", "note", "expires_at")
    assert sorted(str([line.get(name) for name in kept]) for line in again) == sorted(
        str([line.get(name) for name in kept]) for line in lines
    )


def test_an_export_goes_page_by_page(
    imports: Callable[[str], Answer], replay: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.api.operator.suppressions.EXPORTED", 2)
    imports("channel,recipient\n" + "".join(f"email,{number}@example.com\n" for number in range(5)))
    seen: list[str] = []
    query: dict[str, Any] = {}
    while True:
        page = replay("GET", EXPORT, query=query)
        seen += [json.loads(line)["recipient"] for line in page.body.splitlines()]
        if "next-cursor" not in page.headers:
            break
        query = {"cursor": page.headers["next-cursor"]}
    assert sorted(seen) == [f"{number}@example.com" for number in range(5)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "It is empty"),
        ("recipient\nada@example.com\n", "the column channel is missing"),
        ("channel,recipient,colour\n", "unknown column 'colour'"),
        ("channel,recipient,channel\n", "named twice"),
        ("channel,recipient\n" + "x\n" * (MAX_ROWS + 1), "At most 100000 rows"),
    ],
)
def test_a_file_that_cannot_be_imported_changes_nothing(
    imports: Callable[[str], Answer], replay: Caller, text: str, words: str
) -> None:
    answer = imports(text)
    assert answer.status == 422
    assert words in answer.body["detail"]
    assert recipients(replay("GET", PATH)) == []


def test_ndjson_with_a_bad_line(imports: Callable[[str], Answer]) -> None:
    answer = imports('{"channel":"email","recipient":"ada@example.com"}\nnot json\n[]\n{"channel":"email"}\n')
    assert answer.body["stored"] == 1
    assert bad(answer)[2] == "is not a JSON object"
    assert bad(answer)[4] == "recipient is required"
    assert list(bad(answer)) == [2, 3, 4]


def test_a_hundred_thousand_rows_are_imported_beside_bad_ones(imports: Callable[[str], Answer], replay: Caller) -> None:
    rows = ["email,nobody\n" if number % 1000 == 0 else f"email,{number}@example.com\n" for number in range(MAX_ROWS)]
    answer = imports("channel,recipient\n" + "".join(rows))
    assert (answer.body["stored"], answer.body["bad"]) == (MAX_ROWS - 100, 100)
    assert list(bad(answer)) == [number + 2 for number in range(0, MAX_ROWS, 1000)]
    assert recipients(replay("GET", PATH, query={"recipient": "99999@example.com"})) == ["99999@example.com"]


def test_an_import_that_the_database_interrupts_says_how_far_it_came(
    imports: Callable[[str], Answer], container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = container.store
    real, calls = store.add_suppressions, []

    def failing(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise StoreUnavailable("down")
        real(*args)

    monkeypatch.setattr(store, "add_suppressions", failing)
    text = "channel,recipient\n" + "".join(f"email,{number}@example.com\n" for number in range(2000))
    answer = imports(text)
    assert (answer.status, answer.body["code"]) == (503, "import_interrupted")
    assert "up to line 1001 are stored" in answer.body["detail"]
    assert imports(text).body["stored"] == 2000


# --- the override -----------------------------------------------------------------------------------------------------


def test_ignoring_suppression_takes_the_scope_admin(container: Container, keys: Keys, declared: Any) -> None:
    intake = intake_of(container, keys, declared)
    body = mail(ignore_suppression=True)
    refused = intake("POST", "/v1/notifications", body)
    assert (refused.status, refused.body["code"]) == (403, "missing_scope")
    taken = intake("POST", "/v1/notifications", body, key=keys.both)
    assert taken.status == 202
    assert intake("GET", f"/v1/notifications/{taken.body['id']}").body["ignore_suppression"] is True
    plain = intake("POST", "/v1/notifications", mail()).body["id"]
    assert "ignore_suppression" not in intake("GET", f"/v1/notifications/{plain}").body


def test_a_suppressed_notification_is_listed_and_no_dead_letter(replay: Caller, container: Container) -> None:
    row = notification(datetime.now(UTC))
    container.store.insert([row])
    claims = container.store.claim([message_for(row)], timedelta(seconds=60))
    end = Suppressed("opted_out", "the recipient is suppressed")
    container.settler.record([container.settler.settlement_for(claims, claims.acquired[0], end, provider="test")])

    def ids(path: str, **query: Sequence[str] | str) -> list[str]:
        return [one["id"] for one in replay("GET", path, query=query).body["notifications"]]

    assert ids("/v1/notifications", status=Status.SUPPRESSED) == [row.id]
    assert ids("/v1/dead-letters") == []
    assert ids("/v1/dead-letters", status="suppressed") == [row.id]
    (channel,) = [one for one in replay("GET", "/v1/overview").body["channels"] if one["channel"] == "email"]
    assert sum(channel["counts"]["suppressed"]) == 1


@pytest.mark.parametrize("first", [b"[" * 200_000, b'{"channel":' * 50_000, b"channel,recipient\xff", b"x" * 5_000_000])
def test_a_file_of_something_else_is_refused_or_answered_by_its_line(replay: Caller, keys: Keys, first: bytes) -> None:
    answer = replay("POST", IMPORT, first, key=keys.operate)
    if first.startswith(b"{"):
        assert bad(answer) == {1: "has more than 16384 bytes"}
    else:
        assert answer.status == 422, answer
        assert answer.body["detail"].startswith("The first line ")

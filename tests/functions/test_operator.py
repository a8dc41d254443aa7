"""The operator API: overview, dead letters, channels, the key."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tidings.api.api_keys import Scope, new_key
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import AmbiguousError, PermanentError, TransientError
from tidings.messaging.envelope import IncomingMessage, Message
from tidings.ports import Acceptance, SendRequest
from tidings.runtime.container import Container

from tests.functions.served import ROOT, Caller, Keys, intake_of, mail, process, replay_of, sms, wired_to
from tests.scenarios.caller import wait_for

NONE_FOUND = {"total": 0, "statuses": {}, "may_have_been_sent": 0}


class Scripted:
    """A provider whose outcome depends on the subject or text."""

    name = "smtp"
    timeout = timedelta(seconds=1)

    def send(self, outbound: SendRequest) -> Acceptance:
        said = outbound.content.model_dump_json()
        for word, error in (
            ("no such", PermanentError("550", "no such user")),
            ("lost", AmbiguousError("no_answer", "time-out")),
            # Much later: not while it is looked at.
            ("later", TransientError("451", "greylisted", retry_after=timedelta(hours=1))),
        ):
            if word in said:
                raise error
        return Acceptance(provider_message_id="m-1")

    def close(self) -> None:
        return


def delivered(parts: Container, channel: str, *ids: str) -> None:
    delivery = parts.delivery(Scripted())
    letters = [
        IncomingMessage(queue=f"tidings.{channel}", body=b"", message=Message(id=id, channel=channel, generation=1))
        for id in ids
    ]
    delivery.deliver(letters)
    delivery.close()


def accepted(intake: Caller, body: dict[str, Any]) -> str:
    return str(intake("POST", "/v1/notifications", body).body["id"])


def subject(text: str) -> dict[str, Any]:
    return mail(content={"subject": text, "text": "…"})


# --- overview ---------------------------------------------------------------------------------------------------------


def overview(replay: Caller, **query: str) -> Any:
    """Repeated until it has the queues: without them it answers if the broker is slow."""
    return wait_for(lambda: replay("GET", "/v1/overview", query=query).body, lambda answer: answer["broker"] == "ok")


def test_the_overview_counts_what_happened_and_what_waits(
    container: Container, intake: Caller, replay: Caller, keys: Keys
) -> None:
    ids = [accepted(intake, subject(text)) for text in ("fine", "fine", "no such", "later")]
    delivered(container, "email", *ids)
    waits = accepted(intake, sms())
    accepted(intake, sms(send_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat()))
    replay.key = keys.both
    answer = overview(replay, minutes="10")
    assert len(answer["minutes"]) == 10
    by_channel = {item["channel"]: item for item in answer["channels"]}
    email = {what: sum(counts) for what, counts in by_channel["email"]["counts"].items() if sum(counts)}
    assert email == {"accepted": 4, "sent": 2, "failed": 1, "retrying": 1}
    assert sum(by_channel["sms"]["counts"]["accepted"]) == 2
    assert by_channel["email"]["latency"]["count"] == 2
    assert by_channel["email"]["latency"]["p99"] is not None
    assert {status: item["count"] for status, item in answer["now"].items() if item["count"]} == {
        "pending": 2,
        "retrying": 1,
        "failed": 1,
    }
    assert answer["scheduled"] == 1
    assert answer["oldest_waiting_id"] == waits
    assert answer["oldest_waiting"] == replay("GET", f"/v1/notifications/{waits}").body["created_at"]
    depths = {item["queue"]: item for item in answer["queues"]}
    assert depths["tidings.sms"]["ready"] == 1
    assert depths["tidings.email.dead"]["ready"] == 1
    assert depths["tidings.retry.3600s"]["ready"] == 1
    assert (depths["tidings.retry.30s"]["kind"], depths["tidings.retry.30s"]["delay_seconds"]) == ("retry", 30)


def test_only_an_admin_key_sees_the_queues_of_all_tenants(
    container: Container, intake: Caller, replay: Caller, keys: Keys
) -> None:
    accepted(intake, sms())
    assert overview(replay)["queues"] == []
    assert replay("GET", "/v1/overview", key=keys.both).body["queues"] != []


def test_the_overview_works_without_the_broker(database_url: str, keys: Keys) -> None:
    with wired_to(database_url, "amqp://127.0.0.1:1/") as parts:
        intake_of(parts, keys)("POST", "/v1/notifications", mail())
        answer = replay_of(parts, keys)("GET", "/v1/overview").body
    assert (answer["broker"], answer["queues"]) == ("unavailable", [])
    assert answer["now"]["pending"]["count"] == 1


def test_consumers_are_counted_if_the_broker_reports_them(database_url: str, keys: Keys, rabbitmq_url: str) -> None:
    with wired_to(database_url, rabbitmq_url) as parts:
        consumer, replay = parts.broker.consume(["tidings.email.high", "tidings.email"]), replay_of(parts, keys)
        replay.key = keys.both

        def consumers() -> dict[str, int]:
            return {item["queue"]: item["consumers"] for item in overview(replay)["queues"]}

        # A broker that is busy says 0 where it has not found out in time.
        found = wait_for(consumers, lambda found: found["tidings.email"] > 0)
        consumer.close()
    assert (found["tidings.email"], found["tidings.sms"]) == (1, 0)


@pytest.mark.parametrize("query", [{"minutes": "4"}, {"minutes": "1441"}, {"minutes": "x"}, {"hours": "1"}])
def test_an_invalid_overview_query_gets_422(replay: Caller, query: dict[str, str]) -> None:
    answer = replay("GET", "/v1/overview", query=query)
    assert answer.status == 422
    assert answer.errors


def test_an_operator_sees_nothing_of_another_tenant(
    container: Container, intake: Caller, replay: Caller, keys: Keys
) -> None:
    id = accepted(intake, subject("no such"))
    delivered(container, "email", id)
    answer = replay("GET", "/v1/overview", key=keys.other).body
    assert all(sum(counts) == 0 for item in answer["channels"] for counts in item["counts"].values())
    assert all(item["count"] == 0 for item in answer["now"].values())
    assert replay("GET", "/v1/dead-letters/groups", key=keys.other).body["groups"] == []
    assert replay("GET", f"/v1/notifications/{id}", key=keys.other).status == 404
    assert replay("POST", "/v1/notifications/tally", {"ids": [id]}, key=keys.other).body == NONE_FOUND


# --- search and dead letters ------------------------------------------------------------------------------------------


def test_an_operator_key_looks_up_and_cannot_submit(intake: Caller, replay: Caller) -> None:
    id = accepted(intake, mail())
    assert replay("GET", f"/v1/notifications/{id}").body["events"][0]["status"] == "pending"
    assert [item["id"] for item in replay("GET", "/v1/notifications").body["notifications"]] == [id]
    assert replay("POST", "/v1/notifications", mail()).status == 403


def test_dead_letters_are_grouped_and_a_group_is_replayed(container: Container, intake: Caller, replay: Caller) -> None:
    dead = [accepted(intake, subject("no such")) for _ in range(3)]
    delivered(container, "email", *dead)
    lost = accepted(intake, mail(content={"subject": "lost", "text": "…"}, on_ambiguous="hold"))
    delivered(container, "email", lost)
    answer = replay("GET", "/v1/dead-letters/groups").body
    assert [(group["status"], group["code"], group["count"]) for group in answer["groups"]] == [
        ("failed", "550", 3),
        ("unknown", "no_answer", 1),
    ]
    narrowed = replay("GET", "/v1/dead-letters/groups", query={"status": "unknown"}).body["groups"]
    assert [group["example"] for group in narrowed] == [lost]
    done = replay("POST", "/v1/dead-letters/replay", {"error_class": "permanent", "code": "550"}).body
    assert sorted(done["ids"]) == sorted(dead)
    count_by_status = replay("POST", "/v1/notifications/tally", {"ids": [*dead, lost]}).body
    assert count_by_status == {"total": 4, "statuses": {"pending": 3, "unknown": 1}, "may_have_been_sent": 0}


def test_a_tally_takes_as_many_ids_as_a_replay_gives(replay: Caller) -> None:
    ids = [f"01930b6c-4a5e-7c3b-9d2e-{number:012d}" for number in range(10_000)]
    assert replay("POST", "/v1/notifications/tally", {"ids": ids}).body == NONE_FOUND
    assert replay("POST", "/v1/notifications/tally", {"ids": [*ids, ids[0]]}).status == 422
    wrong = replay("POST", "/v1/notifications/tally", {"ids": [1] * 10_000})
    assert (wrong.status, len(wrong.body["errors"])) == (422, 1)


@pytest.mark.parametrize("body", [{}, {"ids": ["x"]}, {"ids": 3}, {"ids": [], "more": 1}])
def test_an_invalid_tally_gets_422(replay: Caller, body: Any) -> None:
    assert replay("POST", "/v1/notifications/tally", body).status == 422


# --- channels, and whose key it is ------------------------------------------------------------------------------------


@pytest.fixture
def admin(container: Container) -> Caller:
    key, kept = new_key("acme", list(Scope))
    return replay_of(container, Keys(send=key, operate=key, both=key, other=key, kept=(kept,)))


def test_only_an_admin_key_pauses_and_resumes_a_channel(admin: Caller, replay: Caller) -> None:
    assert replay("POST", "/v1/channels/email/pause").status == 403
    paused = admin("POST", "/v1/channels/email/pause").body
    assert (paused["channel"], paused["paused"]) == ("email", True)
    shown = {item["channel"]: item["paused"] for item in admin("GET", "/v1/overview").body["channels"]}
    assert shown == {channel: channel == "email" for channel in CHANNELS}
    assert admin("POST", "/v1/channels/email/resume").body == {"channel": "email", "paused": False}
    assert admin("POST", "/v1/channels/fax/pause").status == 404


def test_a_process_logs_which_tenant_paused_a_channel(settings: dict[str, str], tmp_path: Path) -> None:
    key, kept = new_key("acme", list(Scope))
    admin = {"authorization": f"Bearer {key}"}
    with process("replay", {**settings, "TIDINGS_API_KEYS": str(kept)}, tmp_path) as ask:
        for change in ("pause", "resume"):
            assert ask("POST", f"/v1/channels/email/{change}", b"", admin).status == 200
    logged = [json.loads(line) for line in ask.log.read_text().splitlines() if line.startswith("{")]
    told = [(line["message"], line["channel"], line["by"]) for line in logged if "by" in line]
    assert told == [("channel_paused", "email", "acme"), ("channel_resumed", "email", "acme")]


def test_every_logger_is_named_after_its_module() -> None:
    """Only loggers below `tidings` write lines with fields, so a function's main.py logs nothing."""
    package = ROOT / "layers/common/python/tidings"
    loggers = {line for file in package.rglob("*.py") for line in re.findall(r"^log = .*$", file.read_text(), re.M)}
    assert loggers == {"log = logging.getLogger(__name__)"}
    assert not [file for file in (ROOT / "functions").rglob("*.py") if "getLogger" in file.read_text()]


def test_me_answers_the_keys_tenant_and_scopes(admin: Caller, replay: Caller, keys: Keys) -> None:
    assert admin("GET", "/v1/me").body == {"tenant": "acme", "scopes": ["admin", "operate", "send"]}
    assert replay("GET", "/v1/me").body == {"tenant": "acme", "scopes": ["operate"]}
    assert replay("GET", "/v1/me", key=keys.send).status == 403


def test_a_test_notification_is_sent_once_after_a_double_click(replay: Caller, keys: Keys) -> None:
    headers = {"idempotency-key": "click-1"}
    first, second = (replay("POST", "/v1/notifications", mail(), key=keys.both, headers=headers) for _ in range(2))
    assert (first.status, second.status) == (202, 202)
    assert first.body == second.body


# --- the books --------------------------------------------------------------------------------------------------------


def test_the_ledger_of_a_day_balances(container: Container, intake: Caller, replay: Caller, keys: Keys) -> None:
    ids = [accepted(intake, subject(text)) for text in ("fine", "fine", "no such", "lost", "later")]
    delivered(container, "email", *ids)
    accepted(intake, sms())
    answer = replay("GET", "/v1/ledger").body
    lines = {line["channel"]: line for line in answer["lines"]}
    assert set(lines) == {"email", "sms"}
    assert {status: count for status, count in lines["email"]["statuses"].items() if count} == {
        "sent": 2,
        "failed": 1,
        "retrying": 2,
    }
    assert (lines["email"]["accepted"], lines["email"]["deleted"], lines["sms"]["accepted"]) == (5, 0, 1)
    cause = {"provider": "smtp", "code": "no_answer", "attempts": 1, "may_have_been_sent": 1}
    assert (lines["email"]["ambiguous"], lines["sms"]["ambiguous"]) == ([cause], [])
    assert "kept_since" not in answer
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    assert replay("GET", "/v1/ledger", query={"until": yesterday, "days": "31"}).body["lines"] == []
    assert replay("GET", "/v1/ledger", key=keys.other).body["lines"] == []


def test_the_audit_pages_through_the_tenants_rows(
    container: Container, intake: Caller, replay: Caller, keys: Keys
) -> None:
    ids = [accepted(intake, subject("fine")) for _ in range(5)]
    delivered(container, "email", *ids[:4])
    query: dict[str, str] = {"limit": "2"}
    pages: list[dict[str, Any]] = []
    while not pages or "next_cursor" in pages[-1]:
        pages.append(replay("GET", "/v1/audit", query=query).body)
        query["cursor"] = pages[-1].get("next_cursor", "")
    assert [(page["checked"], page["findings"]) for page in pages] == [(2, []), (2, []), (1, [])]
    assert replay("GET", "/v1/audit", key=keys.other).body["checked"] == 0


@pytest.mark.parametrize("path", ["/v1/ledger", "/v1/audit"])
def test_the_books_need_the_scope_operate(replay: Caller, keys: Keys, path: str) -> None:
    assert replay("GET", path, key=keys.send).status == 403
    assert replay("GET", path, key=None).status == 401


@pytest.mark.parametrize(
    ("path", "query", "detail"),
    [
        ("/v1/ledger", {"days": "32"}, "must be at most 31"),
        ("/v1/ledger", {"until": "1780000000"}, "must be a day, like 2026-11-22"),
        ("/v1/ledger", {"until": "2026-11-31"}, "must be a day, like 2026-11-22"),
        ("/v1/ledger", {"until": "9999-12-31"}, "must be a day, like 2026-11-22"),
        ("/v1/audit", {"limit": "1001"}, "must be at most 1000"),
        ("/v1/audit", {"since": "yesterday"}, "must be an RFC 3339 timestamp, like 2026-11-22T10:00:00Z"),
    ],
)
def test_a_query_of_the_books_that_is_not_valid_says_why(
    replay: Caller, path: str, query: dict[str, str], detail: str
) -> None:
    answer = replay("GET", path, query=query)
    assert (answer.status, list(answer.errors.values())) == (422, [detail])


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_the_audit_takes_every_time(replay: Caller, time: str) -> None:
    for name in ("since", "until"):
        assert replay("GET", "/v1/audit", query={name: time}).status == 200

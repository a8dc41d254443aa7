"""The `Request-Id` is in every line that is logged while its request is served, also in a batch of several requests."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tidings.domain.errors import BrokerUnavailable
from tidings.observability.request_ids import SHOWN
from tidings.runtime.container import Container

from tests.functions.served import Caller, Keys, Lines, intake_of, process, sms
from tests.functions.test_replay import REPLAY, Fail, fail

__all__ = ["fail"]  # a fixture

SEND = "/v1/notifications"


def sent(ask: Caller, ids: Sequence[str]) -> dict[str, str]:
    """Send requests at the same time. Return the Request-Id of each notification id."""

    async def one(id: str) -> tuple[str, str]:
        answer = await ask.ask("POST", SEND, sms(), headers={"request-id": id})
        assert answer.headers["request-id"] == id
        return answer.body["id"], id

    async def all_of_them() -> dict[str, str]:
        return dict(await asyncio.gather(*map(one, ids)))

    return asyncio.run(all_of_them())


def by_notification(lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {line["notification_id"]: line["request_id"] for line in lines}


def test_each_notification_of_a_batch_has_the_id_of_its_own_request(intake: Caller, lines: Lines) -> None:
    made = sent(intake, [f"request-{n}" for n in range(30)])
    records = [record for record in lines.records if record.getMessage() == "accepted"]
    assert len(records) < 30, "some were stored together, or this shows nothing"
    assert by_notification(lines.named("accepted")) == made
    assert by_notification(lines.named("queued")) == made
    assert [record for record in records if hasattr(record, "request_ids")] == []


def test_a_log_line_of_a_batch_has_the_ids_of_its_requests(
    container: Container, keys: Keys, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise BrokerUnavailable("gone")

    monkeypatch.setattr(container.broker, "publish", refuse)
    made = sent(intake_of(container, keys), [f"request-{n}" for n in range(SHOWN * 3)])
    told = lines.named("publish_deferred")
    several = [line for line in told if line["notifications"] > 1]
    assert several, "some were stored together, or this shows nothing"
    for line in told:
        if line["notifications"] == 1:
            assert line["request_id"] in made.values()
        else:
            assert len(line["request_ids"]) == min(line["notifications"], SHOWN)
            assert set(line["request_ids"]) <= set(made.values())


def test_a_log_line_from_a_thread_has_the_request_id(intake: Caller, replay: Caller, lines: Lines, fail: Fail) -> None:
    fail(2)
    replay("POST", REPLAY, {}, headers={"request-id": "replay-1"})
    assert [line["request_id"] for line in lines.named("replayed")] == ["replay-1"] * 2
    (id,) = sent(intake, ["request-1"])
    intake("POST", f"{SEND}/{id}/cancel", headers={"request-id": "cancel-1"})
    assert [line["request_id"] for line in lines.named("canceled")] == ["cancel-1"]


def test_a_request_is_logged_at_debug_level_only(intake: Caller, lines: Lines) -> None:
    (id,) = sent(intake, ["request-1"])
    intake("GET", f"{SEND}/{id}", headers={"request-id": "look-1"})
    intake("GET", "/nowhere/ada@example.com", headers={"request-id": "look-2"})
    told = [(line["route"], line["status"], line["request_id"]) for line in lines.named("request_answered")]
    assert told == [(SEND, 202, "request-1"), (f"{SEND}/{{id}}", 200, "look-1"), (None, 404, "look-2")]
    assert "ada@example.com" not in lines.text()


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_process_logs_the_request_id(settings: dict[str, str], keys: Keys, tmp_path: Path, form: str) -> None:
    headers = {"authorization": f"Bearer {keys.send}", "request-id": "request-1"}
    with process("intake", {**settings, "TIDINGS_LOG_FORMAT": form}, tmp_path) as ask:
        assert ask("POST", SEND, json.dumps(sms()).encode(), headers).status == 202
        assert ask("GET", SEND, headers={"request-id": "request-2"}).status == 401
    log = ask.log.read_text()
    for event, id in {"accepted": "request-1", "queued": "request-1", "request_refused": "request-2"}.items():
        (line,) = [line for line in log.splitlines() if event in line]
        assert (f'"request_id":"{id}"' if form == "json" else f"request_id={id}") in line
    assert "request_answered" not in log

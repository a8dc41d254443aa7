"""The main scenarios with real processes: on SQLite, on RabbitMQ with MariaDB, and there on Lambda."""

import itertools
import json
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tidings.messaging import topology

from local.emulators.records import Channel
from tests.foundations import FOUNDATIONS, LAMBDA
from tests.scenarios.caller import Json, wait_for, whole_lines
from tests.scenarios.conftest import World

on_all = pytest.mark.parametrize("world", [*FOUNDATIONS, LAMBDA], indirect=True, scope="module")
on_lambda_by_night = pytest.mark.parametrize(
    "world", [*FOUNDATIONS, pytest.param(LAMBDA, marks=pytest.mark.nightly)], indirect=True, scope="module"
)
"""For what the functions do alike, whoever calls them, and wait long for."""

CHANNELS: tuple[Channel, ...] = ("email", "sms", "push")
NUMBERS = itertools.count(1)

# Each vendor's transient and permanent error: (status, code); the code is the timeline's.
NOT_NOW: dict[Channel, tuple[dict[str, Any], str]] = {
    "email": ({"status": 451, "enhanced": "4.3.0"}, "4.3.0"),
    "sms": ({"status": 429}, "20429"),
    "push": ({"status": 503}, "UNAVAILABLE"),
}
NEVER: dict[Channel, tuple[dict[str, Any], str]] = {
    "email": ({"status": 550, "enhanced": "5.1.1"}, "5.1.1"),
    "sms": ({"status": 400, "code": "21211"}, "21211"),
    "push": ({"status": 404, "code": "UNREGISTERED"}, "UNREGISTERED"),
}


def notification(channel: Channel, **more: Any) -> Json:
    """A notification to a new recipient."""
    number = next(NUMBERS)
    if channel == "email":
        subject = f"Order {number}"
        return {
            "channel": channel,
            "recipient": f"reader-{number}-{secrets.token_hex(4)}@example.com",
            "content": {"subject": subject, "text": "It has left our house.", "html": "<p>It has left our house.</p>"},
            **more,
        }
    if channel == "sms":
        recipient = f"+1555{secrets.randbelow(10**4):04}{number:04}"
        return {"channel": channel, "recipient": recipient, "content": {"text": f"Order {number} has left."}, **more}
    content = {"title": f"Order {number}", "body": "It has left our house.", "data": {"order": str(number)}}
    return {
        "channel": channel,
        "recipient": {"token": f"device-{number}-{secrets.token_hex(4)}"},
        "content": content,
        **more,
    }


def address(of: Json) -> str:
    """As the provider sees the recipient."""
    recipient = of["recipient"]
    return str(recipient["token"] if isinstance(recipient, dict) else recipient)


def steps(of: Json) -> list[str]:
    return [event["status"] for event in of["events"]]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def ahead(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@on_all
class TestDelivery:
    @pytest.mark.parametrize("channel", CHANNELS)
    def test_one_post_puts_exactly_one_into_the_inbox(self, world: World, channel: Channel) -> None:
        wanted = notification(channel, metadata={"order": "4711"})
        sent = world.caller.ended(world.caller.post(wanted))
        assert (sent["status"], sent["attempts"], sent["generation"]) == ("sent", 1, 1)
        assert steps(sent) == ["pending", "sending", "sent"]
        assert sent["recipient"] == wanted["recipient"]
        assert sent["metadata"] == {"order": "4711"}
        assert "last_error" not in sent
        [received] = world.emulator.inbox(channel, recipient=address(wanted))
        content = wanted["content"]
        if channel == "email":
            assert received["subject"] == content["subject"]
            assert (received["text"].strip(), received["html"].strip()) == (content["text"], content["html"])
            assert received["message_id"] == sent["provider_message_id"]
        elif channel == "sms":
            assert received["text"] == content["text"]
            assert received["provider_message_id"] == sent["provider_message_id"]
        else:
            assert (received["title"], received["body"]) == (content["title"], content["body"])
            assert received["data"] == content["data"]
            assert received["provider_message_id"] == sent["provider_message_id"]
        assert len(world.emulator.calls(channel, recipient=address(wanted))) == 1

    def test_a_repeated_request_sends_once(self, world: World) -> None:
        wanted = notification("sms")
        first, second = (world.caller.post(wanted, **{"idempotency-key": address(wanted)}) for _ in range(2))
        assert first == second
        assert world.caller.ended(first)["status"] == "sent"
        assert len(world.emulator.calls("sms", recipient=address(wanted))) == 1

    def test_a_high_priority_goes_through_a_queue_of_its_own_retries_included(self, world: World) -> None:
        wanted = notification("sms", priority="high")
        world.emulator.fail("sms", next=1, recipient=address(wanted), status=429)
        sent = world.caller.ended(world.caller.post(wanted))
        assert (sent["status"], sent["priority"], sent["attempts"]) == ("sent", "high", 2)
        keys = [seen.routing_key for seen in world.queues.passed() if seen.id == sent["id"]]
        assert set(keys) <= {"sms.high"}  # the embedded broker does not keep delivered messages

    def test_three_hundred_in_arrays_are_each_sent_exactly_once(self, world: World) -> None:
        begun = ahead(0)
        wanted = [notification(channel) for _ in range(100) for channel in CHANNELS]
        arrays = [wanted[start : start + 100] for start in range(0, 300, 100)]
        with ThreadPoolExecutor(len(arrays)) as threads:
            ids = {id for array in threads.map(world.caller.post_all, arrays) for id in array}
        assert len(ids) == 300

        def standing() -> Counter[str]:
            return Counter(found["status"] for found in world.caller.listed(since=begun) if found["id"] in ids)

        assert wait_for(standing, lambda found: found["sent"] == 300) == {"sent": 300}
        addresses = {address(one) for one in wanted}
        calls = Counter(call["recipient"] for call in world.emulator.calls() if call["recipient"] in addresses)
        assert calls == dict.fromkeys(addresses, 1)


@on_lambda_by_night
class TestRetries:
    def test_a_transient_failure_follows_the_retry_schedule_and_is_sent(self, world: World) -> None:
        wanted = {channel: notification(channel) for channel in CHANNELS}
        for channel, one in wanted.items():
            world.emulator.fail(channel, next=2, recipient=address(one), **NOT_NOW[channel][0])
        ids = world.caller.post_all(list(wanted.values()))
        for channel, id in zip(CHANNELS, ids, strict=True):
            sent = world.caller.ended(id)
            assert steps(sent) == ["pending", *["sending", "retrying"] * 2, "sending", "sent"], sent
            assert [event["attempt"] for event in sent["events"]] == [0, 1, 1, 2, 2, 3, 3]
            _, started, failed, again, failed_again, last, _ = sent["events"]
            assert {failed["error"]["code"], failed_again["error"]["code"]} == {NOT_NOW[channel][1]}
            for event, step, then in ((failed, 1, again), (failed_again, 5, last)):
                waits = (instant(event["next_attempt_at"]) - instant(event["at"])).total_seconds()
                # The step, its jitter, and what a busy machine takes from the answer to the settlement.
                assert step <= waits <= step * 1.1 + 1
                late = (instant(then["at"]) - instant(event["next_attempt_at"])).total_seconds()
                assert 0 <= late < 20  # a second at most, and what a busy machine adds
            assert instant(started["at"]) <= instant(failed["at"])
            calls = world.emulator.calls(channel, recipient=address(wanted[channel]))
            assert [call["outcome"] for call in calls] == ["refused", "refused", "accepted"]
            assert len(world.emulator.inbox(channel, recipient=address(wanted[channel]))) == 1

    def test_a_permanent_error_is_a_dead_letter_at_once(self, world: World) -> None:
        wanted = {channel: notification(channel) for channel in CHANNELS}
        for channel, one in wanted.items():
            world.emulator.fail(channel, recipient=address(one), next=1, **NEVER[channel][0])
        ids = world.caller.post_all(list(wanted.values()))
        for channel, id in zip(CHANNELS, ids, strict=True):
            failed = world.caller.ended(id)
            assert steps(failed) == ["pending", "sending", "failed"], failed
            assert failed["last_error"]["error_class"] == "permanent"
            assert failed["last_error"]["code"] == NEVER[channel][1]
            assert "next_attempt_at" not in failed
            [letter] = [seen for seen in world.queues.lying_in(topology.dead_queue(channel)) if seen.id == id]
            assert (letter.headers["tidings-class"], letter.headers["tidings-code"]) == ("permanent", NEVER[channel][1])
            assert len(world.emulator.calls(channel, recipient=address(wanted[channel]))) == 1


@on_lambda_by_night
class TestDeadLettersAndReplay:
    @pytest.mark.parametrize("channel", CHANNELS)
    def test_what_used_up_its_attempts_is_replayed_and_sent_once(self, world: World, channel: Channel) -> None:
        wanted = notification(channel, max_attempts=2)
        failure, code = NOT_NOW[channel]
        world.emulator.fail(channel, next=2, recipient=address(wanted), **failure)
        id = world.caller.post(wanted)
        failed = world.caller.ended(id)
        assert steps(failed) == ["pending", "sending", "retrying", "sending", "failed"], failed

        [letter] = [seen for seen in world.queues.lying_in(topology.dead_queue(channel)) if seen.id == id]
        assert letter.headers["tidings-code"] == code
        [listed] = [one for one in world.caller.dead_letters(channel=channel, code=code) if one["id"] == id]
        assert (listed["status"], listed["last_error"]["code"], listed["attempts"]) == ("failed", code, 2)

        dry = world.caller.replay(ids=[id], dry_run=True)
        assert (dry["count"], [one["id"] for one in dry["sample"]]) == (1, [id])
        assert world.caller.get(id) == failed

        # Twice, and at once: an operator's double click.
        with ThreadPoolExecutor(2) as threads:
            both = list(threads.map(lambda _: world.caller.replay(ids=[id]), range(2)))
        assert sorted(done["count"] for done in both) == [0, 1]
        sent = world.caller.ended(id)
        assert (sent["status"], sent["generation"], sent["attempts"]) == ("sent", 2, 1)
        assert steps(sent)[-3:] == ["pending", "sending", "sent"]

        assert world.caller.replay(ids=[id])["count"] == 0
        assert id not in [one["id"] for one in world.caller.dead_letters(channel=channel)]
        calls = world.emulator.calls(channel, recipient=address(wanted))
        assert [call["outcome"] for call in calls] == ["refused", "refused", "accepted"]
        assert len(world.emulator.inbox(channel, recipient=address(wanted))) == 1


@on_lambda_by_night
class TestTimes:
    def test_send_at_is_kept(self, world: World) -> None:
        wanted = notification("push", send_at=ahead(2))
        sent = world.caller.ended(world.caller.post(wanted))
        assert sent["status"] == "sent"
        begun = next(event["at"] for event in sent["events"] if event["status"] == "sending")
        late = instant(begun) - instant(wanted["send_at"])
        assert timedelta(0) <= late < timedelta(seconds=20)  # two, and what a busy machine adds
        [call] = world.emulator.calls("push", recipient=address(wanted))
        assert instant(call["at"]) >= instant(wanted["send_at"])

    def test_what_expires_between_two_attempts_is_not_sent(self, world: World) -> None:
        wanted = notification("email", expires_at=ahead(10))  # between the third attempt and the fourth
        world.emulator.fail("email", recipient=address(wanted), next=10, status=451)
        expired = world.caller.ended(world.caller.post(wanted))
        assert expired["status"] == "expired"
        assert steps(expired)[:3] == ["pending", "sending", "retrying"]
        assert steps(expired)[-1] == "expired"
        assert instant(expired["events"][-1]["at"]) >= instant(wanted["expires_at"])
        calls = world.emulator.calls("email", recipient=address(wanted))
        assert {call["outcome"] for call in calls} == {"refused"}
        begun = [event["at"] for event in expired["events"] if event["status"] == "sending"]
        assert 0 < len(calls) <= len(begun)  # an attempt that began too late makes no call
        assert all(instant(at) < instant(wanted["expires_at"]) for at in begun)

    def test_a_canceled_one_is_never_sent(self, world: World) -> None:
        at = ahead(10)  # canceled by then, also on a busy machine
        canceled, neighbour = (notification("sms", send_at=at) for _ in range(2))
        first, second = world.caller.post_all([canceled, neighbour])
        answer = world.caller.cancel(first)
        assert (answer.status, answer.body["status"]) == (200, "canceled")
        # Its neighbour, due at the same time, was sent: so this one would have been.
        assert world.caller.ended(second)["status"] == "sent"
        assert steps(world.caller.get(first)) == ["pending", "canceled"]
        assert world.emulator.calls("sms", recipient=address(canceled)) == []
        assert world.caller.cancel(second).status == 409


def _logged(world: World, name: str) -> list[Json]:
    return [json.loads(line) for line in whole_lines(world.stack.processes.log(name)).splitlines()]


def _about(lines: list[Json], id: str) -> list[Json]:
    return [line for line in lines if line.get("notification_id") == id]


@on_all
class TestWhatIsLeftBehind:
    """Last in this file: checks all that the tests above have done."""

    def test_logs_are_json_lines_with_the_notification_and_no_recipient(self, world: World) -> None:
        wanted = notification("email")
        id = world.caller.post(wanted)
        world.caller.ended(id)
        assert world.caller.listed(recipient=address(wanted))[0]["id"] == id  # nor does a query's log name them
        # An outcome is stored first, and logged then.
        wait_for(lambda: "sent" in [line["message"] for line in _about(_logged(world, "email"), id)])
        wait_for(lambda: "queued" in [line["message"] for line in _about(_logged(world, "intake"), id)])
        lines: dict[str, list[Json]] = {}
        for file in world.stack.state.logs.glob("*.log"):
            text = whole_lines(file)
            for private in (*world.caller.recipients, world.caller.key, world.stack.secrets.trigger_token):
                assert private not in text, file.name
            if file.stem not in ("providers", "migrate"):  # the emulator is no part of Tidings
                lines[file.stem] = [json.loads(line) for line in text.splitlines()]
        assert set(world.stack.processes.specs) - {"providers"} == set(lines)
        for name, service in lines.items():
            assert {line["service"] for line in service} <= {name}
        told = [(service, line["message"]) for service in lines for line in _about(lines[service], id)]
        assert sorted(told) == [("email", "claimed"), ("email", "sent"), ("intake", "accepted"), ("intake", "queued")]
        for line in lines["email"]:
            if line["message"] in ("sent", "retry_scheduled", "dead_lettered"):
                assert {"notification_id", "channel", "attempt", "timestamp", "level"} <= set(line)

    def test_nothing_personal_went_through_the_broker(self, world: World) -> None:
        carried = world.queues.passed()
        assert carried
        text = "\n".join(seen.everything for seen in carried)
        assert [private for private in world.caller.recipients if private in text] == []
        assert "left our house" not in text

    def test_every_process_still_runs(self, world: World) -> None:
        assert world.stack.processes.ended() is None

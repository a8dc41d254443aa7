"""The command line against a whole stack."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tidings.domain.channels import CHANNELS

from tests.command import Ended, tidings
from tests.foundations import ONE_BY_DAY, on_embedded
from tests.functions.scripted import refusing_port
from tests.scenarios.conftest import World, started

ROOT = Path(__file__).parents[2]
NO_MOBILE = "+15005550009"


@pytest.fixture(scope="module", params=ONE_BY_DAY)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with started(request, request.param) as world:
        yield world


@pytest.fixture
def settings(world: World) -> Mapping[str, str]:
    return {
        "TIDINGS_URL": world.stack.url,
        "TIDINGS_OPS_URL": world.stack.ops_url,
        "TIDINGS_API_KEY": world.stack.secrets.api_key,
    }


@pytest.fixture
def run(settings: Mapping[str, str], tmp_path: Path) -> "Run":
    return Run(settings, tmp_path)


class Run:
    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self.settings, self.folder = settings, folder

    def __call__(self, *arguments: str, typed: str = "") -> Ended:
        return tidings(*arguments, folder=self.folder, settings=self.settings, typed=typed)


@pytest.mark.parametrize(
    "arguments",
    [
        ["email", "ada@example.com", "--subject", "Hi", "--text", "Hello", "--html", "<p>Hello</p>"],
        ["sms", "+15005550010", "--text", "Hello", "--high", "--on-ambiguous", "reconcile", "--metadata", "order=1"],
        ["push", "device-1", "--title", "Hi", "--body", "Hello", "--data", "order=1"],
        ["push", "topic:news", "--content", '{"body": "Hello"}'],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_sent_notification_is_followed_until_it_settles(run: Run, arguments: list[str]) -> None:
    answer = run("send", *arguments, "--follow", "--within", "60")
    assert (answer.code, answer.err) == (0, "")
    head, *lines = answer.out.splitlines()
    assert f"  {arguments[0]} to " in head
    assert [line.split()[1] for line in lines] == ["pending", "sending", "sent"]


def test_following_a_failed_notification_ends_with_4_and_its_error(run: Run) -> None:
    answer = run("send", "sms", NO_MOBILE, "--text", "Hello", "--follow", "--json")
    assert answer.code == 4
    assert answer.document["status"] == "failed"
    assert answer.err.startswith(f"tidings: {answer.document['id']} is failed: 21614")


def test_following_ends_with_4_when_the_time_is_up(run: Run) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    sent = run("send", "sms", "+15005550010", "--text", "Hello", "--at", later, "--json")
    id = sent.document["id"]
    assert f"tidings status {id} --follow" in sent.err
    answer = run("status", id, "--follow", "--within", "1")
    assert (answer.code, answer.err) == (4, f"tidings: {id} is still pending\n")
    for said in (answer.out, run("status", id).out):
        assert re.search(r"^due at 20\S+Z, in 60 min$", said, re.MULTILINE), said
    assert run("cancel", id).out == f"{id} is canceled.\n"
    assert "due at" not in run("status", id).out
    assert run("status", id).code == 0


def test_the_same_key_is_the_same_notification(run: Run) -> None:
    first, second = (
        run("send", "sms", "+15005550010", "--text", "Hello", "--key", f"k-{run.folder}", "--json").document
        for _ in range(2)
    )
    assert first["id"] == second["id"]
    assert (first["replayed"], second["replayed"]) == (False, True)
    again = ("send", "sms", "+15005550010", "--text", "Hello", "--key", f"k-{run.folder}")
    assert run(*again).out == f"{first['id']} was already accepted with this key; nothing was sent.\n"
    assert "nothing was sent" in run(*again, "--follow").err
    assert "nothing was sent" not in run("send", "sms", "+15005550010", "--text", "Hello").out


@on_embedded
def test_content_comes_from_standard_input_too(run: Run) -> None:
    answer = run("send", "sms", "+15005550010", "--content", "-", "--json", typed='{"text": "From a pipe"}')
    assert run("status", answer.document["id"], "--json").document["content"] == {"text": "From a pipe"}


def test_the_list_narrows_and_says_when_it_was_cut(run: Run) -> None:
    who = f"list-{run.folder.name}@example.com"
    for _ in range(3):
        run("send", "email", who, "--subject", "Hi", "--text", "Hello")
    answer = run("list", "--recipient", who, "--limit", "2", "--json")
    assert len(answer.document["notifications"]) == 2
    assert "There are more" in answer.err
    answer = run("list", "--recipient", who)
    assert (answer.out.count(who), answer.err) == (3, "")
    assert run("list", "--recipient", "nobody").out == "No notifications match.\n"


def test_dead_letters_are_grouped_shown_replayed_and_followed(run: Run) -> None:
    for _ in range(3):
        run("send", "sms", NO_MOBILE, "--text", f"Dead {run.folder}", "--follow")
    (group,) = run("dead", "groups", "--code", "21614", "--json").document["groups"]
    assert group["count"] >= 3
    shown = run("dead", "show", group["example"])
    assert "permanent, 21614: " in shown.out
    assert [line.split()[1] for line in shown.out.splitlines()[-3:]] == ["pending", "sending", "failed"]
    answer = run("dead", "replay", "--code", "21614", "--yes", "--follow", "--json")
    assert answer.code == 4, "they fail again"
    count = answer.document["count"]
    assert answer.err == f"Of {count}: {count} failed.\ntidings: not all were sent\n"


def test_a_load_test_counts_what_was_accepted_and_waits_for_it(run: Run) -> None:
    answer = run("load-test", "--count", "200", "--concurrency", "8", "--follow", "--json")
    assert answer.code == 0, answer
    assert answer.document["accepted"] == 200
    assert answer.document["settled"]["statuses"] == {"sent": 200}
    assert answer.document["per_second"] > 0
    assert answer.document["latency_ms"]["p50"] <= answer.document["latency_ms"]["max"]


@pytest.mark.nightly  # by day, tests/local/test_up.py asks it about a whole stack
def test_the_doctor_finds_nothing_wrong(world: World, settings: Mapping[str, str]) -> None:
    given = {name: value for name, value in world.stack.processes.environment.items() if name.startswith("TIDINGS_")}
    answer = tidings("doctor", "--json", folder=ROOT, settings={**given, **settings})
    assert answer.code == 0, answer.out
    states = {found["name"]: found["state"] for found in answer.document["checks"]}
    assert set(states.values()) <= {"ok", "warning"}, answer.out
    assert {f"{channel}: settings" for channel in CHANNELS} <= set(states)
    assert states["address: intake"] == states["address: operator"] == "ok"


# --- what it refuses --------------------------------------------------------------------------------------------------


@on_embedded
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["send", "sms", "+15005550010"], "no content"),
        (["send", "sms", "+15005550010", "--content", "{"], "not valid JSON"),
        (["send", "sms", "+15005550010", "--content", "[]"], "a JSON object"),
        (["send", "sms", "+15005550010", "--content", "{}", "--text", "x"], "cannot be combined"),
        (["send", "sms", "+15005550010", "--text", "x", "--at", "tomorrow"], "RFC 3339"),
        (["send", "sms", "+15005550010", "--text", "x", "--at", "2026-11-22T10:00:00"], "time zone"),
        (["send", "sms", "+15005550010", "--text", "x", "--key", "naïve"], "printable ASCII"),
        (["load-test", "--url", "http://192.0.2.1", "--count", "1"], "--yes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_2_and_sends_nothing(run: Run, arguments: list[str], word: str) -> None:
    answer = run(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert word in answer.err


@on_embedded
def test_a_refused_request_ends_with_1(run: Run) -> None:
    answer = run("send", "sms", "nobody", "--text", "Hello")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("tidings: 422 The notification is not valid: recipient ")
    assert run("status", "no-id").code == 1
    assert "TIDINGS_URL" not in run("status", "no-id").err, "a wrong id is no wrong address"


@on_embedded
def test_the_wrong_functions_url_is_reported(run: Run) -> None:
    answer = run("sweep", "--ops-url", run.settings["TIDINGS_URL"])
    assert answer.code == 1
    assert "TIDINGS_OPS_URL" in answer.err


@on_embedded
def test_an_unreachable_intake_ends_with_3(run: Run) -> None:
    for command in (["list"], ["load-test", "--count", "2"]):
        answer = run(*command, "--url", f"http://127.0.0.1:{refusing_port()}")
        assert answer.code == 3, answer


@on_embedded
def test_control_characters_do_not_reach_the_terminal(run: Run) -> None:
    content = json.dumps({"subject": "x", "text": "x", "headers": {"X-A": "b"}})
    answer = run("send", "email", "ada@example.com", "--content", content, "--metadata", "a=\x1b[31m", "--follow")
    assert "\x1b" not in answer.out + answer.err

"""Intake's publishing where it runs: beside the answers of a server, before them on Lambda, to its end at a stop."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tidings import topology
from tidings.adapters.embedded import EmbeddedBroker
from tidings.adapters.rabbitmq import BrokerSettings, RabbitBroker
from tidings.notification import Priority
from tidings.ports import Outgoing
from tidings.wiring import Wiring

from tests.faults.proxy import Proxy, loop, proxy
from tests.faults.wire import Confirms
from tests.functions.conftest import Imported
from tests.functions.served import ROOT, Keys, mail, process
from tests.functions.test_intake import SEND, rows
from tests.functions.test_lambda import called

EMAIL = topology.work_queue("email", Priority.NORMAL)
WITHIN = 60.0  # seconds; everything is far quicker, unless the machine is busy


@dataclass(frozen=True)
class Broker:
    """A RabbitMQ with our queues, behind a proxy."""

    way: Proxy
    url: str  # by way of the proxy
    direct: RabbitBroker

    def setting(self, *, timeout: float) -> dict[str, str]:
        return {"TIDINGS_BROKER_URL": self.url, "TIDINGS_BROKER_TIMEOUT": str(timeout)}


@pytest.fixture
def broker(rabbitmq_url: str) -> Iterator[Broker]:
    direct = RabbitBroker(BrokerSettings(broker_url=rabbitmq_url))
    direct.declare()
    with loop() as running, proxy(running, Confirms, urlsplit(rabbitmq_url).port or 0) as way:
        yield Broker(way, way.through(rabbitmq_url), direct)
    direct.close()


def posted(keys: Keys, body: object) -> tuple[str, str, bytes, dict[str, str]]:
    return "POST", SEND, json.dumps(body).encode(), {"authorization": f"Bearer {keys.send}"}


# --- as a server ------------------------------------------------------------------------------------------------------


def test_a_broker_that_hangs_keeps_no_caller_waiting_for_its_202(
    settings: dict[str, str], keys: Keys, tmp_path: Path, database_file: Path, broker: Broker
) -> None:
    with broker.way.half_open(), process("intake", {**settings, **broker.setting(timeout=6)}, tmp_path) as ask:
        for _ in range(3):
            assert ask(*posted(keys, mail())).status == 202
        assert "left_to_the_sweep" not in ask.log.read_text()  # it hangs still
    assert "left_to_the_sweep" in ask.log.read_text()  # a stop waits for what the broker says, and writes it down
    assert [row["queued_at"] for row in rows(database_file)] == [None] * 3


def test_a_stop_publishes_first_what_was_accepted(
    settings: dict[str, str], keys: Keys, tmp_path: Path, broker: Broker
) -> None:
    with broker.way.drip(), process("intake", {**settings, **broker.setting(timeout=60)}, tmp_path) as ask:
        assert ask(*posted(keys, [mail() for _ in range(150)])).status == 202
        assert broker.direct.depth(EMAIL) < 150
    # SIGTERM has come, and the process has ended.
    assert broker.direct.depth(EMAIL) == 150
    assert "left_to_the_sweep" not in ask.log.read_text()


IMPORTED = """
import asyncio, importlib, json, os, sys, threading
from pathlib import Path
main = importlib.import_module("functions.intake.main")
assert threading.active_count() == 1, threading.enumerate()
opened = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists()]
assert not [name for name in opened if name.startswith("socket:") or "tidings.db" in name], opened
if os.fork() == 0:
    http = {"method": "POST", "path": "/v1/notifications"}
    event = {"requestContext": {"http": http}, "headers": {"authorization": sys.argv[1]}, "body": sys.argv[2]}
    os._exit(0 if main.handler(event, None)["statusCode"] == 202 else 1)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""


def test_nothing_is_started_before_the_fork_and_each_process_publishes_for_itself(
    settings: dict[str, str], keys: Keys, wiring: Wiring
) -> None:
    arguments = [sys.executable, "-c", IMPORTED, f"Bearer {keys.send}", json.dumps(mail())]
    subprocess.run(arguments, cwd=ROOT, check=True, timeout=WITHIN)
    assert wiring.broker.depth(EMAIL) == 1


# --- on Lambda --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["intake", "replay"])
def test_on_lambda_the_answer_waits_for_the_confirm(
    imported: Imported, keys: Keys, wiring: Wiring, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """After it the process is frozen."""
    begun, confirms, publish = threading.Event(), threading.Event(), EmbeddedBroker.publish

    def slow(broker: EmbeddedBroker, wave: Sequence[Outgoing]) -> None:
        begun.set()
        assert confirms.wait(WITHIN)
        publish(broker, wave)

    monkeypatch.setattr(EmbeddedBroker, "publish", slow)
    main = imported(name)
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(called, main, "POST", SEND, json.dumps(mail()).encode(), key=keys.both)
        assert begun.wait(WITHIN)
        with pytest.raises(StillWaiting):
            answer.result(0.3)
        confirms.set()
        assert answer.result(WITHIN).status == 202
    assert wiring.broker.depth(EMAIL) == 1

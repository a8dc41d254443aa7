"""Logs: one JSON line an event, and the level that was asked for."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

CODE = """
import logging
from tidings.logging import LogSettings, configure
from tidings.settings import load

for _ in range({times}):
    configure("sms", load(LogSettings))
log = logging.getLogger("tidings.delivery")
log.debug("quiet")
log.info("sent", extra={{"notification_id": "0193", "channel": "sms", "attempt": 2, "provider": None}})
log.error("parked", extra={{"reason": 'a "quoted"\\n line \\u2028'}})
logging.getLogger("somebody.else").warning("not ours")
"""


def logged(level: str = "", times: int = 1) -> tuple[list[dict[str, Any]], str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE.format(times=times)],
        env={**os.environ, "TIDINGS_LOG_LEVEL": level},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.split("\n") if line], done.stderr


def test_an_event_is_one_json_line_with_what_belongs_to_it() -> None:
    (sent, parked), stderr = logged()
    assert {name: sent[name] for name in ("level", "message", "service", "notification_id", "channel", "attempt")} == {
        "level": "INFO",
        "message": "sent",
        "service": "sms",
        "notification_id": "0193",
        "channel": "sms",
        "attempt": 2,
    }
    assert sent["timestamp"].endswith(("Z", "+00:00"))
    assert parked["reason"] == 'a "quoted"\n line \u2028'
    assert stderr == "not ours\n"  # others keep their own way


@pytest.mark.parametrize(("level", "count"), [("DEBUG", 3), ("", 2), ("INFO", 2), ("WARNING", 1), ("ERROR", 1)])
def test_the_level_decides_how_much_is_said(level: str, count: int) -> None:
    assert len(logged(level)[0]) == count


def test_configured_twice_it_says_everything_once() -> None:
    lines, stderr = logged(times=3)
    assert [line["message"] for line in lines] == ["sent", "parked"]
    assert stderr == "not ours\n"


BATCH = """
import logging
from tidings.logging import LogSettings, configure
from tidings.settings import load

configure("email", load(LogSettings))
each = [{"notification_id": str(n), "provider": None} for n in range(1000)]
for _ in range(20):
    logging.getLogger("tidings.intake").info("accepted", extra={"each": each, "tenant": "acme"})
"""


def test_a_batch_is_a_line_for_each_and_no_line_is_torn_where_processes_share_a_pipe() -> None:
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as told:
        processes = [subprocess.Popen([sys.executable, "-W", "error", "-c", BATCH], stdout=writing) for _ in range(3)]
        os.close(writing)
        lines = [json.loads(line) for line in told]
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    assert sorted(int(line["notification_id"]) for line in lines) == [n for n in range(1000) for _ in range(3 * 20)]
    assert {line["tenant"] for line in lines} == {"acme"}
    assert not any("each" in line or "provider" in line for line in lines)

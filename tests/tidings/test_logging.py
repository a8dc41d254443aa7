"""Logs: one JSON line an event, and the level that was asked for."""

import ast
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

CODE = """
import logging
from tidings.observability.logging import LogSettings, configure
from tidings.config.settings import load

for _ in range({times}):
    configure("sms", load(LogSettings))
log = logging.getLogger("tidings.pipeline.delivery")
log.debug("quiet")
log.info("sent", extra={{"notification_id": "0193", "channel": "sms", "attempt": 2, "provider": None}})
log.error("parked", extra={{"reason": 'a "quoted"\\n line \\u2028'}})
logging.getLogger("somebody.else").warning("not ours")
"""


def said(times: int = 1, **environment: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE.format(times=times)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout, done.stderr


def logged(level: str = "", times: int = 1) -> tuple[list[dict[str, Any]], str]:
    stdout, stderr = said(times, TIDINGS_LOG_LEVEL=level)
    return [json.loads(line) for line in stdout.split("\n") if line], stderr


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
def test_the_log_level_filters_lines(level: str, count: int) -> None:
    assert len(logged(level)[0]) == count


def test_configuring_twice_writes_each_line_once() -> None:
    lines, stderr = logged(times=3)
    assert [line["message"] for line in lines] == ["sent", "parked"]
    assert stderr == "not ours\n"


def test_people_read_the_time_the_service_the_event_and_what_belongs_to_it() -> None:
    stdout, stderr = said(TIDINGS_LOG_FORMAT="text")
    sent, parked = stdout.split("\n")[:-1]
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} sms +sent +0193 channel=sms attempt=2", sent)
    assert re.match(r"\S+ sms +ERROR parked +reason=", parked)
    assert ast.literal_eval(parked.partition("reason=")[2]) == 'a "quoted"\n line \u2028'  # what came in makes no line
    assert stderr == "not ours\n"


def test_an_unknown_log_format_is_refused() -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        said(TIDINGS_LOG_FORMAT="xml")
    assert "TIDINGS_LOG_FORMAT" in refused.value.stderr


BATCH = """
import logging
from tidings.observability.logging import LogSettings, configure
from tidings.config.settings import load

configure("email", load(LogSettings))
each = [{"notification_id": str(n), "provider": None} for n in range(1000)]
for _ in range(20):
    logging.getLogger("tidings.pipeline.intake").info("accepted", extra={"each": each, "tenant": "acme"})
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

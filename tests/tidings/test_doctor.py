"""The doctor finds what is wrong, and names the remedy. That it finds nothing on a whole stack, the scenarios show."""

import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pika
import pytest
from tidings.adapters.rabbitmq.broker import BrokerSettings, RabbitBroker
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.store import SqlStore
from tidings.api.api_keys import Scope, new_key
from tidings.cli import diagnostics, main
from tidings.domain.channels import CHANNELS
from tidings.domain.connection import CallEnd
from tidings.domain.notification import Priority
from tidings.messaging import topology
from tidings.runtime.container import Container, utc_now

from tests import forks
from tests.clock import TestClock
from tests.command import Ended, environment, tidings
from tests.emulator import Running, emulator
from tests.functions.served import ROOT, TRIGGER_TOKEN
from tests.migrated import migrated

Settings = dict[str, str]
NOBODY = "127.0.0.1:9"
"""Where nobody listens. A port that was free a moment ago may be somebody's by now; one as low is given to nobody."""


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with emulator(tmp_path_factory.mktemp("vendors"), "--twilio-auth", f"AC{'0' * 32}:emulated") as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, vendors: Running) -> Settings:
    database = migrated(f"sqlite:///{tmp_path}/tidings.db")
    return {
        "TIDINGS_DATABASE_URL": database.database_url,
        "TIDINGS_API_KEYS": str(new_key("shop", [Scope.SEND])[1]),
        "TIDINGS_TRIGGER_TOKEN": TRIGGER_TOKEN,
        "TIDINGS_BROKER_TIMEOUT": "60",  # seconds, where a broker is given; a busy machine's may take its time
        "TIDINGS_SMTP_URL": vendors.smtp_url,
        "TIDINGS_SMTP_SENDER": "tidings@example.com",
        "TIDINGS_TWILIO_URL": vendors.http_url,
        "TIDINGS_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TIDINGS_TWILIO_AUTH_TOKEN": "emulated",
        "TIDINGS_WEBHOOKS_SECRET": "a secret of the tests, which is long enough",
        "TIDINGS_TWILIO_SENDER": "+15005550006",
        "TIDINGS_FCM_URL": vendors.http_url,
        "TIDINGS_FCM_SERVICE_ACCOUNT": str(vendors.service_account),
    }


RECEIPTS = {"TIDINGS_RECEIPTS_URL": "https://receipts.example.com", "TIDINGS_RECEIPTS_SECRET": "s" * 32}


def told(settings: Settings, *arguments: str, folder: Path = ROOT) -> Ended:
    """The doctor's exit code and output. It runs in this process. The functions that it loads run in forked processes,
    which start sooner."""

    def forked(command: Sequence[str], *, timeout: float, **_: object) -> "subprocess.CompletedProcess[str]":
        return forks.ended(command, environment=os.environ, folder=folder, within=timeout)

    out, err = io.StringIO(), io.StringIO()
    processes = SimpleNamespace(run=forked, TimeoutExpired=subprocess.TimeoutExpired)
    given = environment(settings)
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.chdir(folder)
        for name in os.environ.keys() - given.keys():
            patched.delenv(name)
        for name, value in settings.items():
            patched.setenv(name, value)
        patched.setattr(diagnostics, "subprocess", processes)
        code = main(["doctor", *arguments])
    return Ended(code=code, out=out.getvalue(), err=err.getvalue())


def doctor(settings: Settings, *arguments: str, code: int = 1, folder: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Its findings, by name."""
    return findings(told(settings, "--json", *arguments, folder=folder), code)


def findings(answer: Ended, code: int) -> dict[str, dict[str, Any]]:
    assert answer.code == code, f"{answer.out}\n{answer.err}"
    assert answer.document["ok"] == (code == 0)
    return {found["name"]: found for found in answer.document["checks"]}


def test_receipts_are_checked_only_where_they_are_used(settings: Settings, tmp_path: Path) -> None:
    for name in ("intake", "receipts"):
        (tmp_path / "functions" / name).mkdir(parents=True)
        (tmp_path / "functions" / name / "main.py").write_text((ROOT / "functions" / name / "main.py").read_text())
    assert "receipts: settings" not in doctor(settings, code=0, folder=tmp_path)
    without_secret = {**settings, "TIDINGS_RECEIPTS_URL": RECEIPTS["TIDINGS_RECEIPTS_URL"]}
    assert "TIDINGS_RECEIPTS_SECRET" in doctor(without_secret, folder=tmp_path)["receipts: settings"]["text"]


def test_where_all_is_well_it_says_so_of_every_part_and_sends_nothing(settings: Settings, vendors: Running) -> None:
    found = doctor({**settings, **RECEIPTS}, code=0)
    assert {name for name in found if found[name]["state"] != "ok"} == set()
    parts = {f"{name}: settings" for name in ("intake", "replay", "receipts", *CHANNELS)}
    checked = {"email: smtp", "sms: twilio", "push: fcm", "database", "schema", "clock", "broker", "unsubscribe"}
    assert parts | checked == set(found)
    assert "DKIM signature of your mail server must cover List-Unsubscribe" in found["unsubscribe"]["text"]
    assert set(vendors.client.totals().values()) == {0}


@pytest.mark.parametrize(
    ("url", "state", "said"),
    [
        ("", "ok", "get no link to unsubscribe"),
        ("http://receipts.example.com", "warning", "without TLS"),
        ("https://receipts.example.com", "ok", "List-Unsubscribe-Post"),
    ],
)
def test_what_links_to_unsubscribe_need_is_told_where_mails_are_sent(
    monkeypatch: pytest.MonkeyPatch, url: str, state: str, said: str
) -> None:
    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", url)
    (found,) = diagnostics.unsubscribing(ROOT / "functions", [])
    assert (found.state, said in found.text) == (state, True)
    monkeypatch.setenv("TIDINGS_SUPPRESSION", "warn")
    (found,) = diagnostics.unsubscribing(ROOT / "functions", [])
    assert ("TIDINGS_SUPPRESSION is warn" in found.text) == bool(url)
    assert [*diagnostics.unsubscribing(ROOT / "functions", ["sms"])] == []


@pytest.mark.parametrize(
    ("part", "variable", "value"),
    [
        ("email", "TIDINGS_SMTP_SENDER", ""),
        ("sms", "TIDINGS_TWILIO_ACCOUNT_SID", "not an account"),
        ("push", "TIDINGS_FCM_SERVICE_ACCOUNT", "/nowhere.json"),
        ("intake", "TIDINGS_API_KEYS", "shop:send:abc"),
        ("email", "TIDINGS_TRIGGER_TOKEN", ""),
        ("email", "TIDINGS_LEASE", "0"),
    ],
)
def test_a_wrong_setting_is_named_by_its_part_and_its_value_is_not(
    settings: Settings, part: str, variable: str, value: str
) -> None:
    found = doctor({**settings, variable: value}, part)[f"{part}: settings"]
    assert found["state"] == "wrong"
    assert found["text"].startswith(f"{variable}: ")
    assert not value or len(value) < 2 or value not in found["text"]


@pytest.mark.parametrize(
    ("part", "name", "changes", "text", "word"),
    [
        ("email", "smtp", {"TIDINGS_SMTP_URL": f"smtp://{NOBODY}"}, "no connection", "address"),
        ("sms", "twilio", {"TIDINGS_TWILIO_URL": f"http://{NOBODY}"}, "no connection", "address"),
        ("sms", "twilio", {"TIDINGS_TWILIO_AUTH_TOKEN": "wrong"}, "HTTP 401: Unable to fetch record", "credentials"),
    ],
)
def test_a_provider_that_does_not_let_us_in_is_told_from_one_that_is_not_there(
    *, settings: Settings, part: str, name: str, changes: Settings, text: str, word: str
) -> None:
    found = doctor({**settings, **changes}, part)[f"{part}: {name}"]
    assert found["state"] == "wrong"
    assert text in found["text"]
    assert word in found["remedy"]


def test_a_service_account_that_gets_no_token_is_told(settings: Settings, vendors: Running, tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    account.write_text(json.dumps({**vendors.account(), "token_uri": f"http://{NOBODY}/token"}))
    found = doctor({**settings, "TIDINGS_FCM_SERVICE_ACCOUNT": str(account)}, "push")["push: fcm"]
    assert found["state"] == "wrong"
    assert "<" not in found["text"], found["text"]


def test_a_database_that_is_not_there_is_not_made(settings: Settings, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    found = doctor({**settings, "TIDINGS_DATABASE_URL": url}, "intake")["database"]
    assert (found["state"], "tidings.migrate" in found["remedy"]) == ("wrong", True)
    assert not (tmp_path / "other.db").exists()


def test_a_server_that_is_not_there_is_told(settings: Settings) -> None:
    down = {
        "TIDINGS_DATABASE_URL": f"mysql+pymysql://nobody:secret-word@{NOBODY}/tidings",
        "TIDINGS_BROKER_URL": f"amqp://nobody:secret-word@{NOBODY}/",
    }
    answer = told({**settings, **down}, "intake")
    assert answer.code == 1
    assert "wrong    database: " in answer.out
    assert "wrong    broker: " in answer.out
    assert "secret-word" not in answer.out + answer.err


def marked(database: Path, version: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


def test_an_old_schema_is_told_with_the_command_that_helps(settings: Settings, tmp_path: Path) -> None:
    marked(tmp_path / "tidings.db", "0001")
    found = doctor(settings, "intake")["schema"]
    assert (found["state"], found["remedy"]) == ("wrong", "python -m tidings.migrate")


def test_the_schema_of_a_later_release_is_right(settings: Settings, tmp_path: Path) -> None:
    marked(tmp_path / "tidings.db", "9999")
    found = doctor(settings, "intake", code=0)["schema"]
    assert (found["state"], "later" in found["text"]) == ("ok", True)


def test_a_scope_that_this_release_does_not_know_is_told(settings: Settings) -> None:
    known = str(new_key("shop", ["send", "audit"])[1])
    found = doctor({**settings, "TIDINGS_API_KEYS": known}, "intake", code=0)["keys"]
    assert (found["state"], "audit" in found["text"]) == ("warning", True)


def test_where_no_functions_are_it_says_what_it_could_not_look_at(settings: Settings, tmp_path: Path) -> None:
    found = doctor(settings, code=0, folder=tmp_path)
    assert found["functions"]["state"] == "warning"
    assert found["schema"]["state"] == "warning"
    assert found["database"]["state"] == "ok"


def test_a_function_that_is_not_there_is_told(settings: Settings) -> None:
    assert doctor(settings, "fax")["fax"]["state"] == "wrong"


def test_a_function_that_cannot_be_loaded_is_told_without_its_words(settings: Settings, tmp_path: Path) -> None:
    """By the command as a process, which starts others."""
    for name, line in {"missing": "import no_such_package", "broken": "raise ValueError('secret-word')"}.items():
        (tmp_path / "functions" / name).mkdir(parents=True)
        (tmp_path / "functions" / name / "main.py").write_text(line)
    found = findings(tidings("doctor", "--json", folder=tmp_path, settings=settings), 1)
    assert "no_such_package" in found["missing"]["text"]
    assert found["broken"]["text"] == "it did not load: ValueError"


def test_an_unreachable_address_is_told(settings: Settings) -> None:
    address = {"TIDINGS_URL": f"http://{NOBODY}", "TIDINGS_API_KEY": "tdg_x"}
    assert doctor({**settings, **address}, "intake")["address: intake"]["state"] == "wrong"


# --- the broker -------------------------------------------------------------------------------------------------------


def test_a_provider_that_refuses_our_account_is_told_with_what_it_says(settings: Settings) -> None:
    store = SqlStore(Database(DatabaseSettings(database_url=settings["TIDINGS_DATABASE_URL"])))
    ends = [
        CallEnd(notification_id=to, recipient=to, refused=True, code="20003", message="no") for to in ("a", "b", "c")
    ]
    store.report("twilio", "sms", ends)
    assert doctor(settings, "sms", code=0)["account: twilio"]["state"] == "ok"
    clock = TestClock()
    clock.advance(seconds=5)
    SqlStore(Database(DatabaseSettings(database_url=settings["TIDINGS_DATABASE_URL"]), clock=clock)).report(
        "twilio", "sms", ends
    )
    found = doctor(settings, "sms")["account: twilio"]
    assert found["state"] == "wrong"
    assert "(20003: no)" in found["text"]
    assert "sms resumes by itself" in found["remedy"]
    store.close()


def declared(url: str) -> None:
    broker = RabbitBroker(BrokerSettings(broker_url=url, broker_timeout=60))
    broker.declare()
    broker.close()


def test_a_topology_that_is_not_declared_is_told_and_not_declared(settings: Settings, rabbitmq_url: str) -> None:
    for _ in range(2):
        answer = told({**settings, "TIDINGS_BROKER_URL": rabbitmq_url}, "intake")
        assert answer.code == 1
        assert "the exchange tidings is missing" in answer.out
        assert answer.out.count("is missing") == len([*topology.exchanges(), *topology.queues()])


def test_a_queue_with_other_arguments_is_told(settings: Settings, rabbitmq_url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
    connection.channel().queue_declare("tidings.sms", durable=True)
    connection.close()
    declared(rabbitmq_url)
    found = told({**settings, "TIDINGS_BROKER_URL": rabbitmq_url}, "intake")
    assert (
        "the queue tidings.sms was declared with other arguments: PRECONDITION_FAILED - inequivalent arg 'x-"
        in found.out
    )
    assert "-> drain it, delete it, start the trigger" in found.out


def test_a_channel_that_nobody_takes_from_is_told(
    settings: Settings, rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared(rabbitmq_url)
    # The consumer says nothing while the doctor looks, which on a busy machine is longer than the broker would wait.
    monkeypatch.setattr("tidings.adapters.rabbitmq.broker.HEARTBEAT", 0)
    broker = RabbitBroker(BrokerSettings(broker_url=rabbitmq_url, broker_timeout=60))
    consumer = broker.consume([topology.work_queue("sms", Priority.NORMAL)])
    try:
        found = doctor({**settings, "TIDINGS_BROKER_URL": rabbitmq_url}, "intake", code=0)
    finally:
        consumer.close()
        broker.close()
    assert found["topology"]["state"] == "ok"
    states = {channel: found[f"trigger: {channel}"]["state"] for channel in CHANNELS}
    assert states == {channel: "ok" if channel == "sms" else "warning" for channel in CHANNELS}


# --- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("by", "state"), [(0.0, "ok"), (0.5, "ok"), (1.5, "warning"), (-3600.0, "warning")])
def test_clocks_that_are_over_a_second_apart_are_told(
    by: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utc_now()
    monkeypatch.setattr(diagnostics, "utc_now", lambda: now)  # how long it takes to ask is not to count here

    class Off(Container):
        def database_time(self) -> datetime:
            return now + timedelta(seconds=by)

    parts = Off(DatabaseSettings(database_url=f"sqlite:///{tmp_path}/none.db"), BrokerSettings())
    (clock,) = [found for found in diagnostics._clock(parts) if found.name == "clock"]
    assert clock.state == state


def test_no_other_command_loads_a_database_driver(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\natexit.register(lambda: print('sqlalchemy' in sys.modules, 'rich' in sys.modules))\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tidings.cli", "keys", "create", "shop", "send"]
    said = subprocess.run(command, env=environment({"PYTHONPATH": path}), capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "False False"

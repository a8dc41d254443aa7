"""Metrics and traces of running functions: access, several workers, Lambda, missing packages."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tidings.observability import tracing
from tidings.pipeline.outgoing import message_for
from tidings.runtime.container import Container

from tests import forks
from tests.collector import collector
from tests.emulator import Running, emulator
from tests.functions.conftest import Imported
from tests.functions.served import TRIGGER_TOKEN, Keys, Process, mail, process
from tests.functions.test_lambda import CONTEXT, PROVIDERS, called, entry, of_channel, rmq

ON = {"TIDINGS_METRICS": "prometheus"}


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


def scraped(of: Process, token: str | None) -> tuple[int, str, str]:
    """Status, content type and text of `GET /metrics`."""
    connection = http.client.HTTPConnection(urlsplit(of.url).netloc, timeout=60)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"} if token is not None else {})
        answer = connection.getresponse()
        return answer.status, answer.getheader("content-type", ""), answer.read().decode()
    finally:
        connection.close()


def values(text: str, name: str) -> dict[str, float]:
    """By the values of the labels, which are sorted by name."""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {",".join(sample.labels[label] for label in sorted(sample.labels)): sample.value for sample in samples}


@contextmanager
def intake(settings: Mapping[str, str], folder: Path, **more: str) -> Iterator[Process]:
    with process("intake", {**settings, **ON, **more}, folder) as running:
        yield running


def posted(running: Process, keys: Keys, count: int) -> None:
    for _ in range(count):
        body = json.dumps(mail()).encode()
        assert running("POST", "/v1/notifications", body, {"Authorization": f"Bearer {keys.send}"}).status == 202


# --- who may read them ------------------------------------------------------------------------------------------------


def test_only_an_admin_key_reads_the_intakes_metrics(settings: dict[str, str], keys: Keys, tmp_path: Path) -> None:
    with intake(settings, tmp_path) as running:
        posted(running, keys, 3)
        assert scraped(running, None)[0] == 401
        assert scraped(running, keys.both + "x")[0] == 401
        assert [scraped(running, key)[0] for key in (keys.send, keys.operate)] == [403, 403]
        status, kind, text = scraped(running, keys.both)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert values(text, "tidings_accepted_total") == {"email": 3}
    assert values(text, "tidings_accept_seconds_count") == {"202": 3}


def test_the_replay_functions_metrics_have_the_systems_gauges(
    settings: dict[str, str], keys: Keys, tmp_path: Path, container: Container
) -> None:
    container.intake().accept([of_channel("sms", n) for n in range(4)])
    with process("replay", {**settings, **ON}, tmp_path) as running:
        assert [scraped(running, key)[0] for key in (keys.send, keys.operate)] == [403, 403]
        text = scraped(running, keys.both)[2]
    assert values(text, "tidings_part_up") == {"database": 1, "broker": 1}
    assert values(text, "tidings_queue_messages")["sms,work,tidings.sms"] == 4
    assert values(text, "tidings_oldest_due_seconds")["sms"] > 0


@pytest.mark.parametrize("channel", PROVIDERS)
def test_only_the_triggers_token_reads_a_channels_metrics(
    settings: dict[str, str], tmp_path: Path, container: Container, providers: Running, channel: str
) -> None:
    row = of_channel(channel)
    container.store.insert([row])
    emulated = {
        "TIDINGS_SMTP_URL": providers.smtp_url,
        "TIDINGS_TWILIO_URL": providers.http_url,
        "TIDINGS_FCM_URL": providers.http_url,
        "TIDINGS_FCM_SERVICE_ACCOUNT": str(providers.service_account),
    }
    with process(channel, {**settings, **emulated, **ON}, tmp_path) as running:
        event = json.dumps(rmq(channel, entry(row))).encode()
        assert running("POST", "/", event, {"Authorization": f"Bearer {TRIGGER_TOKEN}"}).status == 200
        assert scraped(running, None)[0] == 401
        assert scraped(running, "another")[0] == 401
        status, kind, text = scraped(running, TRIGGER_TOKEN)
        assert running("POST", "/metrics", b"{}").status == 401
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    provider = PROVIDERS[channel]
    assert values(text, "tidings_outcomes_total")[f"{channel},{provider},sent"] == 1
    assert list(values(text, "tidings_provider_seconds_count").values()) == [1]


def test_there_is_no_metrics_endpoint_if_metrics_are_off(settings: dict[str, str], keys: Keys, tmp_path: Path) -> None:
    with process("intake", settings, tmp_path) as running:
        assert scraped(running, keys.both)[0] == 404
    with process("email", settings, tmp_path) as running:
        assert scraped(running, TRIGGER_TOKEN)[0] == 405


# --- several workers --------------------------------------------------------------------------------------------------


def test_each_of_several_workers_shows_the_metrics_of_all(settings: dict[str, str], keys: Keys, tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    with intake(settings, tmp_path, WORKERS="2", PROMETHEUS_MULTIPROC_DIR=str(folder)) as running:
        posted(running, keys, 20)
        told = [values(scraped(running, keys.both)[2], "tidings_accepted_total") for _ in range(10)]
    assert told == [{"email": 20}] * 10


def test_several_workers_without_their_folder_do_not_start(settings: dict[str, str]) -> None:
    assert started("intake", {**settings, **ON, "WORKERS": "2"}) == (
        "tidings: intake: TIDINGS_METRICS: several WORKERS need PROMETHEUS_MULTIPROC_DIR, an empty folder of this"
        " function's\n"
    )


# --- a package that is missing ----------------------------------------------------------------------------------------


def started(name: str, environment: Mapping[str, str], missing: str = "nothing") -> str:
    """The error of a function that does not start, on a machine without this package."""
    hidden = f"import sys; assert {missing!r} not in sys.modules; sys.modules[{missing!r}] = None"
    command = [sys.executable, "-c", f"{hidden}; import functions.{name}.main"]
    done = forks.ended(command, environment={**os.environ, **environment})
    assert done.returncode == 2, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("name", "switch", "package", "extra"),
    [
        ("intake", "TIDINGS_METRICS=prometheus", "prometheus_client", "metrics"),
        ("sms", "TIDINGS_METRICS=prometheus", "prometheus_client", "metrics"),
        ("intake", "TIDINGS_TRACING=otlp", "opentelemetry", "tracing"),
        ("replay", "TIDINGS_TRACING=otlp", "opentelemetry.sdk", "tracing"),
        ("sms", "TIDINGS_TRACING=otlp", "opentelemetry.exporter", "tracing"),
    ],
)
def test_the_error_for_a_missing_package_names_its_extra(
    settings: dict[str, str], name: str, switch: str, package: str, extra: str
) -> None:
    variable, value = switch.split("=")
    said = started(name, {**settings, variable: value}, package)
    assert said == f"tidings: {name}: {variable}: a package is missing; install tidings[{extra}]\n"


@pytest.mark.parametrize("variable", ["TIDINGS_METRICS", "TIDINGS_TRACING"])
def test_an_unknown_setting_value_is_refused(settings: dict[str, str], variable: str) -> None:
    assert started("email", {**settings, variable: "yes"}).startswith(f"tidings: email: {variable}: ")


# --- Lambda -----------------------------------------------------------------------------------------------------------


def embedded(text: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, text.splitlines()) if "_aws" in line]


@pytest.fixture
def on_lambda(settings: dict[str, str], providers: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "a-function")
    monkeypatch.setenv("TIDINGS_METRICS", "emf")
    monkeypatch.setenv("TIDINGS_SMTP_URL", providers.smtp_url)


@pytest.mark.usefixtures("on_lambda")
def test_on_lambda_metrics_are_written_at_the_end_of_a_batch(
    imported: Imported, container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    row = of_channel("email")
    container.store.insert([row])
    imported("email").handler(rmq("email", entry(row)), CONTEXT)
    [sent] = [line for line in embedded(capsys.readouterr().out) if line.get("status") == "sent"]
    assert (sent["tidings_outcomes_total"], sent["channel"], sent["service"]) == ([1.0], "email", "a-function")


@pytest.mark.usefixtures("on_lambda")
def test_on_lambda_metrics_are_written_at_the_end_of_a_request_and_of_a_scheduled_run(
    imported: Imported, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps(mail()).encode()
    assert called(imported("intake"), "POST", "/v1/notifications", body, key=keys.send).status == 202
    lines = embedded(capsys.readouterr().out)
    assert [line["tidings_accepted_total"] for line in lines if "tidings_accepted_total" in line] == [[1.0]]
    assert imported("replay").handler({"source": "aws.scheduler"}, None)["published"] == 0
    lines = embedded(capsys.readouterr().out)
    depths = {line["queue"]: line["tidings_queue_messages"] for line in lines if "tidings_queue_messages" in line}
    assert depths["tidings.email"] == [1.0]


def test_on_lambda_spans_are_sent_at_the_end_of_an_invocation(
    imported: Imported, providers: Running, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    row = of_channel("email", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    container.store.insert([row])
    readings = count(time.time() - time.monotonic(), -1.0)  # of a wall clock that is being set back
    monkeypatch.setattr(tracing, "_ahead", lambda: next(readings))
    with collector() as collected:
        for name, value in {**collected.environment, "OTEL_BSP_SCHEDULE_DELAY": "600000"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TIDINGS_SMTP_URL", providers.smtp_url)
        monkeypatch.setattr(tracing, "FLUSH_WITHIN", 60.0)  # a busy machine may take longer than two
        main = imported("email")
        main.handler(rmq("email", entry(row)), CONTEXT)
        names = [span.name for span in collected.spans(trace)]
    assert names == ["deliver tidings.email", "claim notifications", "send smtp", "settle notifications"]
    assert message_for(row).traceparent == row.traceparent


LATE = """
import threading
from tidings.observability import tracing
tracing.FLUSH_WITHIN = 60.0  # a busy machine may take longer than two
spans = tracing.Spans(resource=tracing.resource("tidings-late"), database="sqlite", broker="tidings")
def last_batch():
    threading.main_thread().join()  # the process was told to end
    with spans.served("POST", "/late", None):
        pass
threading.Thread(target=last_batch).start()
"""


def test_a_process_whose_first_span_is_its_last_exports_it() -> None:
    with collector() as collected:
        settings = {**os.environ, **collected.environment, "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
        done = subprocess.run([sys.executable, "-c", LATE], env=settings, capture_output=True, text=True, check=False)
        assert [(span.service, span.name) for span in collected.kept] == [("tidings-late", "POST /late")], done.stderr

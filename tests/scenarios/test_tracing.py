"""One trace from the POST to the provider, across the queue and its retries, over real processes."""

import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from local.emulators.client import Emulator
from local.stack.stack import Options, Stack, running
from tests import forks
from tests.collector import Collector, Span, collector
from tests.foundations import SERVICES_BY_DAY, founded
from tests.scenarios.caller import Caller, wait_for
from tests.scenarios.trees import copied, layer, replaced

SOON = {"OTEL_BSP_SCHEDULE_DELAY": "200"}  # milliseconds until spans are exported


@dataclass(frozen=True, kw_only=True)
class Traced:
    stack: Stack
    caller: Caller
    emulator: Emulator
    collector: Collector
    database: str  # as the conventions call it
    broker: str

    def trace(self, id: str, parent: str) -> list[Span]:
        """Its spans, once those of the request and of the last attempt are there. What an attempt did is exported after
        the attempt itself, its settlement last."""
        self.caller.ended(id)

        def is_whole(spans: list[Span]) -> bool:
            attempts = {span.id for span in spans if _status(span) == "sent"}
            settled = {span.parent for span in spans if span.name == "settle notifications"}
            return "SERVER" in {span.kind for span in spans} and bool(attempts & settled)

        return wait_for(lambda: self.collector.spans(parent), is_whole)


def _status(span: Span) -> str:
    return str(span.attributes.get("tidings.status"))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tidings-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", params=SERVICES_BY_DAY)
def traced(request: pytest.FixtureRequest) -> Iterator[Traced]:
    with (
        collector() as collected,
        founded(request, request.param, environment={**collected.environment, **SOON}) as options,
        running(options) as stack,
    ):
        yield Traced(
            stack=stack,
            caller=Caller(url=stack.url, ops_url=stack.ops_url, key=stack.secrets.api_key),
            emulator=Emulator(url=stack.inbox_url),
            collector=collected,
            database="sqlite" if options.database_url is None else "mysql",
            broker="tidings" if options.broker_url is None else "rabbitmq",
        )


def mail(name: str = "ada") -> dict[str, object]:
    return {
        "channel": "email",
        "recipient": f"{name}-{secrets.token_hex(4)}@example.com",
        "content": {"subject": "Shipped", "text": "It has left our house."},
    }


def begun() -> tuple[str, str]:
    """A caller's trace: its id and its traceparent."""
    trace = secrets.token_hex(16)
    return trace, f"00-{trace}-{secrets.token_hex(8)}-01"


def test_one_trace_leads_from_the_post_over_a_retry_to_the_provider(traced: Traced) -> None:
    trace, traceparent = begun()
    traced.emulator.fail("email", next=1, status=451)
    id = traced.caller.post(mail(), traceparent=traceparent)
    spans = traced.trace(id, trace)

    (post,) = [span for span in spans if span.kind == "SERVER"]
    assert (post.name, post.service, post.parent) == ("POST /v1/notifications", "tidings-intake", traceparent[36:52])
    assert post.attributes["http.response.status_code"] == 202
    below = {span.id: [child for child in spans if child.parent == span.id] for span in spans}
    accepting = [span for span in below[post.id] if span.service == "tidings-intake"]
    assert [span.name for span in accepting] == ["insert notifications", "send tidings.email"]
    first, second = [span for span in below[post.id] if span.service == "tidings-email"]
    assert [(span.name, span.kind) for span in (first, second)] == [("deliver tidings.email", "CONSUMER")] * 2
    assert [child.name for child in below[first.id]] == [
        *("claim notifications", "send smtp", "settle notifications", "send tidings.retry.1s"),
    ]
    assert [child.name for child in below[second.id]] == ["claim notifications", "send smtp", "settle notifications"]
    assert [span.attributes["tidings.attempt"] for span in (first, second)] == [1, 2]
    assert [span.attributes["tidings.status"] for span in (first, second)] == ["retrying", "sent"]
    calls = [span for span in spans if span.name == "send smtp"]
    assert [(call.kind, call.failed, call.attributes.get("error.type")) for call in calls] == [
        ("CLIENT", True, "4.3.0"),
        ("CLIENT", False, None),
    ]
    assert {span.attributes["tidings.notification.id"] for span in (first, second)} == {id}
    # The times are those of the work: one after the other, and each within its parent.
    insert, send = accepting  # with the post, three facts, each with its own reading of the clocks
    times = [post.begun, insert.begun, insert.ended, send.begun, post.ended]
    assert all(later > earlier - 0.01 for earlier, later in pairwise(times)), times
    assert below[first.id][-1].begun + 0.9 <= second.begun  # from when it was put on its step of 1 s
    for parent in (first, second):
        for child in below[parent.id]:
            assert parent.begun <= child.begun <= child.ended <= parent.ended + 1e-6  # what a float leaves


def test_the_systems_are_named_as_the_conventions_say(traced: Traced) -> None:
    trace, traceparent = begun()
    spans = traced.trace(traced.caller.post(mail(), traceparent=traceparent), trace)
    by_name = {span.name: span.attributes for span in spans}
    assert by_name["insert notifications"] == {
        "db.system.name": traced.database,
        "db.collection.name": "notifications",
        "db.operation.name": "insert",
        "db.operation.batch.size": 1,
    }
    assert by_name["send tidings.email"] == {
        "messaging.system": traced.broker,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "tidings.email",
    }


def test_an_unsampled_trace_of_the_caller_is_not_exported(traced: Traced) -> None:
    trace, traceparent = begun()
    id = traced.caller.post(mail(), traceparent=f"{traceparent[:-2]}00")
    traced.caller.ended(id)
    other, seen = begun()
    traced.trace(traced.caller.post(mail(), traceparent=seen), other)  # by then the first one's would be there
    assert traced.collector.spans(trace) == []


@pytest.mark.parametrize("given", [None, "no traceparent at all", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_a_request_without_a_valid_trace_gets_a_new_one(traced: Traced, given: str | None) -> None:
    id = traced.caller.post(mail(), **({"traceparent": given} if given is not None else {}))
    traced.caller.ended(id)

    def attempts() -> list[Span]:
        return [span for span in traced.collector.kept if span.attributes.get("tidings.notification.id") == id]

    (attempt,) = wait_for(attempts)
    assert int(attempt.trace, 16) != 0
    wait_for(lambda: "POST /v1/notifications" in {span.name for span in traced.collector.spans(attempt.trace)})


def test_an_array_is_one_request_span_and_one_attempt_span_per_item(traced: Traced) -> None:
    trace, traceparent = begun()
    many = [mail(f"many{n}") for n in range(20)]
    answer = traced.caller.ask(f"{traced.stack.url}/v1/notifications", many, traceparent=traceparent)
    ids = {result["id"] for result in answer.body["results"]}

    def attempts() -> set[object]:
        spans = traced.collector.spans(trace)
        return {span.attributes["tidings.notification.id"] for span in spans if span.kind == "CONSUMER"}

    def accepting() -> list[str]:
        return sorted(span.name for span in traced.collector.spans(trace) if span.service == "tidings-intake")

    wait_for(attempts, lambda found: found >= ids)
    wait_for(accepting, lambda names: names == ["POST /v1/notifications", "insert notifications", "send tidings.email"])


def test_no_span_names_a_recipient_a_content_or_a_key(traced: Traced) -> None:
    refused = mail("refused")
    traced.emulator.fail("email", recipient=str(refused["recipient"]), status=550, message=f"no {refused['recipient']}")
    trace, traceparent = begun()
    traced.caller.ended(traced.caller.post(refused, traceparent=traceparent))
    wait_for(lambda: traced.collector.spans(trace), lambda spans: "failed" in {_status(span) for span in spans})
    sent = b"\n".join(traced.collector.raw)
    for private in (*traced.caller.recipients, "example.com", "left our house", traced.caller.key):
        assert private.encode() not in sent


# --- the collector is nobody's business -------------------------------------------------------------------------------


def test_without_a_collector_everything_is_delivered_and_stops_in_time(folder: Path) -> None:
    nowhere = {
        "TIDINGS_TRACING": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "120",  # seconds for which an exporter tries
        **SOON,
    }
    state = folder / "nowhere"
    with running(Options(state=state, first_port=0, environment=nowhere, start=forks.start)) as stack:
        caller = Caller(url=stack.url, ops_url=stack.ops_url, key=stack.secrets.api_key)
        ids = caller.post_all([mail() for _ in range(50)])
        assert [caller.ended(id)["status"] for id in ids] == ["sent"] * 50
        assert stack.processes.ended() is None
        asked = time.monotonic()
    assert time.monotonic() - asked < 28  # who waits for the exporter is killed after 30 s


def test_pending_spans_are_exported_when_the_process_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.stack.stack.CHANNELS", ("email",))  # one is enough, and starts sooner
    tree = copied(folder / "tree")  # the same, but with time to export on a busy machine
    tracing = layer(tree) / "tidings" / "observability" / "tracing.py"
    replaced(tracing, "FLUSH_WITHIN = 2.0\n", "FLUSH_WITHIN = 20.0\n")
    monkeypatch.setattr("local.stack.stack.ROOT", tree)
    with collector() as collected:
        later = {**collected.environment, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        trace, traceparent = begun()
        options = Options(state=folder / "late", first_port=0, environment=later, start=forks.start)
        with running(options) as stack:
            caller = Caller(url=stack.url, ops_url=stack.ops_url, key=stack.secrets.api_key)
            caller.ended(caller.post(mail(), traceparent=traceparent))
            assert collected.spans(trace) == []
        assert {span.service for span in collected.spans(trace)} == {"tidings-intake", "tidings-email"}

"""The pages made from the code: `python -m tests.pages` writes them, tests/tidings/test_pages.py checks them."""

from collections.abc import Iterable
from pathlib import Path

from tidings.observability.log_catalog import FAULTS, LIFECYCLE, LogEvent
from tidings.observability.metrics import METRICS, Metric

from tests.rooms import picture
from tests.settings_page import settings_page

DOCS = Path(__file__).parents[1] / "docs"


def events_page() -> str:
    return f"""# Log events

Every log line is one event: JSON on standard output, or text for people (`TIDINGS_LOG_FORMAT=text`, as `local/up` sets
it; `local/up --json` does not). Each line has `level`, `message` (the event), `timestamp` (UTC), `service` and
`location`. An empty field is left out.

```json
{{"level":"INFO","location":"_log:85","message":"sent","timestamp":"2026-11-25T01:33:10.207+00:00","service":"email",
 "notification_id":"01a2123c-82ae-74cc-a0a9-eae0f6eebf95","tenant":"local","channel":"email","generation":1,"attempt":1,
 "trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","provider":"smtp","duration_seconds":0.0043,"end_to_end_seconds":0.0312}}
```

No line has a full recipient, content, a key or a vendor's text. Where a person may need the recipient, `recipient` is
masked: `a***@example.com`, `+1***10`, `token:***3f9c`.

`python -m tests.pages` makes this page from
[log_catalog.py](../layers/common/python/tidings/observability/log_catalog.py).

## What happens to notifications

One line per notification and event. `duration_seconds` is the provider call, `waited_seconds` the time from due to
claimed, `end_to_end_seconds` the time from the POST (or `send_at`) to the provider's acceptance. `trace_id` comes from
the `traceparent` of the POST, if it had one or [tracing](traces.md) is on.

A line written while a request is served has its `request_id`, the same as the answer's header `Request-Id`: lines of a
refused or failed request, and `accepted`, `queued`, `canceled`, `replayed`. Requests that arrive at the same moment are
stored together: each notification's line has the id of its own request, and a line about all of them, like
`publish_deferred`, has the first 20 as `request_ids`.

{_table(LIFECYCLE)}

A notification sent at the first attempt has four lines, about 3 µs of CPU each: `accepted` and `queued` from intake,
`claimed` and `sent` from its channel's function. So its id finds its whole path, even if a worker died between two of
them.

## Faults, pauses and resumes

{_table(FAULTS)}

`TIDINGS_LOG_LEVEL=DEBUG` adds a line for each request, `request_answered`. The default level has none: an accepted,
refused or failed request has its own line, and a load balancer or ingress logs each request.
"""


def _table(events: Iterable[LogEvent]) -> str:
    head = "| Event | Level | When | Fields |\n|---|---|---|---|"
    return "\n".join([head, *map(_event, events)])


def _event(event: LogEvent) -> str:
    fields = ", ".join(f"`{name}`" for name in event.fields)
    return f"| `{event.name}` | {event.level} | {event.meaning} | {fields} |"


def metrics_page() -> str:
    rows = "\n".join(map(_metric, METRICS))
    return f"""# Metrics

With `TIDINGS_METRICS=prometheus` each function answers `GET /metrics`. Intake, replay and receipts require an API key
with the scope `admin`, because the figures cover all tenants; a channel's function, and [what
takes bounces](receipts.md#email) with `--status-port`, require the trigger's token. Both are sent as
`Authorization: Bearer ...`. Each process reports its own counters. The gauges describe the whole
system: the replay function asks the database and the broker at each scrape, which takes a few milliseconds whatever the
number of rows, and one more for each tenant. The package is `tidings[metrics]`. `local/up` has it on.

`TIDINGS_METRICS=emf`, for Lambda, writes the same names in CloudWatch's embedded metric format at the end of each
invocation, namespace `Tidings`; the gauges are written at each scheduled run of the replay function.

Where several workers of a function share a port (`WORKERS`), set `PROMETHEUS_MULTIPROC_DIR` to a folder that only this
function uses and that is empty when it starts: each worker then answers with the sum of all.

[infra/observability](../infra/observability) has a [dashboard](../infra/observability/dashboard.json) for Grafana,
[alerts](../infra/observability/alerts.yaml) and an [example](../infra/observability/prometheus.yaml) scrape
configuration.

No label has a value chosen by a caller: no tenant, no id, no recipient.

`python -m tests.pages` makes this page from [metrics.py](../layers/common/python/tidings/observability/metrics.py).

| Metric | Kind | Labels | Meaning |
|---|---|---|---|
{rows}
"""


def _metric(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"


PAGES = {"events.md": events_page, "metrics.md": metrics_page, "rooms.svg": picture, "settings.md": settings_page}


if __name__ == "__main__":
    for name, made in PAGES.items():
        (DOCS / name).write_text(made(), encoding="utf-8")

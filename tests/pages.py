"""The pages made from the code: `python -m tests.pages` writes them, tests/tidings/test_pages.py checks them."""

from collections.abc import Iterable
from pathlib import Path

from tidings.observability.log_catalog import FAULTS, LIFECYCLE, LogEvent
from tidings.observability.metrics import METRICS, Metric

from tests.rooms import picture
from tests.settings_page import settings_page

DOCS = Path(__file__).parents[1] / "docs"


def events_page() -> str:
    return f"""# The events of the log

Every line of the log is one event: JSON on standard output, or text for people (`TIDINGS_LOG_FORMAT=text`, as
`local/up` sets it; `local/up --json` does not). Each line has `level`, `message` (the event), `timestamp` (UTC),
`service` and `location`. A field that has nothing to say is left out.

```json
{{"level":"INFO","location":"_tell:85","message":"sent","timestamp":"2026-11-25T01:33:10.207+00:00","service":"email",
 "notification_id":"01a2123c-82ae-74cc-a0a9-eae0f6eebf95","tenant":"local","channel":"email","generation":1,"attempt":1,
 "trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","provider":"smtp","duration_seconds":0.0043,"end_to_end_seconds":0.0312}}
```

No line has a whole recipient, a content, a key or a vendor's words. Where a person may want to know whom it concerns,
`recipient` is masked: `a***@example.com`, `+1***10`, `token:***3f9c`.

`python -m tests.pages` makes this page from
[log_catalog.py](../layers/common/python/tidings/observability/log_catalog.py).

## What happens to notifications

One line a notification and event. `duration_seconds` is the provider's call, `waited_seconds` from when it was due to
its claim, `end_to_end_seconds` from the POST (or `send_at`) to the provider's acceptance. `trace_id` is that of the
POST's `traceparent`, if it had one or [tracing](traces.md) is on.

A line that is written while a request is served has its `request_id` too, as the answer's header `Request-Id`: those
of a request that was refused or failed, and `accepted`, `queued`, `canceled`, `replayed`. Requests that come at the
same moment are stored together: each notification's line has the id of its own request, and a line about all of them,
like `left_to_the_sweep`, has `request_ids`, the first 20.

{_table(LIFECYCLE)}

A notification that was sent at the first attempt has four lines, at about 3 µs of CPU each: `accepted` and `queued` of
the intake, `claimed` and `sent` of its channel's function. So its id alone finds its whole way, also that of one whose
worker died between two of them.

## What goes wrong with us, and what is stopped and started

{_table(FAULTS)}

`TIDINGS_LOG_LEVEL=DEBUG` adds a line for each request, `answered`. At the usual level there is none: what is accepted,
refused or failed has a line of its own, and what stands in front (a load balancer, an ingress) logs each request.
"""


def _table(events: Iterable[LogEvent]) -> str:
    head = "| Event | Level | When | Fields |\n|---|---|---|---|"
    return "\n".join([head, *map(_event, events)])


def _event(event: LogEvent) -> str:
    fields = ", ".join(f"`{name}`" for name in event.fields)
    return f"| `{event.name}` | {event.level} | {event.meaning} | {fields} |"


def metrics_page() -> str:
    rows = "\n".join(map(_metric, METRICS))
    return f"""# The metrics

`TIDINGS_METRICS=prometheus` makes each function answer `GET /metrics`: intake and replay to a key with the scope
`admin`, since the figures are of all tenants, a channel's function to the trigger's token, both as
`Authorization: Bearer ...`. Each tells what it has done itself; the gauges, which are about the whole system, are asked
of the database and the broker at each scrape of the replay function, and take some milliseconds however many rows there
are, and one more for each tenant. The package is `tidings[metrics]`. `local/up` has it on.

`TIDINGS_METRICS=emf`, for Lambda, writes the same names as lines of CloudWatch's embedded metric format at the end of
each invocation, namespace `Tidings`; the gauges come with each scheduled run of the replay function.

Where several workers of a function share a port (`WORKERS`), set `PROMETHEUS_MULTIPROC_DIR` to a folder that only this
function uses and that is empty when it starts: whichever worker is asked adds up all.

[infra/observability](../infra/observability) has a [dashboard](../infra/observability/dashboard.json) for Grafana,
[alerts](../infra/observability/alerts.yaml) and an [example](../infra/observability/prometheus.yaml) of how Prometheus
is told where to look.

No label has a value that a caller chooses: no tenant, no id, no recipient.

`python -m tests.pages` makes this page from [metrics.py](../layers/common/python/tidings/observability/metrics.py).

| Metric | Kind | Labels | What it is |
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
